//! The k nearest rows of each query among its ranges, by exact distances.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::distance::distance;
use super::select_topk::Smallest;
use crate::device::buffer::{Matrix, TopK};
use crate::device::ranges::RowRanges;
use crate::device::rows::RowSet;
use crate::error::Result;
use crate::factory::Metric;

/// Queries that one thread takes at a time, at most: many, so that a list is read from memory once for all that visit it.
const QUERIES: usize = 512;
/// Bytes of rows that stay in a core's cache while all queries of a group are compared with them.
const BLOCK: usize = 128 << 10;

pub(crate) fn exact_topk(
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    metric: Metric,
    k: usize,
) -> Result<TopK> {
    let name = "exact_topk";
    let dim = queries.dim;
    let query_data = queries.data.host(name)?;
    let row_data = rows.host(name)?;
    let mut top = TopK { rows: vec![0; queries.rows * k], distances: vec![0.0; queries.rows * k] };
    let arch = pulp::Arch::new();
    // Few queries are spread over the cores one by one.
    let share = queries.rows.div_ceil(rayon::current_num_threads()).clamp(1, QUERIES);
    top.rows.par_chunks_mut(share * k).zip(top.distances.par_chunks_mut(share * k)).enumerate().for_each(
        |(chunk, (top_rows, top_distances))| {
            let first = chunk * share;
            let mut nearest = vec![Smallest::new(k); top_rows.len() / k];
            for group in ranges.groups(first..first + nearest.len()) {
                let block = (BLOCK / (4 * dim)).max(1);
                for start in group.rows.clone().step_by(block) {
                    let end = group.rows.end.min(start.saturating_add(block as u32));
                    let block = &row_data[start as usize * dim..end as usize * dim];
                    for visit in &group.visits {
                        let x = &query_data[visit.query as usize * dim..][..dim];
                        let nearest = &mut nearest[visit.query as usize - first];
                        arch.dispatch(Scan { metric, x, block, first: start, nearest });
                    }
                }
            }
            let out = top_rows.chunks_exact_mut(k).zip(top_distances.chunks_exact_mut(k));
            for (nearest, (rows, distances)) in nearest.into_iter().zip(out) {
                nearest.write(Some(distances), rows);
            }
        },
    );
    if metric == Metric::InnerProduct {
        top.distances.iter_mut().for_each(|key| *key = -*key);
    }
    Ok(top)
}

/// Offers every row of a block; the smallest key is the nearest, so inner products are negated.
struct Scan<'a> {
    metric: Metric,
    x: &'a [f32],
    block: &'a [f32],
    first: u32,
    nearest: &'a mut Smallest,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (row, number) in self.block.chunks_exact(self.x.len()).zip(self.first..) {
            let found = distance(simd, self.metric, self.x, row);
            self.nearest.offer_float(if self.metric == Metric::L2 { found } else { -found }, number);
        }
    }
}
