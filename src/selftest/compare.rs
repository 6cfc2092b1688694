//! Comparison of rows with the centroids that bounds leave: many of them, equal ones, and rows that no bound is known of.

use super::Failed;
use crate::device::{Device, Method, Tile};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{correlated, ensure};

const DIM: usize = 130;

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        cases.push((format!("{metric}_equal_ones"), Box::new(move |device| equal_ones(device, metric))));
        cases.push((format!("{metric}_odd_rows"), Box::new(move |device| odd_rows(device, metric))));
        cases.push((format!("{metric}_odd_centroids"), Box::new(move |device| odd_centroids(device, metric))));
    }
    cases
}

/// Labels by all products and by sketches are the same ones.
fn same(device: &Device, metric: Metric, rows: &[f32], centroids: &[f32]) -> Result<Vec<u32>, Failed> {
    let table = device.centroid_table(centroids, DIM, metric)?;
    let rows = device.upload(rows, DIM)?;
    let [products, sketches] = [Method::Tile(Tile::ALL[2]), Method::Sketches].map(|method| {
        let found = device.nearest_centroid_by(&rows, &table, method)?;
        device.download(&found.labels)
    });
    let (products, sketches) = (products?, sketches?);
    ensure(products == sketches, || format!("{sketches:?}, by products {products:?}"))?;
    Ok(sketches)
}

/// Each centroid stands there nine times: all nine are left by the bounds, more than an invocation's word of marks holds.
fn equal_ones(device: &Device, metric: Metric) -> Result<(), Failed> {
    let once = correlated(60, DIM, 41);
    let labels = same(device, metric, &once, &once.repeat(9))?;
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
    same(device, metric, &rows, &correlated(300, DIM, 52)).map(drop)
}

fn odd_centroids(device: &Device, metric: Metric) -> Result<(), Failed> {
    let mut centroids = correlated(300, DIM, 61);
    centroids[7 * DIM..8 * DIM].fill(0.0);
    centroids[9 * DIM] = 1e6;
    same(device, metric, &correlated(40, DIM, 62), &centroids).map(drop)
}
