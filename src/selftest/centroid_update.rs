//! Rows, distances and counts added to the sums of their labels.

use super::Failed;
use crate::device::{Device, HostSums};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{DIMS, close, ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for dim in DIMS {
        cases.push((format!("d{dim}"), Box::new(move |device| check(device, &[300], 40, dim))));
    }
    for (rows, nlist) in [(1, 1), (1023, 3), (1024, 256), (1025, 257), (5000, 1), (2100, 700)] {
        cases.push((format!("{rows}x{nlist}"), Box::new(move |device| check(device, &[rows], nlist, 12))));
    }
    cases.push(("batches_add_up".into(), Box::new(|device| check(device, &[500, 0, 1, 1500], 33, 20))));
    cases.push(("one_input_one_result".into(), Box::new(repeats)));
    cases.push(("sums_of_other_centroids".into(), Box::new(other_sums)));
    cases
}

fn update(device: &Device, batches: &[Vec<f32>], centroids: &[f32], dim: usize) -> Result<HostSums, Failed> {
    let table = device.centroid_table(centroids, dim, Metric::L2)?;
    let mut sums = device.cluster_sums(centroids.len() / dim, dim)?;
    for batch in batches {
        let rows = device.upload(batch, dim)?;
        let nearest = device.nearest_centroid(&rows, &table)?;
        device.centroid_update(&rows, &nearest, &mut sums)?;
    }
    Ok(device.download_sums(&sums)?)
}

fn check(device: &Device, batches: &[usize], nlist: usize, dim: usize) -> Result<(), Failed> {
    let centroids = random(nlist * dim, 20);
    let batches: Vec<_> = batches.iter().zip(21..).map(|(&rows, seed)| random(rows * dim, seed)).collect();
    let found = update(device, &batches, &centroids, dim)?;

    // The labels are the device's own, checked elsewhere; the sums are added up here in float64.
    let table = device.centroid_table(&centroids, dim, Metric::L2)?;
    let (mut sums, mut counts, mut costs) = (vec![0.0f64; nlist * dim], vec![0u32; nlist], vec![0.0f64; nlist]);
    for batch in &batches {
        let nearest = device.nearest_centroid(&device.upload(batch, dim)?, &table)?;
        let (labels, distances) = (device.download(&nearest.labels)?, device.download(&nearest.distances)?);
        for ((row, label), distance) in batch.chunks(dim).zip(labels).zip(distances) {
            let label = label as usize;
            row.iter().zip(&mut sums[label * dim..]).for_each(|(&x, sum)| *sum += f64::from(x));
            counts[label] += 1;
            costs[label] += f64::from(distance);
        }
    }
    ensure(found.counts == counts, || format!("counts {:?}, expected {counts:?}", found.counts))?;
    for (i, (&found, &expected)) in found.sums.iter().zip(&sums).enumerate() {
        close(found, expected, 1e-6 * f64::from(counts[i / dim]), || format!("sum {i}"))?;
    }
    for (i, (&found, &expected)) in found.costs.iter().zip(&costs).enumerate() {
        close(found, expected, 0.0, || format!("cost {i}"))?;
    }
    ensure(found.sums.len() == nlist * dim, || format!("{} sums", found.sums.len()))
}

fn other_sums(device: &Device) -> Result<(), Failed> {
    let table = device.centroid_table(&random(64 * 4, 32), 4, Metric::L2)?;
    let rows = device.upload(&random(1000 * 4, 33), 4)?;
    let nearest = device.nearest_centroid(&rows, &table)?;
    let mut sums = device.cluster_sums(4, 4)?;
    let taken = device.centroid_update(&rows, &nearest, &mut sums).is_ok();
    ensure(!taken, || "labels of 64 centroids were taken for 4 sums".into())
}

fn repeats(device: &Device) -> Result<(), Failed> {
    let (centroids, batches) = (random(50 * 64, 30), vec![random(3000 * 64, 31)]);
    let first = update(device, &batches, &centroids, 64)?;
    for _ in 0..3 {
        let again = update(device, &batches, &centroids, 64)?;
        let bits = |sums: &HostSums| sums.sums.iter().chain(&sums.costs).map(|v| v.to_bits()).collect::<Vec<_>>();
        ensure(bits(&first) == bits(&again), || "two runs differ".into())?;
    }
    Ok(())
}
