//! The nprobe nearest centroids of each row.

use super::Failed;
use crate::device::Device;
use crate::factory::Metric;

use super::Listed;
use super::oracle::{DIMS, correlated, ensure, key, random, tolerance};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for dim in DIMS {
            cases.push((
                format!("{metric}_d{dim}"),
                Box::new(move |device| random_case(device, metric, 20, 150, dim, 8)),
            ));
        }
        for (rows, nlist, nprobe) in
            [(1, 1, 1), (3, 129, 129), (130, 300, 1), (2, 1500, 1024), (2, 1500, 1300), (0, 10, 3)]
        {
            let name = format!("{metric}_{rows}x{nlist}_nprobe{nprobe}");
            cases.push((name, Box::new(move |device| random_case(device, metric, rows, nlist, 12, nprobe))));
        }
        for (nlist, dim, nprobe) in [(300, 128, 1), (1100, 257, 8), (300, 768, 300)] {
            let name = format!("{metric}_correlated_{nlist}_d{dim}_nprobe{nprobe}");
            let data = move || (correlated(50, dim, 13), correlated(nlist, dim, 15));
            cases.push((name, Box::new(move |device| check(device, metric, &data().0, &data().1, dim, nprobe))));
        }
    }
    cases.push(("nprobe_out_of_range".into(), Box::new(out_of_range)));
    cases
}

fn random_case(
    device: &Device,
    metric: Metric,
    rows: usize,
    nlist: usize,
    dim: usize,
    nprobe: usize,
) -> Result<(), Failed> {
    check(device, metric, &random(rows * dim, 11), &random(nlist * dim, 12), dim, nprobe)
}

fn check(
    device: &Device,
    metric: Metric,
    rows: &[f32],
    centroids: &[f32],
    dim: usize,
    nprobe: usize,
) -> Result<(), Failed> {
    let nlist = centroids.len() / dim;
    let table = device.centroid_table(centroids, dim, metric)?;
    let probes = device.download(&device.nearest_probes(&device.upload(rows, dim)?, &table, nprobe)?)?;
    ensure(probes.len() == rows.len() / dim * nprobe, || format!("{} probes", probes.len()))?;
    for (i, (row, found)) in rows.chunks(dim).zip(probes.chunks(nprobe)).enumerate() {
        let mut keys: Vec<f64> = centroids.chunks(dim).map(|c| key(metric, row, c)).collect();
        let mut seen = vec![false; nlist];
        for &probe in found {
            ensure((probe as usize) < nlist, || format!("row {i}: probe {probe}"))?;
            ensure(!seen[probe as usize], || format!("row {i}: probe {probe} twice"))?;
            seen[probe as usize] = true;
        }
        let chosen: Vec<f64> = found.iter().map(|&probe| keys[probe as usize]).collect();
        keys.sort_by(f64::total_cmp);
        for (rank, (&found, &expected)) in chosen.iter().zip(&keys).enumerate() {
            let over = (found - expected).abs();
            ensure(over <= tolerance(row, row), || format!("row {i} rank {rank}: {found}, expected {expected}"))?;
        }
    }
    Ok(())
}

fn out_of_range(device: &Device) -> Result<(), Failed> {
    let table = device.centroid_table(&random(40, 1), 4, Metric::L2)?;
    let rows = device.upload(&random(8, 2), 4)?;
    for nprobe in [0, 11] {
        ensure(device.nearest_probes(&rows, &table, nprobe).is_err(), || format!("nprobe {nprobe} was taken"))?;
    }
    Ok(())
}
