//! Comparison of rows with the centroids that bounds leave: many of them, equal ones, and rows that no bound is known of.

use super::Failed;
use crate::device::Device;
use crate::factory::Metric;

use super::Listed;
use super::oracle::{correlated, ensure, random};
use super::sketch::same;

const DIM: usize = 130;

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        cases.push((format!("{metric}_equal_ones"), Box::new(move |device| equal_ones(device, metric))));
        cases.push((format!("{metric}_odd_rows"), Box::new(move |device| odd_rows(device, metric))));
        cases.push((format!("{metric}_odd_centroids"), Box::new(move |device| odd_centroids(device, metric))));
        cases.push((format!("{metric}_all_equal"), Box::new(move |device| all_equal(device, metric))));
    }
    cases.push(("tiny_rows".into(), Box::new(tiny_rows)));
    cases
}

fn labels(device: &Device, metric: Metric, rows: &[f32], centroids: &[f32]) -> Result<Vec<u32>, Failed> {
    let found = same(device, rows, &device.centroid_table(centroids, DIM, metric)?)?;
    Ok(device.download(&found.labels)?)
}

/// Each centroid stands there nine times: all nine are left by the bounds, more than an invocation's word of marks holds.
fn equal_ones(device: &Device, metric: Metric) -> Result<(), Failed> {
    let once = correlated(60, DIM, 41);
    let labels = labels(device, metric, &once, &once.repeat(9))?;
    ensure(labels.iter().all(|&label| label < 60), || format!("a later copy: {labels:?}"))?;
    let own = labels.iter().zip(0..).all(|(&label, row)| label == row);
    ensure(metric == Metric::InnerProduct || own, || format!("{labels:?}"))
}

fn odd_rows(device: &Device, metric: Metric) -> Result<(), Failed> {
    let mut rows = correlated(70, DIM, 51);
    for (row, value) in [(0, f32::NAN), (5, f32::INFINITY), (33, 1e30), (34, f32::NEG_INFINITY), (69, 0.0)] {
        rows[row * DIM + row % DIM] = value;
    }
    rows[40 * DIM..41 * DIM].fill(0.0);
    labels(device, metric, &rows, &correlated(300, DIM, 52)).map(drop)
}

fn odd_centroids(device: &Device, metric: Metric) -> Result<(), Failed> {
    let mut centroids = correlated(300, DIM, 61);
    centroids[7 * DIM..8 * DIM].fill(0.0);
    centroids[9 * DIM] = 1e6;
    labels(device, metric, &correlated(40, DIM, 62), &centroids).map(drop)
}

/// Directions are those of centroids before: of equal ones there are none.
fn all_equal(device: &Device, metric: Metric) -> Result<(), Failed> {
    let rows = correlated(40, DIM, 73);
    let before = device.centroid_table(&correlated(300, DIM, 71), DIM, metric)?;
    same(device, &rows, &before)?;
    for centroid in [vec![0.0; DIM], correlated(1, DIM, 72)] {
        let centroids = device.upload(&centroid.repeat(300), DIM)?;
        let table = device.centroid_table_of(centroids, metric, Some(&before))?;
        let labels = device.download(&same(device, &rows, &table)?.labels)?;
        ensure(labels.iter().all(|&label| label == 0), || format!("{labels:?}"))?;
    }
    Ok(())
}

/// Squares of what the rows have are 0 in float32, but products with the centroids are not. The mean is 0.
fn tiny_rows(device: &Device) -> Result<(), Failed> {
    let centroids = correlated(200, DIM, 81);
    let with_opposites: Vec<f32> = centroids
        .chunks_exact(DIM)
        .flat_map(|centroid| [1.0, -1.0].into_iter().flat_map(move |sign| centroid.iter().map(move |x| sign * x)))
        .collect();
    let rows: Vec<f32> = random(40 * DIM, 82).iter().map(|x| 1e-25 * x).collect();
    labels(device, Metric::InnerProduct, &rows, &with_opposites).map(drop)
}
