//! Sketches: vectors in few numbers.
//!
//! A vector's sketch is its shares in a few orthonormal directions, and the length of what is left of it. What is left of
//! two vectors has a product of at most the product of its lengths (Cauchy and Schwarz), so that two sketches tell how
//! large the product of the vectors can be. Where the machine multiplies bytes quickly, shares are bytes, and what they
//! lose is bounded in the same way.

use std::sync::{Arc, Mutex};

use pulp::{NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::basis::principal_directions;
use super::byte_products::{Side, byte_bounds};
use super::distance::distance;
use super::scores::{PANEL, Scores, WriteAll, panels};
use super::select_topk::Room;
use crate::device::exact_distance;
use crate::factory::Metric;

/// Vectors that are worth it: below, comparing all is as fast.
const FEWEST: usize = 256;
/// The narrowest vectors that are worth it.
const NARROWEST: usize = 128;
/// The share of the vectors' energy that the directions hold at least, or bounds would tell nothing.
const ENERGY: f64 = 0.5;
/// Rows that a thread takes at a time, at most: a panel is read once for all of them.
pub(super) const ROWS: usize = 36;

/// Directions that sketches are made with.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(super) dim: usize,
    pub(super) width: usize,
    /// Shares are bytes.
    pub(super) bytes: bool,
    /// Taken off every vector first: sketches of short vectors tell more.
    pub(super) mean: Vec<f32>,
    /// The directions in panels.
    panels: Vec<f32>,
    /// The mean's share in each, negated.
    bias: Vec<f32>,
}

/// A few orthonormal directions in which vectors spread most about their mean.
#[derive(Debug)]
pub(crate) struct Directions {
    pub mean: Vec<f32>,
    /// Row-major.
    pub rows: Vec<f32>,
}

impl Directions {
    /// As many as suit shares that are floats; none where sketches of such vectors would not pay.
    pub fn for_floats(vectors: &[f32], dim: usize) -> Option<Self> {
        Self::of(vectors, dim, (dim / 6).max(64))
    }

    /// As many as suit shares that are bytes.
    fn for_bytes(vectors: &[f32], dim: usize) -> Option<Self> {
        Self::of(vectors, dim, (dim / 4).max(128))
    }

    /// `width` of them or a few more. More leave fewer vectors to compare, and take longer.
    fn of(vectors: &[f32], dim: usize, width: usize) -> Option<Self> {
        if vectors.len() < FEWEST * dim || dim < NARROWEST {
            return None;
        }
        let mut mean = vec![0.0f64; dim];
        for vector in vectors.chunks_exact(dim) {
            mean.iter_mut().zip(vector).for_each(|(m, &x)| *m += f64::from(x));
        }
        let mean: Vec<f32> = mean.iter().map(|m| (m / (vectors.len() / dim) as f64) as f32).collect();
        let (rows, energy) = principal_directions(vectors, &mean, width.next_multiple_of(PANEL));
        (energy >= ENERGY).then_some(Self { mean, rows })
    }

    /// The mean's share in each, negated.
    pub fn bias(&self) -> Vec<f32> {
        let share = |direction| -exact_distance(Metric::InnerProduct, direction, &self.mean);
        self.rows.chunks_exact(self.mean.len()).map(share).collect()
    }
}

impl Basis {
    /// Directions for vectors like these; none where sketches of them would not pay.
    pub fn of(vectors: &[f32], dim: usize) -> Option<Self> {
        Self::with_shares(vectors, dim, byte_bounds().is_some())
    }

    /// The same with shares in bytes or not.
    pub(super) fn with_shares(vectors: &[f32], dim: usize, bytes: bool) -> Option<Self> {
        let found = if bytes { Directions::for_bytes(vectors, dim) } else { Directions::for_floats(vectors, dim) }?;
        let (bias, panels) = (found.bias(), panels(&found.rows, dim));
        Some(Self { dim, width: bias.len(), bytes, panels, mean: found.mean, bias })
    }

    /// Floats of a sketch whose shares are floats.
    pub(super) fn floats(&self) -> usize {
        self.width + 1
    }

    /// Bounds the rounding of a sum over d, relative to the terms' absolute sum.
    pub(super) fn rounding(&self) -> f32 {
        (self.dim + 16) as f32 * f32::EPSILON / 2.0
    }

    /// Sketches of a few rows, in the memory that is there.
    pub(super) fn sketch(&self, rows: &[f32], packed: &mut Vec<f32>, sketches: &mut Sketches) {
        let arch = pulp::Arch::new();
        let Sketches { floats, bytes, sides } = sketches;
        let count = rows.len() / self.dim;
        floats.clear();
        floats.resize(count * self.floats(), 0.0);
        let take = &mut WriteAll { scores: floats, stride: self.floats() };
        arch.dispatch(Scores { rows, dim: self.dim, panels: &self.panels, bias: &self.bias, packed, take });
        arch.dispatch(Rest { basis: self, rows, sketches: floats });
        if self.bytes {
            bytes.clear();
            bytes.resize(count * self.width, 0);
            sides.clear();
            sides.resize(count, Side::default());
            arch.dispatch(Bytes { width: self.width, floats, bytes, sides });
        }
    }
}

/// Sketches of up to [`ROWS`] rows.
#[derive(Debug, Default)]
pub(crate) struct Sketches {
    /// [row][shares, the length of what is left]; empty where shares are bytes and the sketches are kept.
    pub(super) floats: Vec<f32>,
    /// Where shares are bytes: [row][width].
    pub(super) bytes: Vec<i8>,
    /// Where shares are bytes: what they stand for.
    pub(super) sides: Vec<Side>,
}

/// Sketches of all rows of a matrix.
#[derive(Debug)]
pub(crate) struct RowSketches {
    pub basis: Arc<Basis>,
    /// [`ROWS`] rows each, the last one what is left.
    pub(super) blocks: Vec<Sketches>,
    /// What was nearest to each row when it was last asked for: likely to be near again.
    pub(super) last: Mutex<Option<Vec<u32>>>,
}

impl RowSketches {
    pub fn new(basis: Arc<Basis>, rows: &[f32]) -> Self {
        let some = |rows: &[f32]| {
            let mut sketches = Sketches::default();
            Room::lend(|room| basis.sketch(rows, &mut room.packed, &mut sketches));
            if basis.bytes {
                sketches.floats = Vec::new();
            }
            sketches
        };
        let blocks = rows.par_chunks(ROWS * basis.dim).map(some).collect();
        Self { basis, blocks, last: Mutex::default() }
    }
}

/// Writes the length of what is left of each row. Rounding is allowed for here: with r² + ε‖x‖² for r², the product of two
/// such lengths is at least r·r' + ε‖x‖‖x'‖.
struct Rest<'a> {
    basis: &'a Basis,
    rows: &'a [f32],
    sketches: &'a mut [f32],
}

impl WithSimd for Rest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Basis { dim, width, mean, .. } = self.basis;
        let rounding = self.basis.rounding();
        for (row, sketch) in self.rows.chunks_exact(*dim).zip(self.sketches.chunks_exact_mut(width + 1)) {
            let (shares, rest) = sketch.split_at_mut(*width);
            let length = distance(simd, Metric::L2, row, mean);
            let left = length - distance(simd, Metric::InnerProduct, shares, shares);
            rest[0] = (left.max(0.0) + rounding * length).sqrt();
        }
    }
}

/// Turns shares into bytes, the largest of a row into ±127.
struct Bytes<'a> {
    width: usize,
    floats: &'a [f32],
    bytes: &'a mut [i8],
    sides: &'a mut [Side],
}

impl NullaryFnOnce for Bytes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.floats.chunks_exact(self.width + 1).zip(self.bytes.chunks_exact_mut(self.width));
        for ((sketch, bytes), side) in rows.zip(self.sides) {
            let (shares, rest) = sketch.split_at(self.width);
            let largest = shares.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            let scale = largest / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let (mut squares, mut errors) = (0i32, 0.0f32);
            for (out, &share) in bytes.iter_mut().zip(shares) {
                // Halves to even, which vectorises; what leaves the range is cut off, and NaN becomes 0.
                *out = (share * inverse).round_ties_even() as i8;
                squares += i32::from(*out) * i32::from(*out);
                errors += (share - scale * f32::from(*out)).powi(2);
            }
            let error = errors.sqrt();
            let length = scale * (squares as f32).sqrt() + 0.5 * error;
            *side = Side { scale, error, length, rest: rest[0] };
        }
    }
}
