//! The nprobe nearest centroids of each row.

use rayon::prelude::*;

use super::product::{CENTROIDS, product};
use super::select_topk::Smallest;
use crate::device::buffer::{Buffer, CentroidTable, Matrix};
use crate::error::Result;

/// Rows that one thread takes at a time: few, so that a live host's sixteen frames still use several cores.
const ROWS: usize = 16;

pub(crate) fn nearest_probes(rows: &Matrix, table: &CentroidTable, nprobe: usize) -> Result<Buffer<u32>> {
    let name = "nearest_probes";
    let dim = rows.dim;
    let (data, shifted, bias) = (rows.data.host(name)?, table.shifted.data.host(name)?, table.bias.host(name)?);
    let mut probes = vec![0u32; rows.rows * nprobe];
    data.par_chunks(ROWS * dim).zip(probes.par_chunks_mut(ROWS * nprobe)).for_each_init(
        || vec![0.0; ROWS * CENTROIDS],
        |products, (rows, probes)| {
            let count = rows.len() / dim;
            let mut nearest = vec![Smallest::new(nprobe); count];
            for (tile, (centroids, bias)) in shifted.chunks(CENTROIDS * dim).zip(bias.chunks(CENTROIDS)).enumerate() {
                product(rows, centroids, dim, products);
                for ((run, bias), label) in products.chunks_exact(count).zip(bias).zip((tile * CENTROIDS) as u32..) {
                    for (&product, nearest) in run.iter().zip(&mut nearest) {
                        nearest.offer_float(-(product + bias), label);
                    }
                }
            }
            for (nearest, out) in nearest.into_iter().zip(probes.chunks_exact_mut(nprobe)) {
                nearest.write(None, out);
            }
        },
    );
    Ok(Buffer::on_host(probes))
}
