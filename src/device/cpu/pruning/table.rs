//! Sketches of the vectors that rows are compared with, and upper bounds of their scores.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::byte_products::{BytePanel, ByteRows, Side, byte_bounds};
use super::lines::Lines;
use super::sketch::{Basis, ByteShares, RowSketches, Sketches};
use crate::device::data::buffer::CentroidTable;
use crate::device::simd::arch;
use crate::device::simd::scores::{PANEL, Scores, WriteAll, panels};
use crate::factory::Metric;

/// What rounding may take from a bias where bounds are added up, relative to it: sixteen times half an ulp.
const BIAS_ROUNDING: f64 = 8.0 * f32::EPSILON as f64;

/// Vectors to find the nearest of.
#[derive(Debug)]
pub(crate) struct SketchTable {
    basis: Arc<Basis>,
    pub(crate) metric: Metric,
    shares: Shares,
    /// Added to the product with a row less the mean, this gives a score that orders vectors as the metric does. Raised by
    /// what rounding may take from it; −∞ fills up the last panel.
    pub(crate) bias: Vec<f32>,
    /// Lengths of what is left of the vectors.
    pub(crate) rests: Vec<f32>,
    /// Shares in further directions.
    pub(crate) finer: ByteShares,
    pub(crate) count: usize,
    /// Length of the longest vector or of the mean.
    pub(crate) reach: f32,
}

/// Sketches in panels.
#[derive(Debug)]
enum Shares {
    Floats(Vec<f32>),
    Bytes(Vec<BytePanel>),
}

impl SketchTable {
    /// That of centroids, where they are many.
    pub fn of(table: &CentroidTable) -> Option<&Self> {
        table.cache.get()
    }

    /// Sketches of row-major vectors.
    pub fn new(basis: Arc<Basis>, vectors: &[f32], metric: Metric) -> Self {
        let Basis { dim, width, ref mean, .. } = *basis;
        let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let score = |vector: &[f32]| {
            let centred = vector.iter().zip(mean).map(|(&x, &mean)| (f64::from(x) - f64::from(mean), f64::from(mean)));
            let bias = match metric {
                Metric::L2 => -0.5 * centred.map(|(x, _)| x * x).sum::<f64>(),
                Metric::InnerProduct => centred.map(|(x, mean)| x * mean).sum(),
            };
            ((bias + BIAS_ROUNDING * bias.abs()) as f32, norm(vector))
        };
        let scores: Vec<_> = vectors.par_chunks_exact(dim).map(score).collect();
        let count = scores.len();
        let reach = scores.iter().map(|score| score.1).fold(norm(mean), f64::max).sqrt() as f32;
        let mut bias: Vec<f32> = scores.into_iter().map(|score| score.0).collect();
        bias.resize(count.next_multiple_of(PANEL), f32::NEG_INFINITY);
        let sketches = RowSketches::new(basis.clone(), vectors).blocks;
        let (mut rests, shares): (Vec<f32>, _) = if basis.bytes {
            let ByteShares { shares, sides, .. } = ByteShares::all(sketches.iter().map(|some| &some.bytes));
            let some = shares.par_chunks(PANEL * width).zip(sides.par_chunks(PANEL));
            let panels = some.map(|(bytes, sides)| BytePanel::new(bytes, sides, width)).collect();
            (sides.iter().map(|side| side.rest).collect(), Shares::Bytes(panels))
        } else {
            let floats: Vec<f32> = sketches.iter().flat_map(|s| &s.floats).copied().collect();
            let rests = floats.iter().skip(width).step_by(basis.floats()).copied().collect();
            (rests, Shares::Floats(panels(&floats, basis.floats())))
        };
        rests.resize(bias.len(), 0.0);
        let finer = ByteShares::all(sketches.iter().map(|some| &some.finer));
        Self { basis, metric, shares, bias, rests, finer, count, reach }
    }

    /// The directions that the sketches were made with.
    pub fn basis(&self) -> &Arc<Basis> {
        &self.basis
    }

    /// A row of a number, and its sketch.
    pub(crate) fn row<'a>(&self, values: &'a [f32], sketches: &'a Sketches, number: usize) -> Row<'a> {
        let rest = match &self.shares {
            Shares::Floats(_) => sketches.floats[number * self.basis.floats() + self.basis.width],
            Shares::Bytes(_) => sketches.bytes.sides[number].rest,
        };
        Row { values, rest, finer: sketches.finer.of(number) }
    }

    /// Writes the bounds of some rows' scores with the vectors of a range of whole panels, row-major.
    pub(crate) fn bound(
        &self,
        vectors: Range<usize>,
        rows: Range<usize>,
        sketches: &Sketches,
        upper: &mut UpperBounds,
    ) {
        let UpperBounds { bounds, packed, byte_room } = upper;
        let room = rows.len() * vectors.len();
        bounds.resize(room);
        let bias = &self.bias[vectors.clone()];
        match &self.shares {
            Shares::Floats(panels) => {
                let dim = self.basis.floats();
                let panels = &panels[vectors.start * dim..vectors.end * dim];
                let rows = &sketches.floats[rows.start * dim..rows.end * dim];
                let take = &mut WriteAll { scores: bounds, stride: vectors.len() };
                arch().dispatch(Scores { rows, mean: None, dim, panels, bias, packed, take });
            }
            Shares::Bytes(panels) => {
                let panels = &panels[vectors.start / PANEL..vectors.end / PANEL];
                let width = self.basis.width;
                let shares = &sketches.bytes.shares[rows.start * width..rows.end * width];
                let rows = ByteRows { shares, sides: &sketches.bytes.sides[rows] };
                if let Some(byte_bounds) = byte_bounds(rows.sides.len()) {
                    byte_bounds(rows, panels, bias, byte_room, bounds);
                }
            }
        }
    }
}

/// A row and its sketch.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub values: &'a [f32],
    /// Length of what is left of it.
    pub rest: f32,
    /// Its shares in further directions, where there are such.
    pub finer: Option<(&'a [i8], &'a Side)>,
}

/// Upper bounds of scores, and what it takes to find them, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct UpperBounds {
    pub bounds: Lines<f32>,
    packed: Vec<f32>,
    byte_room: Lines<i8>,
}
