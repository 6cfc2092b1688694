//! The nearest centroid of each row: scores and running maximum fused, so no rows × nlist matrix exists.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::distance::distance;
use super::scores::{PANEL, Scores, Take};
use crate::device::buffer::{Assignment, Buffer, CentroidTable, Matrix};
use crate::error::Result;
use crate::factory::Metric;

/// Rows that one thread takes at a time: a panel of centroids is read once for all of them.
const ROWS: usize = 96;

pub(crate) fn nearest_centroid(rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
    let name = "nearest_centroid";
    let dim = rows.dim;
    let (data, panels) = (rows.data.host(name)?, table.shifted.data.host(name)?);
    let (bias, centroids) = (table.bias.host(name)?, table.centroids.data.host(name)?);
    let mut labels = vec![0u32; rows.rows];
    let mut distances = vec![0.0f32; rows.rows];
    let arch = pulp::Arch::new();
    data.par_chunks(ROWS * dim).zip(labels.par_chunks_mut(ROWS)).zip(distances.par_chunks_mut(ROWS)).for_each_init(
        Vec::new,
        |packed, ((rows, labels), distances)| {
            let mut best = Best { scores: [f32::NEG_INFINITY; ROWS], labels };
            arch.dispatch(Scores { rows, dim, panels, bias, packed, take: &mut best });
            let labels = best.labels;
            arch.dispatch(Measure { metric: table.metric, rows, labels, centroids, dim, distances });
        },
    );
    Ok(Assignment { labels: Buffer::on_host(labels), distances: Buffer::on_host(distances), nlist: table.nlist() })
}

/// The best centroid of each row so far. Centroids come in rising order and only a higher score wins, so of equal scores
/// the lowest label stays.
struct Best<'a> {
    scores: [f32; ROWS],
    labels: &'a mut [u32],
}

impl Take for Best<'_> {
    #[inline(always)]
    fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]) {
        let best = self.scores[row];
        // All are looked at, which needs no branches; few panels hold a better score.
        let mut better = false;
        for &score in scores {
            better |= score > best;
        }
        if better {
            for (&score, label) in scores.iter().zip(first..) {
                if score > self.scores[row] {
                    (self.scores[row], self.labels[row]) = (score, label);
                }
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

impl WithSimd for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for ((row, &label), out) in self.rows.chunks_exact(self.dim).zip(self.labels).zip(self.distances) {
            let centroid = &self.centroids[label as usize * self.dim..][..self.dim];
            *out = distance(simd, self.metric, row, centroid);
        }
    }
}
