//! The nearest centroid of each row.

use std::sync::PoisonError;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::pruning::{self, RowSketches};
use super::pruning::{SketchTable, Work};
use super::workspace::Workspace;
use crate::device::data::buffer::{Assignment, Buffer, CentroidTable, Matrix, TopK};
use crate::device::simd::arch;
use crate::device::simd::distance::distance;
use crate::device::simd::scores::{PANEL, Scores, Take};
use crate::error::Result;
use crate::factory::Metric;

/// Rows that one thread takes at a time: a panel of centroids is read once for all of them.
const ROWS: usize = 96;
/// Bounds are worth it where they leave at most this share of the centroids, one in so many.
const WORTH: usize = 3;

pub(crate) fn nearest_centroid(rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
    let mut labels = vec![0u32; rows.rows];
    let mut distances = vec![0.0f32; rows.rows];
    if by_bounds(rows, table, &mut labels, &mut distances)?.is_none() {
        by_scores(rows, table, &mut labels, &mut distances)?;
    }
    Ok(Assignment { labels: Buffer::on_host(labels), distances: Buffer::on_host(distances), nlist: table.nlist() })
}

/// How many centroids bounds leave, over all rows; none where there are no sketches or they do not pay.
pub(crate) fn comparisons(rows: &Matrix, table: &CentroidTable) -> Result<Option<u64>> {
    by_bounds(rows, table, &mut vec![0; rows.rows], &mut vec![0.0; rows.rows])
}

/// Compares each row with the few centroids whose bounds allow them to be the nearest, and returns how many that were over
/// all rows. Gives up where there are no sketches, or the first rows show that bounds do not tell enough.
fn by_bounds(rows: &Matrix, table: &CentroidTable, labels: &mut [u32], distances: &mut [f32]) -> Result<Option<u64>> {
    let Some(sketch) = SketchTable::of(table) else { return Ok(None) };
    let name = "nearest_centroid";
    let (data, centroids, dim) = (rows.data.host(name)?, table.centroids.data.host(name)?, rows.dim);
    let sketches = RowSketches::of(rows, sketch.basis())?;
    let (at_a_time, arch) = (pruning::ROWS, arch());
    let last = sketches.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    let some = |first: usize, labels: &mut [u32], distances: &mut [f32]| {
        let rows = &data[first * dim..][..labels.len() * dim];
        Workspace::with(|workspace| {
            let Workspace { pools, bounding, .. } = workspace;
            let pools = pools.renew(labels.len(), 1);
            let near = last.as_ref().map(|last| &last[first..]);
            let compared = sketch.nearest(
                centroids,
                rows,
                &sketches.blocks[first / at_a_time],
                Work { pools, among: None, near, bounding },
            );
            let found = pools.iter_mut().zip(labels.chunks_mut(1).zip(distances.chunks_mut(1)));
            for ((pool, (labels, distances)), rows) in found.zip(rows.chunks_exact(dim)) {
                pool.write(Some(distances), labels);
                if labels[0] == TopK::NONE {
                    // A row of NaN has no nearest; the label stays a valid one.
                    labels[0] = 0;
                    arch.dispatch(Measure { metric: table.metric, rows, labels, centroids, dim, distances });
                } else if table.metric == Metric::InnerProduct {
                    distances[0] = -distances[0];
                }
            }
            compared
        })
    };
    let first = at_a_time.min(rows.rows);
    let tried = some(0, &mut labels[..first], &mut distances[..first]);
    if tried.reached > first * table.nlist() / WORTH {
        return Ok(None);
    }
    let rest = labels[first..].par_chunks_mut(at_a_time).zip(distances[first..].par_chunks_mut(at_a_time));
    let each = |(chunk, (labels, distances))| some(first + chunk * at_a_time, labels, distances).compared as u64;
    let compared = tried.compared as u64 + rest.enumerate().map(each).sum::<u64>();
    *sketches.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(labels.to_vec());
    Ok(Some(compared))
}

/// Scores and running maximum fused, so no rows × nlist matrix exists.
fn by_scores(rows: &Matrix, table: &CentroidTable, labels: &mut [u32], distances: &mut [f32]) -> Result<()> {
    let name = "nearest_centroid";
    let dim = rows.dim;
    let (data, panels) = (rows.data.host(name)?, table.shifted.data.host(name)?);
    let (bias, centroids) = (table.bias.host(name)?, table.centroids.data.host(name)?);
    let arch = arch();
    data.par_chunks(ROWS * dim).zip(labels.par_chunks_mut(ROWS)).zip(distances.par_chunks_mut(ROWS)).for_each_init(
        Vec::new,
        |packed, ((rows, labels), distances)| {
            let mut best = Best { scores: [f32::NEG_INFINITY; ROWS], labels };
            arch.dispatch(Scores { rows, mean: None, dim, panels, bias, packed, take: &mut best });
            let labels = best.labels;
            arch.dispatch(Measure { metric: table.metric, rows, labels, centroids, dim, distances });
        },
    );
    Ok(())
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
