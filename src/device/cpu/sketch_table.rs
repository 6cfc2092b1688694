//! Bounds that spare exact comparisons: most vectors are told not to be the nearest from sketches alone.
//!
//! Only vectors whose bound reaches the best score known are compared exactly, and those are few where sketches hold much
//! of what tells vectors apart, as with features of speech. What is found is what comparing all would find.

use std::ops::Range;
use std::sync::Arc;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::basis::centred;
use super::byte_products::{self, BytePanel, ByteTile, byte_bounds};
use super::distance::distance;
use super::scores::{PANEL, Scores, Take, panels};
use super::select_topk::Smallest;
use super::sketch::{Basis, RowSketches, Sketches};
use crate::factory::Metric;

/// Bounds that are kept at a time: they stay in a core's cache.
const BOUNDS: usize = 1 << 17;

/// Vectors to find the nearest of.
#[derive(Debug)]
pub(crate) struct SketchTable {
    basis: Arc<Basis>,
    metric: Metric,
    shares: Shares,
    /// Added to the product with a row less the mean, this gives a score that orders vectors as the metric does; −∞ fills
    /// up the last panel.
    bias: Vec<f32>,
    /// Lengths of what is left of the vectors.
    rests: Vec<f32>,
    count: usize,
    /// Length of the longest vector or of the mean.
    reach: f32,
}

/// Sketches in panels.
#[derive(Debug)]
enum Shares {
    Floats(Vec<f32>),
    Bytes(Vec<BytePanel>),
}

impl SketchTable {
    /// Sketches of row-major vectors.
    pub fn new(basis: Arc<Basis>, vectors: &[f32], metric: Metric) -> Self {
        let Basis { dim, width, ref mean, .. } = *basis;
        let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let score = |vector: &[f32]| {
            let short = centred(vector, mean);
            let bias = match metric {
                Metric::L2 => -0.5 * norm(&short),
                Metric::InnerProduct => short.iter().zip(mean).map(|(&x, &m)| f64::from(x) * f64::from(m)).sum(),
            };
            (bias as f32, norm(vector))
        };
        let scores: Vec<_> = vectors.par_chunks_exact(dim).map(score).collect();
        let count = scores.len();
        let reach = scores.iter().map(|score| score.1).fold(norm(mean), f64::max).sqrt() as f32;
        let mut bias: Vec<f32> = scores.into_iter().map(|score| score.0).collect();
        bias.resize(count.next_multiple_of(PANEL), f32::NEG_INFINITY);
        let sketches = RowSketches::new(basis.clone(), vectors).blocks;
        let (mut rests, shares): (Vec<f32>, _) = if basis.bytes {
            let (bytes, sides) = (sketches.iter().flat_map(|s| &s.bytes), sketches.iter().flat_map(|s| &s.sides));
            let (bytes, sides): (Vec<i8>, Vec<_>) = (bytes.copied().collect(), sides.copied().collect());
            let some = bytes.par_chunks(PANEL * width).zip(sides.par_chunks(PANEL));
            let panels = some.map(|(bytes, sides)| BytePanel::new(bytes, sides, width)).collect();
            (sides.iter().map(|side| side.rest).collect(), Shares::Bytes(panels))
        } else {
            let floats: Vec<f32> = sketches.iter().flat_map(|s| &s.floats).copied().collect();
            let rests = floats.iter().skip(width).step_by(basis.floats()).copied().collect();
            (rests, Shares::Floats(panels(&floats, basis.floats())))
        };
        rests.resize(bias.len(), 0.0);
        Self { basis, metric, shares, bias, rests, count, reach }
    }

    /// The directions that the sketches were made with.
    pub fn basis(&self) -> &Arc<Basis> {
        &self.basis
    }

    /// Puts the vectors nearest to each row into its pool, which is empty, by exact distance; returns how many vectors
    /// were compared exactly. Inner products are negated.
    pub(super) fn nearest(&self, vectors: &[f32], rows: &[f32], sketches: &Sketches, work: Work<'_>) -> usize {
        let Work { pools, bounding } = work;
        let (arch, dim) = (pulp::Arch::new(), self.basis.dim);
        let at_a_time = (BOUNDS / pools.len().max(1)).next_multiple_of(PANEL).min(self.bias.len());
        let mut compared = 0;
        for first in (0..self.bias.len()).step_by(at_a_time) {
            let end = self.bias.len().min(first + at_a_time);
            self.bound(first..end, pools.len(), sketches, bounding);
            let Bounding { bounds, seeds, .. } = &mut *bounding;
            let rests = &self.rests[first..end];
            let vectors = &vectors[first * dim..self.count.min(end) * dim];
            for (r, (row, nearest)) in rows.chunks_exact(dim).zip(&mut *pools).enumerate() {
                let bounds = &mut bounds[r * (end - first)..][..end - first];
                let rest = match &self.shares {
                    Shares::Floats(_) => sketches.floats[r * self.basis.floats() + self.basis.width],
                    Shares::Bytes(_) => sketches.sides[r].rest,
                };
                let compare = Compare { table: self, row, rest, rests, bounds, first, vectors, seeds, nearest };
                compared += arch.dispatch(compare);
            }
        }
        compared
    }

    /// Writes the bounds of `rows` rows' scores with the vectors of a range of whole panels, row-major.
    fn bound(&self, range: Range<usize>, rows: usize, sketches: &Sketches, bounding: &mut Bounding) {
        let Bounding { bounds, packed, tile, .. } = bounding;
        bounds.clear();
        bounds.resize(rows * range.len(), 0.0);
        let bias = &self.bias[range.clone()];
        match &self.shares {
            Shares::Floats(panels) => {
                let dim = self.basis.floats();
                let panels = &panels[range.start * dim..range.end * dim];
                let take = &mut Write { bounds, count: range.len() };
                pulp::Arch::new().dispatch(Scores { rows: &sketches.floats, dim, panels, bias, packed, take });
            }
            Shares::Bytes(panels) => {
                let panels = &panels[range.start / PANEL..range.end / PANEL];
                write_byte_bounds(panels, bias, sketches, self.basis.width, tile, bounds);
            }
        }
    }
}

/// Writes the bounds of rows and panels, row-major.
fn write_byte_bounds(
    panels: &[BytePanel],
    biases: &[f32],
    sketches: &Sketches,
    width: usize,
    tile: &mut ByteTile,
    bounds: &mut [f32],
) {
    const TILE: usize = byte_products::ROWS;
    let Some(byte_bounds) = byte_bounds() else { return };
    let biases = biases.as_chunks::<PANEL>().0;
    let rows = sketches.bytes.chunks(TILE * width).zip(sketches.sides.chunks(TILE));
    for ((bytes, sides), bounds) in rows.zip(bounds.chunks_mut(TILE * biases.len() * PANEL)) {
        tile.renew(bytes, sides, width);
        let mut found = [[0.0; PANEL]; TILE];
        for (p, (panel, bias)) in panels.iter().zip(biases).enumerate() {
            byte_bounds(tile, panel, bias, &mut found);
            for (row, found) in bounds.chunks_exact_mut(biases.len() * PANEL).zip(&found) {
                row[p * PANEL..][..PANEL].copy_from_slice(found);
            }
        }
    }
}

/// What [`SketchTable::nearest`] works in.
pub(super) struct Work<'a> {
    /// One a row.
    pub pools: &'a mut [Smallest],
    pub bounding: &'a mut Bounding,
}

/// Bounds and what it takes to find them, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Bounding {
    pub bounds: Vec<f32>,
    packed: Vec<f32>,
    tile: ByteTile,
    seeds: Smallest,
}

struct Write<'a> {
    bounds: &'a mut [f32],
    count: usize,
}

impl Take for Write<'_> {
    #[inline(always)]
    fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]) {
        self.bounds[row * self.count + first as usize..][..PANEL].copy_from_slice(scores);
    }
}

/// A row, and the bounds of some vectors' scores.
struct Compare<'a> {
    table: &'a SketchTable,
    row: &'a [f32],
    /// Length of what is left of it, and of the vectors.
    rest: f32,
    rests: &'a [f32],
    bounds: &'a mut [f32],
    /// Number of the first vector.
    first: usize,
    vectors: &'a [f32],
    seeds: &'a mut Smallest,
    nearest: &'a mut Smallest,
}

impl WithSimd for Compare<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> usize {
        let count = self.vectors.len() / self.row.len();
        let mut compared = 0;
        if self.first == 0 {
            compared += self.seed(simd);
        }
        let least = match self.nearest.kth() {
            Some(kth) => Scale::of(simd, self.table, self.row).least_score(kth),
            None => {
                // Too few are known to leave any out; the seeds are taken with the others.
                if self.first == 0 {
                    self.nearest.renew(self.nearest.k());
                }
                f32::NEG_INFINITY
            }
        };
        for (bounds, first) in self.bounds.as_chunks::<PANEL>().0.iter().zip((0..).step_by(PANEL)) {
            // A bound of NaN tells nothing.
            let mut within = 0u32;
            for (i, &bound) in bounds.iter().enumerate() {
                within |= u32::from(bound >= least || bound.is_nan()) << i;
            }
            while within != 0 {
                let at = first + within.trailing_zeros() as usize;
                within &= within - 1;
                if at < count {
                    self.nearest.offer_float(self.key(simd, at), (self.first + at) as u32);
                    compared += 1;
                }
            }
        }
        compared
    }
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
            let at = self.seeds.candidate(rank);
            let key = self.key(simd, at as usize);
            self.nearest.offer_float(key, at);
            self.bounds[at as usize] = f32::NEG_INFINITY;
        }
        seeds
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
        let mean = &table.basis.mean;
        let rounding = table.basis.rounding();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::select_topk::Room;

    const DIM: usize = 160;

    /// Values that vary in 9 directions much more than in the others.
    fn vectors(count: usize, seed: usize) -> Vec<f32> {
        let wave = |i: usize, j: usize| (((i + seed) * 7919 + j * 104_729) % 1009) as f32 / 504.5 - 1.0;
        let value = |i: usize, j: usize| {
            let shared: f32 = (0..9).map(|d| wave(i * 31 + d * 17, 3) * ((j * (d + 1)) as f32 * 0.7).sin()).sum();
            3.0 + shared + 0.2 * wave(i * 57, j)
        };
        (0..count * DIM).map(|at| value(at / DIM, at % DIM)).collect()
    }

    /// Tables of floats, and of bytes where the machine has them.
    fn tables(vectors: &[f32], metric: Metric) -> Vec<SketchTable> {
        let bases = [false, true].into_iter().filter(|&bytes| !bytes || byte_bounds().is_some());
        bases
            .map(|bytes| Arc::new(Basis::with_shares(vectors, DIM, bytes).expect("they are correlated")))
            .map(|basis| SketchTable::new(basis, vectors, metric))
            .collect()
    }

    #[test]
    fn what_is_found_is_what_comparing_all_finds() {
        let (all, rows) = (vectors(5000, 1), vectors(20, 2));
        for metric in [Metric::L2, Metric::InnerProduct] {
            for (table, k) in tables(&all, metric).iter().flat_map(|table| [1, 8, 300].map(|k| (table, k))) {
                let mut room = Room::default();
                let sketches = RowSketches::new(table.basis().clone(), &rows).blocks.swap_remove(0);
                let pools = room.pools.renew(20, k);
                let work = Work { pools, bounding: &mut room.bounding };
                let compared = table.nearest(&all, &rows, &sketches, work);
                assert!(k > 8 || compared < 20 * 5000 / 4, "{metric} {k}: {compared} were compared");
                for (row, pool) in rows.chunks_exact(DIM).zip(pools) {
                    let key = |v| {
                        let distance = crate::device::exact_distance(metric, row, v);
                        if metric == Metric::L2 { distance } else { -distance }
                    };
                    let mut expected: Vec<_> = all.chunks_exact(DIM).map(key).zip(0u32..).collect();
                    expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    let found = pool.sorted().map(|(_, at)| at);
                    assert!(found.eq(expected.iter().take(k).map(|e| e.1)), "{metric} {k}");
                }
            }
        }
    }

    #[test]
    fn no_bound_is_below_its_score() {
        let (all, rows) = (vectors(300, 3), vectors(15, 4));
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        for table in tables(&all, Metric::L2) {
            let (mut bounding, mean) = (Bounding::default(), &table.basis.mean);
            let sketches = RowSketches::new(table.basis().clone(), &rows).blocks.swap_remove(0);
            table.bound(0..table.bias.len(), 15, &sketches, &mut bounding);
            let bounds = bounding.bounds.chunks_exact(table.bias.len());
            for (row, bounds) in centred(&rows, mean).chunks_exact(DIM).zip(bounds) {
                for (vector, &bound) in centred(&all, mean).chunks_exact(DIM).zip(bounds) {
                    let score = dot(row, vector) - 0.5 * dot(vector, vector);
                    assert!(f64::from(bound) >= score, "{bound} < {score}");
                    let loosest = 3.0 * (dot(row, row) * dot(vector, vector)).sqrt();
                    assert!(f64::from(bound) <= score + loosest, "{bound} tells nothing of {score}");
                }
            }
        }
    }

    #[test]
    fn vectors_without_a_direction_have_no_sketches() {
        // A linear congruential generator: as much in every direction.
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32
        };
        let noise: Vec<f32> = (0..3000 * 768).map(|_| noise()).collect();
        assert!(Basis::of(&noise, 768).is_none());
        assert!(Basis::of(&vectors(255, 5), DIM).is_none(), "they are few");
        // All equal: nothing is in any direction, and nothing is left.
        assert!(Basis::of(&[0.5; 300 * 128], 128).is_none());
    }
}
