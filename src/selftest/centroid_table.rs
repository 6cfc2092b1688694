//! Centroids made ready where they lie: what is found by them is the nearest.

use super::Failed;
use crate::device::Device;
use crate::factory::Metric;

use super::Listed;
use super::nearest_centroid::check_found;
use super::oracle::{DIMS, correlated, ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for dim in DIMS {
            cases.push((format!("{metric}_d{dim}"), Box::new(move |device| random_case(device, metric, 40, dim))));
        }
        for scale in [1e-12, 1e15] {
            let run = move |device: &Device| {
                let scaled = |values: Vec<f32>| values.into_iter().map(|x| x * scale).collect::<Vec<_>>();
                check(device, metric, &scaled(random(90 * 20, 3)), &scaled(random(700 * 20, 4)), 20)
            };
            cases.push((format!("{metric}_scale_{scale:e}"), Box::new(run)));
        }
        cases.push((format!("{metric}_moved"), Box::new(move |device| moved(device, metric))));
    }
    // Around the edges of a block of the mean; more than all blocks have at their least, and than a grid's row.
    for nlist in [1, 15, 17, 255, 256, 257, 33_000] {
        cases.push((format!("L2_{nlist}"), Box::new(move |device| random_case(device, Metric::L2, nlist, 6))));
    }
    cases.push(("none".into(), Box::new(none)));
    cases.push(("moved_from_another_shape".into(), Box::new(other_shape)));
    cases
}

fn random_case(device: &Device, metric: Metric, nlist: usize, dim: usize) -> Result<(), Failed> {
    check(device, metric, &random(90 * dim, 1), &random(nlist * dim, 2), dim)
}

/// The centroids as a stage left them on the device.
fn check(device: &Device, metric: Metric, rows: &[f32], centroids: &[f32], dim: usize) -> Result<(), Failed> {
    let unit = device.l2_normalize(&device.upload(centroids, dim)?)?;
    for (there, scale) in [(device.upload(centroids, dim)?, "as given"), (unit, "of unit length")] {
        let table = device.centroid_table_of(there, metric, None)?;
        let kept = device.download_centroids(&table)?;
        ensure(scale != "as given" || kept == centroids, || "other centroids than were given".into())?;
        let nearest = device.nearest_centroid(&device.upload(rows, dim)?, &table)?;
        check_found(device, metric, rows, &kept, dim, &nearest)?;
    }
    Ok(())
}

/// Many enough to be sketched: the directions are those of the table before.
fn moved(device: &Device, metric: Metric) -> Result<(), Failed> {
    let dim = 130;
    let (rows, first) = (correlated(100, dim, 41), correlated(600, dim, 43));
    let mut before = device.centroid_table(&first, dim, metric)?;
    for seed in [45, 47] {
        let centroids = correlated(600, dim, seed);
        let table = device.centroid_table_of(device.upload(&centroids, dim)?, metric, Some(&before))?;
        let nearest = device.nearest_centroid(&device.upload(&rows, dim)?, &table)?;
        check_found(device, metric, &rows, &centroids, dim, &nearest)?;
        before = table;
    }
    Ok(())
}

fn none(device: &Device) -> Result<(), Failed> {
    for metric in [Metric::L2, Metric::InnerProduct] {
        let table = device.centroid_table_of(device.upload(&[], 3)?, metric, None)?;
        ensure((table.nlist(), table.dim()) == (0, 3), || format!("{} × {}", table.nlist(), table.dim()))?;
    }
    Ok(())
}

fn other_shape(device: &Device) -> Result<(), Failed> {
    let before = device.centroid_table(&[0.0; 12], 3, Metric::L2)?;
    for (count, dim) in [(3, 4), (3, 3)] {
        let centroids = device.upload(&vec![0.0; count * dim], dim)?;
        let taken = device.centroid_table_of(centroids, Metric::L2, Some(&before));
        ensure(taken.is_err(), || format!("{count} × {dim} were taken for 4 × 3 that moved"))?;
    }
    Ok(())
}
