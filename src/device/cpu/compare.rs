//! A row compared with the vectors whose bounds allow them to be near.

use std::ops::AddAssign;

use pulp::{Simd, WithSimd};

use super::bounds::SketchTable;
use super::byte_products::{Side, byte_product};
use super::distance::distance;
use super::scores::PANEL;
use super::select_topk::Smallest;
use crate::factory::Metric;

/// A row, and the bounds of some vectors' scores.
pub(super) struct Compare<'a> {
    pub table: &'a SketchTable,
    pub row: &'a [f32],
    /// Length of what is left of it, and of the vectors.
    pub rest: f32,
    pub rests: &'a [f32],
    /// Its shares in further directions, where there are such.
    pub finer: Option<(&'a [i8], &'a Side)>,
    pub bounds: &'a mut [f32],
    /// Number of the first vector.
    pub first: usize,
    pub vectors: &'a [f32],
    /// What is compared before all others.
    pub start: Start,
    pub seeds: &'a mut Smallest,
    pub nearest: &'a mut Smallest,
}

/// What is compared first, so that bounds have a score to reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// A vector that is likely to be near.
    At(usize),
    /// Those that sketches say are nearest, as many as are wanted.
    Likely,
    /// Nothing: others were compared before.
    Done,
}

/// How much bounds left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
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
        let count = self.vectors.len() / self.row.len();
        let taken = match self.start {
            Start::At(near) => self.take(simd, near),
            Start::Likely => self.seed(simd),
            Start::Done => 0,
        };
        let mut counts = Counts { reached: taken, compared: taken };
        // Vectors that are left out, or were compared before, have a bound of −∞.
        let scale = Scale::of(simd, self.table, self.row);
        let mut least = self.nearest.kth().map_or(f32::MIN, |kth| scale.least_score(kth).max(f32::MIN));
        for (bounds, first) in self.bounds.as_chunks::<PANEL>().0.iter().zip((0..).step_by(PANEL)) {
            let mut left = reaching(bounds, least);
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                left &= left - 1;
                let (bound, at) = (bounds[lane], first + lane);
                // The last panel is filled up with what never reaches, unless it is no number.
                if !may_reach(bound, least) || at >= count {
                    continue;
                }
                counts.reached += 1;
                if may_reach(self.finer_bound(bound, at), least) {
                    self.nearest.offer_float(self.key(simd, at), (self.first + at) as u32);
                    counts.compared += 1;
                    least = least.max(scale.least_score(self.nearest.float_bound()));
                }
            }
        }
        counts
    }
}

/// The bounds of a panel that may reach, a bit each. All are looked at, which needs no branches; most panels have none.
#[inline(always)]
fn reaching(bounds: &[f32; PANEL], least: f32) -> u32 {
    const { assert!(PANEL == u32::BITS as usize) };
    let mut within = false;
    for &bound in bounds {
        within |= may_reach(bound, least);
    }
    let bit = |(lane, &bound): (usize, &f32)| u32::from(may_reach(bound, least)) << lane;
    if within { bounds.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit) } else { 0 }
}

/// A bound of NaN tells nothing.
#[inline(always)]
fn may_reach(bound: f32, least: f32) -> bool {
    bound >= least || bound.is_nan()
}

impl Compare<'_> {
    /// Compares the vectors that are likely to be near: bounds without the product of what is left are what scores should
    /// be. Returns their number.
    #[inline(always)]
    fn seed<S: Simd>(&mut self, simd: S) -> usize {
        self.seeds.renew(self.nearest.k());
        let panels = self.bounds.as_chunks::<PANEL>().0.iter().zip(self.rests.as_chunks::<PANEL>().0);
        for ((bounds, rests), first) in panels.zip((0..).step_by(PANEL)) {
            let bound = self.seeds.float_bound();
            let mut within = false;
            let mut keys = [0.0; PANEL];
            for ((key, &score), &left) in keys.iter_mut().zip(bounds).zip(rests) {
                *key = self.rest * left - score;
                within |= *key <= bound;
            }
            if within {
                for (&key, at) in keys.iter().zip(first..) {
                    self.seeds.offer_float(key, at);
                }
            }
        }
        let seeds = self.seeds.sorted().len();
        for rank in 0..seeds {
            self.take(simd, self.seeds.candidate(rank) as usize);
        }
        seeds
    }

    /// The bound with further shares in place of the lengths of what is left.
    #[inline(always)]
    pub fn finer_bound(&self, bound: f32, at: usize) -> f32 {
        match (self.finer, self.table.finer.of(self.first + at)) {
            (Some((own, side)), Some((theirs, other))) => {
                bound - self.rest * self.rests[at] + side.bound(other, byte_product(own, theirs))
            }
            _ => bound,
        }
    }

    /// Compares a vector, and leaves it out from then on; returns 1.
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, at: usize) -> usize {
        let key = self.key(simd, at);
        self.nearest.offer_float(key, (self.first + at) as u32);
        self.bounds[at] = f32::NEG_INFINITY;
        1
    }

    /// Smallest for the nearest vector.
    #[inline(always)]
    fn key<S: Simd>(&self, simd: S, at: usize) -> f32 {
        let vector = &self.vectors[at * self.row.len()..][..self.row.len()];
        let found = distance(simd, self.table.metric, self.row, vector);
        if self.table.metric == Metric::L2 { found } else { -found }
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
        let rounding = table.basis().rounding();
        match table.metric {
            // x'·c' − ½‖c'‖² = ½‖x'‖² − ½‖x − c‖².
            Metric::L2 => {
                let offset = 0.5 * distance(simd, Metric::L2, row, mean);
                Self { offset, factor: 0.5, margin: rounding * offset, rounding }
            }
            // x'·c' + μ·c' = x·c − x·μ.
            Metric::InnerProduct => {
                let length = distance(simd, Metric::InnerProduct, row, row).sqrt();
                let offset = -distance(simd, Metric::InnerProduct, row, mean);
                Self { offset, factor: 1.0, margin: 4.0 * rounding * length * table.reach, rounding }
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
