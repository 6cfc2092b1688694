//! Rows scaled to unit length.

use super::Failed;
use crate::device::Device;

use super::Listed;
use super::oracle::{DIMS, ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for dim in DIMS {
        cases.push((format!("d{dim}"), Box::new(move |device| check(device, random(9 * dim, 3), dim))));
    }
    for (scale, name) in [(1e-30, "tiny"), (1e-6, "small"), (1e30, "huge")] {
        let rows = random(5 * 33, 4).into_iter().map(|x| x * scale).collect::<Vec<f32>>();
        cases.push((name.into(), Box::new(move |device| check(device, rows.clone(), 33))));
    }
    let zeros = [vec![0.0; 6], vec![3.0, 0.0, 0.0, -4.0, 0.0, 0.0], vec![0.0; 6]].concat();
    cases.push(("zeros".into(), Box::new(move |device| check(device, zeros.clone(), 6))));
    cases.push(("nan_and_infinity".into(), Box::new(not_finite)));
    cases.push(("none".into(), Box::new(|device| check(device, Vec::new(), 6))));
    cases
}

/// A row of NaN or infinity has some afterwards, so that it is near to nothing; the rows beside it are as ever.
fn not_finite(device: &Device) -> Result<(), Failed> {
    let rows = [[f32::NAN; 4], [0.0, f32::NAN, 0.0, 0.0], [3.0, f32::INFINITY, 0.0, 4.0], [3.0, 0.0, 0.0, 4.0]];
    let unit = device.download_matrix(&device.l2_normalize(&device.upload(rows.as_flattened(), 4)?)?)?;
    for row in unit.chunks(4).take(3) {
        ensure(row.iter().any(|x| !x.is_finite()), || format!("{unit:?}"))?;
    }
    ensure((unit[12] - 0.6).abs() < 1e-6 && (unit[15] - 0.8).abs() < 1e-6, || format!("{unit:?}"))
}

fn check(device: &Device, rows: Vec<f32>, dim: usize) -> Result<(), Failed> {
    let unit = device.download_matrix(&device.l2_normalize(&device.upload(&rows, dim)?)?)?;
    ensure(unit.len() == rows.len(), || format!("{} values", unit.len()))?;
    for (i, (row, unit)) in rows.chunks(dim).zip(unit.chunks(dim)).enumerate() {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        for (&x, &found) in row.iter().zip(unit) {
            let expected = if norm > 0.0 { f64::from(x) / norm } else { 0.0 };
            ensure((f64::from(found) - expected).abs() < 1e-6, || format!("row {i}: {found}, expected {expected}"))?;
        }
    }
    Ok(())
}
