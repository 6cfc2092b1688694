//! The 4-bit code of each row.

use super::Failed;
use crate::device::{Device, PQ_CENTROIDS, flat_codes};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{distance, ensure, random, tolerance};

/// (M, dsub): odd and even M around a byte, a word and a tile of codes.
pub const SHAPES: [(usize, usize); 12] =
    [(1, 1), (7, 1), (33, 1), (1, 2), (8, 2), (31, 2), (384, 2), (9, 3), (16, 4), (5, 8), (32, 8), (3, 100)];

/// Numbers of rows: around a SIMD block, a tile and a block of sums.
pub const ROWS: [usize; 8] = [0, 1, 15, 16, 31, 33, 128, 129];

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for (m, dsub) in SHAPES {
        cases.push((format!("m{m}_dsub{dsub}"), Box::new(move |device| check(device, 70, m, dsub))));
        cases.push((format!("residual_m{m}_dsub{dsub}"), Box::new(move |device| residuals(device, 70, m, dsub))));
    }
    for rows in ROWS {
        cases.push((format!("{rows}_rows"), Box::new(move |device| check(device, rows, 37, 2))));
        cases.push((format!("residual_{rows}_rows"), Box::new(move |device| residuals(device, rows, 5, 3))));
    }
    cases.push(("more_rows_than_a_grid_is_wide".into(), Box::new(|device| check(device, 1_050_000, 1, 1))));
    cases.push(("ties_take_the_lowest_code".into(), Box::new(ties)));
    cases.push(("equal_rows_get_equal_codes".into(), Box::new(equal_rows)));
    cases
}

/// Codes of one sub-quantizer each, of faiss's flat codes; what a row's bytes have left over must be zero.
pub fn unpack(flat: &[u8], m: usize) -> Result<Vec<Vec<usize>>, Failed> {
    let row = |bytes: &[u8]| {
        let mut codes: Vec<_> = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).map(usize::from).collect();
        let rest = codes.split_off(m);
        ensure(rest.iter().all(|&code| code == 0), || format!("{rest:?} behind a row's codes"))?;
        Ok(codes)
    };
    flat.chunks(m.div_ceil(2)).map(row).collect()
}

/// Every code's centroid is as near as the nearest, up to rounding.
fn nearest(rows: &[f32], centroids: &[f32], flat: &[u8], dim: usize, m: usize) -> Result<(), Failed> {
    let (dsub, codes) = (dim / m, unpack(flat, m)?);
    ensure(codes.len() == rows.len() / dim, || format!("{} rows of codes", codes.len()))?;
    for (i, (row, codes)) in rows.chunks(dim).zip(codes).enumerate() {
        for (sub, (x, code)) in row.chunks(dsub).zip(codes).enumerate() {
            let centroids = &centroids[sub * PQ_CENTROIDS * dsub..][..PQ_CENTROIDS * dsub];
            let key = |c: &[f32]| distance(Metric::L2, x, c);
            let best = centroids.chunks(dsub).map(key).fold(f64::INFINITY, f64::min);
            let chosen = &centroids[code * dsub..][..dsub];
            let over = key(chosen) - best;
            ensure(over <= tolerance(x, chosen), || format!("row {i}, {sub}: {code} is {over} farther than the best"))?;
        }
    }
    Ok(())
}

fn check(device: &Device, rows: usize, m: usize, dsub: usize) -> Result<(), Failed> {
    let dim = m * dsub;
    let (rows, centroids) = (random(rows * dim, 41), random(m * PQ_CENTROIDS * dsub, 42));
    let codes = device.pq_encode(&device.upload(&rows, dim)?, &device.codebooks(&centroids, m)?, None)?;
    nearest(&rows, &centroids, &flat_codes(&device.download(&codes)?, m), dim, m)
}

fn residuals(device: &Device, rows: usize, m: usize, dsub: usize) -> Result<(), Failed> {
    let dim = m * dsub;
    let (values, coarse) = (random(rows * dim, 43), random(6 * dim, 44));
    let centroids = random(m * PQ_CENTROIDS * dsub, 45);
    let rows = device.upload(&values, dim)?;
    let table = device.centroid_table(&coarse, dim, Metric::L2)?;
    let labels = device.nearest_centroid(&rows, &table)?;
    let codes = device.pq_encode(&rows, &device.codebooks(&centroids, m)?, Some((&table, &labels)))?;

    let labels = device.download(&labels.labels)?;
    let origins = labels.iter().flat_map(|&label| &coarse[label as usize * dim..][..dim]);
    let residuals: Vec<f32> = values.iter().zip(origins).map(|(x, c)| x - c).collect();
    nearest(&residuals, &centroids, &flat_codes(&device.download(&codes)?, m), dim, m)
}

/// Small whole numbers, so that equal is equal on every device; each centroid stands there four times.
fn ties(device: &Device) -> Result<(), Failed> {
    let (m, dsub) = (11, 3);
    let dim = m * dsub;
    let of_sub = |sub: usize| (0..4).flat_map(move |_| (0..4 * dsub).map(move |i| ((i * 7 + sub) % 11) as f32));
    let centroids: Vec<f32> = (0..m).flat_map(of_sub).collect();
    let rows: Vec<f32> = (0..60 * dim).map(|i| ((i * 5) % 13) as f32).collect();
    let codes = device.pq_encode(&device.upload(&rows, dim)?, &device.codebooks(&centroids, m)?, None)?;
    let codes = unpack(&flat_codes(&device.download(&codes)?, m), m)?;
    for (row, codes) in rows.chunks(dim).zip(codes) {
        for ((x, code), centroids) in row.chunks(dsub).zip(codes).zip(centroids.chunks(PQ_CENTROIDS * dsub)) {
            let keys: Vec<_> = centroids.chunks(dsub).map(|c| distance(Metric::L2, x, c)).collect();
            let lowest = (0..PQ_CENTROIDS).min_by(|&a, &b| keys[a].total_cmp(&keys[b]));
            ensure(lowest == Some(code), || format!("{code}, not {lowest:?}: {keys:?}"))?;
        }
    }
    Ok(())
}

fn equal_rows(device: &Device) -> Result<(), Failed> {
    let (m, dsub) = (20, 2);
    let rows = random(m * dsub, 46).repeat(100);
    let codebooks = device.codebooks(&random(m * PQ_CENTROIDS * dsub, 47), m)?;
    let codes = device.download(&device.pq_encode(&device.upload(&rows, m * dsub)?, &codebooks, None)?)?;
    let words = codebooks.words();
    ensure(codes.chunks(words).all(|row| row == &codes[..words]), || "equal rows have different codes".into())
}
