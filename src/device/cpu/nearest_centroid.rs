//! The nearest centroid of each row: product and running maximum tile by tile, so no rows × nlist matrix exists.

use rayon::prelude::*;

use super::distance::distance;
use super::product::{CENTROIDS, ROWS, product};
use crate::device::buffer::{Assignment, Buffer, CentroidTable, Matrix};
use crate::error::Result;

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
            arch.dispatch(|| {
                for ((row, &label), out) in rows.chunks_exact(dim).zip(&*labels).zip(distances) {
                    let centroid = &centroids[label as usize * dim..][..dim];
                    *out = distance(table.metric, row, centroid);
                }
            });
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
        arch.dispatch(|| keep_best(products, bias, (tile * CENTROIDS) as u32, best, labels));
    }
}

/// Centroids come in rising order and only a higher score wins, so of equal scores the lowest label stays.
#[inline(always)]
fn keep_best(products: &[f32], bias: &[f32], first: u32, best: &mut [f32], labels: &mut [u32]) {
    for ((run, &bias), label) in products.chunks_exact(best.len()).zip(bias).zip(first..) {
        for ((&product, best), kept) in run.iter().zip(best.iter_mut()).zip(labels.iter_mut()) {
            let score = product + bias;
            let wins = score > *best;
            *best = if wins { score } else { *best };
            *kept = if wins { label } else { *kept };
        }
    }
}
