//! The nearest centroid of each row: product and running maximum tile by tile, so no rows × nlist matrix exists.

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use super::distance::distance;
use super::product::{CENTROIDS, ROWS, product};
use crate::device::buffer::{Assignment, Buffer, CentroidTable, Matrix};
use crate::error::Result;
use crate::factory::Metric;

pub(crate) fn nearest_centroid(rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
    let name = "nearest_centroid";
    let dim = rows.dim;
    let (data, shifted) = (rows.data.host(name)?, table.shifted.data.host(name)?);
    let (bias, centroids) = (table.bias.host(name)?, table.centroids.data.host(name)?);
    let mut labels = vec![0u32; rows.rows];
    let mut distances = vec![0.0f32; rows.rows];
    let arch = pulp::Arch::new();
    data.par_chunks(ROWS * dim).zip(labels.par_chunks_mut(ROWS)).zip(distances.par_chunks_mut(ROWS)).for_each_init(
        || vec![0.0; ROWS * CENTROIDS],
        |products, ((rows, labels), distances)| {
            assign(arch, rows, shifted, bias, dim, products, labels);
            arch.dispatch(Measure { metric: table.metric, rows, labels, centroids, dim, distances });
        },
    );
    Ok(Assignment { labels: Buffer::on_host(labels), distances: Buffer::on_host(distances), nlist: table.nlist() })
}

/// Labels of up to ROWS rows.
fn assign(
    arch: pulp::Arch,
    rows: &[f32],
    shifted: &[f32],
    bias: &[f32],
    dim: usize,
    products: &mut [f32],
    labels: &mut [u32],
) {
    let mut best = [f32::NEG_INFINITY; ROWS];
    let best = &mut best[..labels.len()];
    for (tile, (centroids, bias)) in shifted.chunks(CENTROIDS * dim).zip(bias.chunks(CENTROIDS)).enumerate() {
        product(rows, centroids, dim, products);
        arch.dispatch(KeepBest { products, bias, first: (tile * CENTROIDS) as u32, best, labels });
    }
}

// What is compiled for the machine's SIMD. Closures would not be inlined there.

/// Takes in a tile of products. Centroids come in rising order and only a higher score wins, so of equal scores the
/// lowest label stays.
struct KeepBest<'a> {
    products: &'a [f32],
    bias: &'a [f32],
    first: u32,
    best: &'a mut [f32],
    labels: &'a mut [u32],
}

impl NullaryFnOnce for KeepBest<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((run, &bias), label) in self.products.chunks_exact(self.best.len()).zip(self.bias).zip(self.first..) {
            for ((&product, best), kept) in run.iter().zip(self.best.iter_mut()).zip(self.labels.iter_mut()) {
                let score = product + bias;
                let wins = score > *best;
                *best = if wins { score } else { *best };
                *kept = if wins { label } else { *kept };
            }
        }
    }
}

/// Exact distances of rows to the centroids that their labels name.
struct Measure<'a> {
    metric: Metric,
    rows: &'a [f32],
    labels: &'a [u32],
    centroids: &'a [f32],
    dim: usize,
    distances: &'a mut [f32],
}

impl NullaryFnOnce for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((row, &label), out) in self.rows.chunks_exact(self.dim).zip(self.labels).zip(self.distances) {
            let centroid = &self.centroids[label as usize * self.dim..][..self.dim];
            *out = distance(self.metric, row, centroid);
        }
    }
}
