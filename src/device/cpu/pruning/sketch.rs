//! Sketches: vectors in few numbers.
//!
//! A vector's sketch is its shares in a few orthonormal directions, and the length of what is left of it. What is left of
//! two vectors has a product of at most the product of its lengths (Cauchy and Schwarz), so that two sketches tell how
//! large the product of the vectors can be. Where the machine multiplies bytes quickly, shares are bytes, and what they
//! lose is bounded in the same way. Shares in further directions, always bytes, then tell more of the few vectors that are
//! left.

use std::sync::{Arc, Mutex};

use pulp::{NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::byte_products::{SHARES, Side, byte_bounds};
use crate::device::data::buffer::Matrix;
use crate::device::projection::{Directions, excess, rounding, width_of_floats};
use crate::device::simd::arch;
use crate::device::simd::distance::distance;
use crate::device::simd::scores::{Scores, WriteAll, panels};
use crate::error::Result;
use crate::factory::Metric;

/// Directions with the further ones: one in so many of d, and no fewer. They leave about two centroids to a row.
const ALL_OF_DIM: usize = 2;
const ALL_LEAST: usize = 192;
/// Rows that a thread takes at a time, at most: a panel is read once for all of them.
pub(crate) const ROWS: usize = 48;

/// Directions that sketches are made with.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) dim: usize,
    pub(crate) width: usize,
    /// Shares are bytes.
    pub(crate) bytes: bool,
    /// Taken off every vector first: sketches of short vectors tell more.
    pub(crate) mean: Vec<f32>,
    first: Turn,
    finer: Turn,
    /// What rounding may add to the product of two vectors, relative to the product of their lengths less the mean.
    slack: f32,
}

/// Directions in panels.
#[derive(Debug)]
struct Turn {
    panels: Vec<f32>,
    /// One a direction.
    zeros: Vec<f32>,
}

fn width_of_bytes(dim: usize) -> usize {
    (dim / 4).max(128).next_multiple_of(SHARES)
}

impl Turn {
    fn new(directions: &[f32], dim: usize) -> Self {
        Self { panels: panels(directions, dim), zeros: vec![0.0; directions.len() / dim] }
    }

    fn width(&self) -> usize {
        self.zeros.len()
    }

    /// Shares of rows less the mean, each row's with room for one more number behind them.
    fn shares(&self, rows: &[f32], mean: &[f32], packed: &mut Vec<f32>, shares: &mut Vec<f32>) {
        let (stride, dim) = (self.width() + 1, mean.len());
        shares.clear();
        shares.resize(rows.len() / dim * stride, 0.0);
        let take = &mut WriteAll { scores: shares, stride };
        let (mean, panels, bias) = (Some(mean), &self.panels, &self.zeros);
        arch().dispatch(Scores { rows, mean, dim, panels, bias, packed, take });
    }
}

impl Basis {
    /// Directions for vectors like these; none where sketches of them would not pay.
    pub fn of(vectors: &[f32], dim: usize) -> Option<Self> {
        Self::with_shares(vectors, dim, byte_bounds(1).is_some())
    }

    /// The same with shares in bytes or not.
    pub(crate) fn with_shares(vectors: &[f32], dim: usize, bytes: bool) -> Option<Self> {
        let width = if bytes { width_of_bytes(dim) } else { width_of_floats(dim) };
        let found = Directions::of(vectors, dim, width, (dim / ALL_OF_DIM).max(ALL_LEAST))?;
        let Directions { rows, finer, .. } = &found;
        let slack = 9.0 * rounding(dim) + 2.1 * excess(&[rows, finer], dim);
        let (first, finer) = (Turn::new(rows, dim), Turn::new(finer, dim));
        Some(Self { dim, width: first.width(), bytes, first, finer, slack, mean: found.mean })
    }

    /// Floats of a sketch whose shares are floats.
    pub(crate) fn floats(&self) -> usize {
        self.width + 1
    }

    /// As [`rounding`], of sums over the vectors' d.
    pub(crate) fn rounding(&self) -> f32 {
        rounding(self.dim)
    }

    /// What underflow may take from a sum over d, and much more, so that it counts beside long vectors, too.
    fn underflow(&self) -> f32 {
        self.dim as f32 * f32::MIN_POSITIVE * 65_536.0
    }

    /// Sketches of a few rows, in the memory that is there. The `finer` shares, too, which take as long again and are worth
    /// it where many vectors are left.
    pub(crate) fn sketch(&self, rows: &[f32], finer: bool, packed: &mut Vec<f32>, sketches: &mut Sketches) {
        let Sketches { floats, further, bytes, finer: finer_bytes } = sketches;
        self.first.shares(rows, &self.mean, packed, floats);
        further.clear();
        if finer {
            self.finer.shares(rows, &self.mean, packed, further);
        }
        arch().dispatch(Rest { basis: self, rows, sketches: floats, further });
        if self.bytes {
            bytes.renew(floats, self.width);
        }
        finer_bytes.renew(further, self.finer.width());
    }
}

/// Sketches of up to [`ROWS`] rows.
#[derive(Debug, Default)]
pub(crate) struct Sketches {
    /// [row][shares, the length of what is left]; empty where shares are bytes and the sketches are kept.
    pub(crate) floats: Vec<f32>,
    /// The same of the further directions; empty where the sketches are kept.
    further: Vec<f32>,
    /// The shares where they are bytes.
    pub(crate) bytes: ByteShares,
    /// The shares in further directions.
    pub(crate) finer: ByteShares,
}

/// Shares in bytes.
#[derive(Debug, Default)]
pub(crate) struct ByteShares {
    width: usize,
    /// [vector][width].
    pub shares: Vec<i8>,
    /// What they stand for.
    pub sides: Vec<Side>,
}

impl ByteShares {
    /// Makes these the shares of a few rows, [row][shares, the length of what is left].
    fn renew(&mut self, floats: &[f32], width: usize) {
        let count = if width == 0 { 0 } else { floats.len() / (width + 1) };
        self.width = width;
        self.shares.clear();
        self.shares.resize(count * width, 0);
        self.sides.clear();
        self.sides.resize(count, Side::default());
        if count > 0 {
            arch().dispatch(Bytes { width, floats, bytes: &mut self.shares, sides: &mut self.sides });
        }
    }

    /// All of them, one behind the other.
    pub fn all<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.width = part.width;
            all.shares.extend_from_slice(&part.shares);
            all.sides.extend_from_slice(&part.sides);
        }
        all
    }

    /// Those of one vector, where there are any.
    #[inline(always)]
    pub fn of(&self, vector: usize) -> Option<(&[i8], &Side)> {
        let side = self.sides.get(vector)?;
        Some((&self.shares[vector * self.width..][..self.width], side))
    }
}

/// Sketches of all rows of a matrix.
#[derive(Debug)]
pub(crate) struct RowSketches {
    pub basis: Arc<Basis>,
    /// [`ROWS`] rows each, the last one what is left.
    pub(crate) blocks: Vec<Sketches>,
    /// What was nearest to each row when it was last asked for: likely to be near again.
    pub(crate) last: Mutex<Option<Vec<u32>>>,
}

impl RowSketches {
    /// Sketches of rows on the host in the directions of `basis`, kept for who next asks for the same.
    pub fn of(rows: &Matrix, basis: &Arc<Basis>) -> Result<Arc<Self>> {
        let values = rows.data.host("sketches")?;
        if let Some(kept) = rows.cache.share::<Self>().filter(|kept| Arc::ptr_eq(&kept.basis, basis)) {
            return Ok(kept);
        }
        let made = Arc::new(Self::new(basis.clone(), values));
        rows.cache.set(made.clone());
        Ok(made)
    }

    pub fn new(basis: Arc<Basis>, rows: &[f32]) -> Self {
        let some = |packed: &mut Vec<f32>, rows: &[f32]| {
            let mut sketches = Sketches::default();
            basis.sketch(rows, true, packed, &mut sketches);
            if basis.bytes {
                sketches.floats = Vec::new();
            }
            sketches.further = Vec::new();
            sketches
        };
        let blocks = rows.par_chunks(ROWS * basis.dim).map_init(Vec::new, some).collect();
        Self { basis, blocks, last: Mutex::default() }
    }
}

/// Writes the length of what is left of each row, by the first directions and by all.
///
/// What is left is measured by ‖x‖² − ‖D·x‖² for a row less the mean, x, and directions D. Their product bounds
/// ⟨x, x'⟩ − ⟨D·x, D·x'⟩ wherever ‖D·x‖ ≤ ‖x‖ for all x (Cauchy and Schwarz); D need not be quite orthonormal.
///
/// Whatever rounding may take from a bound is allowed for here: with r² + s‖x‖² for r², the product of two such lengths is
/// at least r·r' + s‖x‖‖x'‖. So s has to be the sum of what follows. Let u = 2⁻²⁴, w be the number of directions, a the
/// shares as they were computed, and e = (d + √d + 4)u.
/// - a differs from D·x by at most e‖x‖: each step of a sum is off by u times the partial sums, which are the shares of the
///   first coordinates alone, and so at most ‖x‖ long together. That takes 2e of ⟨a, a'⟩ and 2e of ‖a‖².
/// - The sums ‖x‖² and ‖a‖² are off by (d + w + 8)u.
/// - Shares may be longer than the row, by the [`excess`] of D: once in each length, and once in their product.
/// - Adding up a bound takes (2w + 40)u, bytes and further directions included.
///
/// Since w ≤ d + 31, these are at most 9(d + 64)u and twice the excess. The bias allows for its own rounding
/// ([`SketchTable`](super::SketchTable)).
struct Rest<'a> {
    basis: &'a Basis,
    rows: &'a [f32],
    sketches: &'a mut [f32],
    further: &'a mut [f32],
}

impl WithSimd for Rest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Basis { dim, width, mean, finer, slack, .. } = self.basis;
        let underflow = self.basis.underflow();
        let mut further = self.further.chunks_exact_mut(finer.width() + 1);
        for (row, sketch) in self.rows.chunks_exact(*dim).zip(self.sketches.chunks_exact_mut(width + 1)) {
            let length = distance(simd, Metric::L2, row, mean);
            let mut left = length;
            for sketch in [Some(sketch), further.next()].into_iter().flatten() {
                let Some((rest, shares)) = sketch.split_last_mut() else { continue };
                left -= distance(simd, Metric::InnerProduct, shares, shares);
                *rest = (left.max(0.0) + slack * length + underflow).sqrt();
            }
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
