//! The k nearest rows of each query among its ranges, by exact distances.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::pruning::{self, Basis, SketchTable, Work};
use super::smallest::Smallest;
use super::workspace::Workspace;
use crate::device::data::buffer::{Matrix, TopK};
use crate::device::data::ranges::{RowRanges, groups};
use crate::device::data::rows::RowSet;
use crate::device::simd::arch;
use crate::device::simd::distance::distance;
use crate::error::Result;
use crate::factory::Metric;

/// Queries that one thread takes at a time, at most: many, so that a list is read from memory once for all that visit it.
const QUERIES: usize = 512;
/// Bytes of rows that stay in a core's cache while all queries of a group are compared with them.
const BLOCK: usize = 128 << 10;
/// Comparisons that are worth making the sketch of a row for, and rows whose sketches take as long to make as finding the
/// directions does.
const MANY: usize = 128;
const DIRECTIONS: usize = 1 << 15;
/// A query is compared with as many rows at least where its own sketch is worth it.
pub(crate) const ENOUGH: usize = 256;

pub(crate) fn exact_topk(
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    metric: Metric,
    k: usize,
    top: &mut TopK,
) -> Result<()> {
    let name = "exact_topk";
    let (query_data, row_data) = (queries.data.host(name)?, rows.host(name)?);
    top.rows.resize(queries.rows * k, 0);
    top.distances.resize(queries.rows * k, 0.0);
    // Few queries are spread over the cores one by one.
    let share = queries.rows.div_ceil(rayon::current_num_threads()).clamp(1, QUERIES);
    let search = Search { queries: query_data, rows: row_data, dim: queries.dim, ranges, metric };
    let (table, share) = match search.table(rows) {
        Some(table) => (Some(table), share.min(pruning::ROWS)),
        None => (None, share),
    };
    top.rows.par_chunks_mut(share * k).zip(top.distances.par_chunks_mut(share * k)).enumerate().for_each(
        |(chunk, (rows, distances))| match table {
            Some(table) => search.by_bounds(table, chunk * share, k, rows, distances),
            None => search.directly(chunk * share, k, rows, distances),
        },
    );
    Ok(())
}

/// Makes rows ready for being searched as a whole again and again; rows elsewhere stay as they are.
pub(crate) fn prepare(rows: &RowSet, metric: Metric) {
    let prepared = &rows.prepared[metric as usize];
    let Ok(values) = rows.host("prepare") else { return };
    if prepared.made.get::<Option<SketchTable>>().is_some() {
        return;
    }
    prepared.begun.store(true, Ordering::Relaxed);
    // None where they would not pay. Whoever makes them at the same time makes the same ones.
    let table = Basis::of(values, rows.dim).map(|basis| SketchTable::new(Arc::new(basis), values, metric));
    prepared.made.set(Arc::new(table));
}

/// The same from within a search, unless another one is making the rows ready.
fn prepare_lazily(rows: &RowSet, metric: Metric) {
    if !rows.prepared[metric as usize].begun.swap(true, Ordering::Relaxed) {
        prepare(rows, metric);
    }
}

/// What spares most comparisons with all rows, where it was prepared.
fn sketch(rows: &RowSet, metric: Metric) -> Option<&SketchTable> {
    rows.prepared[metric as usize].made.get::<Option<SketchTable>>()?.as_ref()
}

/// Everything on the host.
struct Search<'a> {
    queries: &'a [f32],
    rows: &'a [f32],
    dim: usize,
    ranges: &'a RowRanges,
    metric: Metric,
}

impl Search<'_> {
    /// Bounds, where queries are compared with many rows and enough has been asked to have them.
    fn table<'a>(&self, rows: &'a RowSet) -> Option<&'a SketchTable> {
        let queries = self.ranges.queries();
        let compared: usize = (0..queries).map(|query| self.ranges.candidates(query)).sum();
        if compared < ENOUGH * queries {
            return None;
        }
        if compared >= MANY * (rows.rows + DIRECTIONS) {
            prepare_lazily(rows, self.metric);
        }
        sketch(rows, self.metric)
    }

    /// Writes the nearest rows and their distances of the queries from `first` on, comparing with all whose bounds allow it.
    fn by_bounds(&self, table: &SketchTable, first: usize, k: usize, rows: &mut [u32], distances: &mut [f32]) {
        let queries = rows.len() / k;
        let asked = &self.queries[first * self.dim..][..queries * self.dim];
        let most = |query| self.ranges.candidates(query) >= self.rows.len() / self.dim / 2;
        let whole = (first..first + queries).all(most);
        Workspace::with(|workspace| {
            let Workspace { pools, packed, sketches, bounding, .. } = workspace;
            let pools = pools.renew(queries, k);
            table.basis().sketch(asked, true, packed, sketches);
            let work = Work { pools: &mut *pools, among: Some((self.ranges, first)), near: None, bounding };
            if whole {
                table.nearest(self.rows, asked, sketches, work);
            } else {
                table.nearest_within(self.rows, asked, sketches, work);
            }
            self.write(pools, rows, distances);
        });
    }

    fn write(&self, pools: &mut [Smallest], rows: &mut [u32], distances: &mut [f32]) {
        let k = rows.len() / pools.len();
        for ((pool, rows), distances) in pools.iter_mut().zip(rows.chunks_mut(k)).zip(distances.chunks_mut(k)) {
            pool.write(Some(distances), rows);
            if self.metric == Metric::InnerProduct {
                distances.iter_mut().for_each(|key| *key = -*key);
            }
        }
    }

    /// The same, comparing with all.
    fn directly(&self, first: usize, k: usize, rows: &mut [u32], distances: &mut [f32]) {
        let (arch, queries) = (arch(), rows.len() / k);
        let block = (BLOCK / (4 * self.dim)).max(1);
        Workspace::with(|workspace| {
            let (pools, visits) = (workspace.pools.renew(queries, k), &mut workspace.visits);
            self.ranges.visits(first..first + queries, visits);
            for group in groups(visits) {
                for start in group.rows.clone().step_by(block) {
                    let end = group.rows.end.min(start.saturating_add(block as u32));
                    let block = &self.rows[start as usize * self.dim..end as usize * self.dim];
                    for visit in group.visits {
                        let x = &self.queries[visit.query as usize * self.dim..][..self.dim];
                        let nearest = &mut pools[visit.query as usize - first];
                        arch.dispatch(Scan { metric: self.metric, x, block, first: start, nearest });
                    }
                }
            }
            self.write(pools, rows, distances);
        });
    }
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
