//! The 4-bit code of each row. A SIMD lane is a row: sub-vectors are transposed, so that distances, the choice among
//! the sixteen centroids and the packing of codes go without a step from lane to lane.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::pq::{CENTROIDS, CODES_A_WORD, Codebooks, ResidualsOf};
use crate::device::simd::arch;
use crate::error::Result;

/// Rows at a time: the widest register's.
const LANES: usize = 16;

/// One value of each row. Rows are put there four at a time: one at a time would become scattered stores, which cost
/// more than all distances.
type Column = [[f32; 4]; LANES / 4];

pub(crate) fn pq_encode(
    rows: &Matrix,
    codebooks: &Codebooks,
    residuals_of: Option<ResidualsOf<'_>>,
) -> Result<Buffer<u32>> {
    let name = "pq_encode";
    let (data, centroids) = (rows.data.host(name)?, codebooks.data.host(name)?);
    let origins = match residuals_of {
        Some((table, nearest)) => Some((table.centroids.data.host(name)?, nearest.labels.host(name)?)),
        None => None,
    };
    let (dim, dsub, words) = (rows.dim, codebooks.dsub, codebooks.words());
    let mut codes = vec![0u32; rows.rows * words];
    let arch = arch();
    data.par_chunks(LANES * dim).zip(codes.par_chunks_mut(LANES * words)).enumerate().for_each_init(
        || vec![Column::default(); CODES_A_WORD * dsub],
        |columns, (block, (rows, codes))| {
            let origins = origins.map(|(table, labels)| (table, &labels[block * LANES..]));
            arch.dispatch(Block { rows, origins, centroids, dim, dsub, columns, codes });
        },
    );
    Ok(Buffer::on_host(codes))
}

/// Up to LANES rows and where their codes go.
struct Block<'a> {
    rows: &'a [f32],
    /// Centroids that the rows are taken less, and the rows' labels.
    origins: Option<(&'a [f32], &'a [u32])>,
    centroids: &'a [f32],
    dim: usize,
    dsub: usize,
    /// Room for the columns that make a word of codes.
    columns: &'a mut [Column],
    codes: &'a mut [u32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = CODES_A_WORD * self.dsub;
        let words = self.dim.div_ceil(width);
        for (word, centroids) in self.centroids.chunks(CENTROIDS * width).enumerate() {
            self.transpose(word * width, self.dim.min((word + 1) * width));
            let (columns, _) = S::as_simd_f32s(self.columns.as_flattened().as_flattened());
            let mut packed = [0; LANES];
            for (vector, packed) in S::as_mut_simd_u32s(&mut packed).0.iter_mut().enumerate() {
                let columns = &columns[vector..];
                // The common widths are compiled each by itself, their sums over the sub-vector unrolled.
                *packed = match self.dsub {
                    1 => pack(simd, columns, centroids, 1),
                    2 => pack(simd, columns, centroids, 2),
                    4 => pack(simd, columns, centroids, 4),
                    8 => pack(simd, columns, centroids, 8),
                    dsub => pack(simd, columns, centroids, dsub),
                };
            }
            self.codes.iter_mut().skip(word).step_by(words).zip(packed).for_each(|(code, packed)| *code = packed);
        }
    }
}

impl Block<'_> {
    /// Fills `columns` with the rows' columns `start..end`. Missing rows are stood in for by the last one.
    #[inline(always)]
    fn transpose(&mut self, start: usize, end: usize) {
        let last = self.rows.len() / self.dim - 1;
        let columns = &mut self.columns[..end - start];
        for quad in 0..LANES / 4 {
            let four = [0, 1, 2, 3].map(|row| last.min(4 * quad + row));
            let rows = four.map(|row| &self.rows[row * self.dim..][start..end]);
            match self.origins {
                None => fill(columns, quad, |row, i| rows[row][i]),
                Some((table, labels)) => {
                    let origins = four.map(|row| &table[labels[row] as usize * self.dim..][start..end]);
                    fill(columns, quad, |row, i| rows[row][i] - origins[row][i]);
                }
            }
        }
    }
}

/// Writes four rows' values to their columns.
#[inline(always)]
fn fill(columns: &mut [Column], quad: usize, value: impl Fn(usize, usize) -> f32) {
    for (i, column) in columns.iter_mut().enumerate() {
        column[quad] = [value(0, i), value(1, i), value(2, i), value(3, i)];
    }
}

/// A word of codes for each lane of a vector. `columns` starts with that vector of the first column; the next columns'
/// follow LANES floats apart.
#[inline(always)]
fn pack<S: Simd>(simd: S, columns: &[S::f32s], centroids: &[f32], dsub: usize) -> S::u32s {
    let apart = LANES / S::F32_LANES;
    let mut packed = simd.splat_u32s(0);
    for (sub, centroids) in centroids.chunks_exact(CENTROIDS * dsub).enumerate() {
        let columns = &columns[sub * dsub * apart..][..(dsub - 1) * apart + 1];
        // Centroids come in rising order and only a nearer one wins, so of equally near ones the lowest stays.
        let mut best = simd.splat_f32s(f32::INFINITY);
        let mut kept = simd.splat_u32s(0);
        for (centroid, code) in centroids.chunks_exact(dsub).zip(0u32..) {
            let mut distance = simd.splat_f32s(0.0);
            for (j, &c) in centroid.iter().enumerate() {
                let difference = simd.sub_f32s(columns[j * apart], simd.splat_f32s(c));
                distance = simd.mul_add_e_f32s(difference, difference, distance);
            }
            let wins = simd.less_than_f32s(distance, best);
            best = simd.min_f32s(distance, best);
            kept = simd.select_u32s(wins, simd.splat_u32s(code << (4 * sub)), kept);
        }
        packed = simd.or_u32s(packed, kept);
    }
    packed
}
