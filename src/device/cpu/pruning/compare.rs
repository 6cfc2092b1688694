//! A row compared with the vectors whose bounds allow them to be near.

use std::mem;
use std::ops::AddAssign;

use pulp::{Simd, WithSimd};

use super::byte_products::byte_product;
use super::table::{Row, SketchTable};
use crate::device::cpu::smallest::Smallest;
use crate::device::simd::distance::distance;
use crate::device::simd::scores::PANEL;
use crate::factory::Metric;

/// A row, and the bounds of some vectors' scores.
pub(crate) struct Compare<'a> {
    pub table: &'a SketchTable,
    pub row: Row<'a>,
    /// The table's vectors.
    pub vectors: &'a [f32],
    /// Number of the first vector with a bound.
    pub first: usize,
    pub bounds: &'a mut [f32],
    /// Those that sketches say are nearest are compared before all others, as many as are wanted, so that bounds have a
    /// score to reach.
    pub likely_first: bool,
    pub reached: &'a mut Reached,
    pub nearest: &'a mut Smallest,
}

/// What bounds leave of the vectors, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Those that are likely to be nearest.
    seeds: Smallest,
    /// Panels with a bound that reaches.
    panels: Vec<u32>,
    /// Vectors whose bounds reach, and the bounds.
    vectors: Vec<(u32, f32)>,
}

/// Panels whose vectors are told apart by one score: what is done with each of these vectors waits for none of the others,
/// and the score rises in time for the next panels.
const PANELS: usize = 16;

/// How much bounds left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Vectors whose first bound reached the best score known.
    pub reached: usize,
    /// Vectors that were compared.
    pub compared: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reached += other.reached;
        self.compared += other.compared;
    }
}

impl WithSimd for Compare<'_> {
    type Output = Counts;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Counts {
        let taken = if self.likely_first { self.seed(simd) } else { 0 };
        let mut counts = Counts { reached: taken, compared: taken };
        // Vectors that are left out, or were compared before, have a bound of −∞.
        let scale = Scale::of(simd, self.table, self.row.values);
        let mut least = self.nearest.kth().map_or(f32::MIN, |kth| scale.least_score(kth).max(f32::MIN));
        let Reached { seeds, mut panels, mut vectors } = mem::take(self.reached);
        self.panels_that_reach(least, &mut panels);
        for panels in panels.chunks(PANELS) {
            self.vectors_that_reach(panels, least, &mut vectors);
            counts.reached += vectors.len();
            counts.compared += self.compare(simd, least, &mut vectors);
            least = least.max(scale.least_score(self.nearest.float_bound()));
        }
        *self.reached = Reached { seeds, panels, vectors };
        counts
    }
}

/// The bounds of a panel that may reach, a bit each.
#[inline(always)]
fn lanes_that_reach(bounds: &[f32; PANEL], least: f32) -> u32 {
    const { assert!(PANEL == u32::BITS as usize) };
    let bit = |(lane, &bound): (usize, &f32)| u32::from(may_reach(bound, least)) << lane;
    bounds.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

/// A bound of NaN tells nothing.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "one comparison, which NaN passes")]
fn may_reach(bound: f32, least: f32) -> bool {
    !(bound < least)
}

impl Compare<'_> {
    /// Compares the vectors that are likely to be near: bounds without the product of what is left are what scores should
    /// be. Returns their number.
    #[inline(always)]
    fn seed<S: Simd>(&mut self, simd: S) -> usize {
        let seeds = &mut self.reached.seeds;
        seeds.renew(self.nearest.k());
        let rests = self.table.rests[self.first..].as_chunks::<PANEL>().0;
        let panels = self.bounds.as_chunks::<PANEL>().0.iter().zip(rests);
        for ((bounds, rests), first) in panels.zip((0..).step_by(PANEL)) {
            let bound = seeds.float_bound();
            let mut within = false;
            let mut keys = [0.0; PANEL];
            for ((key, &score), &left) in keys.iter_mut().zip(bounds).zip(rests) {
                *key = self.row.rest * left - score;
                within |= *key <= bound;
            }
            if within {
                for (&key, at) in keys.iter().zip(first..) {
                    seeds.offer_float(key, at);
                }
            }
        }
        let found = seeds.sorted().len();
        for rank in 0..found {
            let at = self.reached.seeds.candidate(rank) as usize;
            self.nearest.offer_float(self.key(simd, at), (self.first + at) as u32);
            // Left out from now on.
            self.bounds[at] = f32::NEG_INFINITY;
        }
        found
    }

    /// Finds the panels with a bound that may reach. No branch depends on a bound: which panels these are cannot be
    /// foretold.
    #[inline(always)]
    fn panels_that_reach(&self, least: f32, found: &mut Vec<u32>) {
        let panels = self.bounds.as_chunks::<PANEL>().0;
        found.resize(panels.len(), 0);
        let mut count = 0;
        for (bounds, panel) in panels.iter().zip(0..) {
            let mut any = false;
            for &bound in bounds {
                any |= may_reach(bound, least);
            }
            found[count] = panel;
            count += usize::from(any);
        }
        found.truncate(count);
    }

    /// Finds the vectors of some panels whose bounds may reach.
    #[inline(always)]
    fn vectors_that_reach(&self, panels: &[u32], least: f32, found: &mut Vec<(u32, f32)>) {
        let count = self.table.count - self.first;
        found.clear();
        for &panel in panels {
            let first = panel as usize * PANEL;
            let bounds = &self.bounds.as_chunks::<PANEL>().0[panel as usize];
            let mut left = lanes_that_reach(bounds, least);
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                left &= left - 1;
                // The last panel is filled up with what never reaches, unless it is no number.
                if first + lane < count {
                    found.push(((first + lane) as u32, bounds[lane]));
                }
            }
        }
    }

    /// Compares the vectors whose finer bounds may reach, too, and returns their number.
    #[inline(always)]
    fn compare<S: Simd>(&mut self, simd: S, least: f32, vectors: &mut [(u32, f32)]) -> usize {
        let mut kept = 0;
        for i in 0..vectors.len() {
            let (at, bound) = vectors[i];
            vectors[kept].0 = at;
            kept += usize::from(may_reach(self.finer_bound(bound, at as usize), least));
        }
        for &(at, _) in &vectors[..kept] {
            self.nearest.offer_float(self.key(simd, at as usize), self.first as u32 + at);
        }
        kept
    }

    /// The bound with further shares in place of the lengths of what is left.
    #[inline(always)]
    pub fn finer_bound(&self, bound: f32, at: usize) -> f32 {
        match (self.row.finer, self.table.finer.of(self.first + at)) {
            (Some((own, side)), Some((theirs, other))) => {
                bound - self.row.rest * self.table.rests[self.first + at] + side.bound(other, byte_product(own, theirs))
            }
            _ => bound,
        }
    }

    #[inline(always)]
    fn key<S: Simd>(&self, simd: S, at: usize) -> f32 {
        let row = self.row.values;
        key(simd, self.table.metric, row, &self.vectors[(self.first + at) * row.len()..][..row.len()])
    }
}

/// Smallest for the nearest vector.
#[inline(always)]
fn key<S: Simd>(simd: S, metric: Metric, row: &[f32], vector: &[f32]) -> f32 {
    let found = distance(simd, metric, row, vector);
    if metric == Metric::L2 { found } else { -found }
}

/// Compares each row with the one vector that is likely to be near.
pub(crate) struct CompareNear<'a> {
    pub metric: Metric,
    pub rows: &'a [f32],
    pub vectors: &'a [f32],
    pub dim: usize,
    pub near: &'a [u32],
    pub nearest: &'a mut [Smallest],
}

impl WithSimd for CompareNear<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for ((row, &near), nearest) in self.rows.chunks_exact(self.dim).zip(self.near).zip(self.nearest) {
            // Hints that are out of range are ignored.
            if let Some(vector) = self.vectors.chunks_exact(self.dim).nth(near as usize) {
                nearest.offer_float(key(simd, self.metric, row, vector), near);
            }
        }
    }
}

/// Turns keys of a row into scores.
struct Scale {
    offset: f32,
    factor: f32,
    /// What rounding may have made of a score beside its share of a key.
    margin: f32,
    rounding: f32,
}

impl Scale {
    #[inline(always)]
    fn of<S: Simd>(simd: S, table: &SketchTable, row: &[f32]) -> Self {
        let mean = &table.basis().mean;
        let (rounding, underflow) = (table.basis().rounding(), row.len() as f32 * f32::MIN_POSITIVE);
        match table.metric {
            // x'·c' − ½‖c'‖² = ½‖x'‖² − ½‖x − c‖².
            Metric::L2 => {
                let offset = 0.5 * distance(simd, Metric::L2, row, mean);
                Self { offset, factor: 0.5, margin: rounding * offset + underflow, rounding }
            }
            // x'·c' + μ·c' = x·c − x·μ.
            Metric::InnerProduct => {
                let length = (distance(simd, Metric::InnerProduct, row, row) + underflow).sqrt();
                let offset = -distance(simd, Metric::InnerProduct, row, mean);
                Self { offset, factor: 1.0, margin: 4.0 * rounding * length * table.reach + underflow, rounding }
            }
        }
    }

    /// Vectors of lower scores have larger keys than this one.
    #[inline(always)]
    fn least_score(&self, key: f32) -> f32 {
        let score = self.factor * key;
        self.offset - score - self.margin - self.rounding * score.abs()
    }
}
