//! Scores x · c + b of rows and centroids, the product behind `nearest_centroid` and `nearest_probes`. They are handed on
//! as they are made, so no rows × nlist matrix exists.

use std::iter::repeat_n;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Centroids that lie side by side, one value of each after the other: a SIMD lane is a centroid.
pub(crate) const PANEL: usize = 32;

/// Row-major centroids as [panel][d][PANEL], the last panel filled up with zeros.
pub(crate) fn panels(centroids: &[f32], dim: usize) -> Vec<f32> {
    let mut panels = vec![0.0; (centroids.len() / dim).next_multiple_of(PANEL) * dim];
    panels.par_chunks_exact_mut(PANEL * dim).zip(centroids.par_chunks(PANEL * dim)).for_each(|(panel, centroids)| {
        for (lane, centroid) in centroids.chunks_exact(dim).enumerate() {
            panel[lane..].iter_mut().step_by(PANEL).zip(centroid).for_each(|(out, &c)| *out = c);
        }
    });
    panels
}

/// Whoever wants the scores.
pub(crate) trait Take {
    /// The scores of a row and the centroids from `first` on. Those that fill up the last panel are −∞.
    fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]);
}

/// Writes all scores row-major, `stride` a row; what is past the end of a row is dropped.
pub(crate) struct WriteAll<'a> {
    pub scores: &'a mut [f32],
    pub stride: usize,
}

impl Take for WriteAll<'_> {
    #[inline(always)]
    fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]) {
        let out = &mut self.scores[row * self.stride..][..self.stride][first as usize..];
        let length = out.len().min(PANEL);
        out[..length].copy_from_slice(&scores[..length]);
    }
}

/// Hands the scores of a few rows to `take`, for each row in the order of the centroids.
pub(crate) struct Scores<'a, T> {
    /// Row-major.
    pub rows: &'a [f32],
    /// Subtracted from each row first.
    pub mean: Option<&'a [f32]>,
    pub dim: usize,
    pub panels: &'a [f32],
    /// One a place in the panels, −∞ where there is no centroid.
    pub bias: &'a [f32],
    /// Room for the rows as [tile][d][rows of the tile].
    pub packed: &'a mut Vec<f32>,
    pub take: &'a mut T,
}

impl<T: Take> WithSimd for Scores<'_, T> {
    type Output = ();

    /// As many rows at a time as leave the sums of all their scores with a panel in registers.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match PANEL / S::F32_LANES {
            2 => self.run::<S, 2>(simd, &[12, 8, 4]),
            4 => self.run::<S, 4>(simd, &[3]),
            8 => self.run::<S, 8>(simd, &[3]),
            _ => self.run::<S, PANEL>(simd, &[1]),
        }
    }
}

impl<T: Take> Scores<'_, T> {
    /// `V` vectors make a panel.
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S, sizes: &[usize]) {
        let Self { rows, mean, dim, panels, bias, packed, take } = self;
        let count = rows.len() / dim;
        let tiles = tiles(count, sizes);
        pack(rows, mean, dim, tiles.clone(), packed);
        let bias = bias.as_chunks::<PANEL>().0;
        for ((panel, bias), first) in panels.chunks_exact(PANEL * dim).zip(bias).zip((0..).step_by(PANEL)) {
            let panel = S::as_simd_f32s(panel).0;
            let (mut rest, mut row) = (packed.as_slice(), 0);
            for size in tiles.clone() {
                let (xs, behind) = rest.split_at(size * dim);
                let tile = Tile { xs, panel, bias, first, rows: row..count.min(row + size) };
                match size {
                    12 => tile.scores::<S, T, 12, V>(simd, take),
                    8 => tile.scores::<S, T, 8, V>(simd, take),
                    4 => tile.scores::<S, T, 4, V>(simd, take),
                    3 => tile.scores::<S, T, 3, V>(simd, take),
                    _ => tile.scores::<S, T, 1, V>(simd, take),
                }
                (rest, row) = (behind, row + size);
            }
        }
    }
}

/// Some rows and a panel. Its methods have no closures: those would not be compiled for the machine's SIMD.
struct Tile<'a, V> {
    /// [d][rows of the tile].
    xs: &'a [f32],
    panel: &'a [V],
    bias: &'a [f32; PANEL],
    first: u32,
    rows: Range<usize>,
}

impl<W: Copy> Tile<'_, W> {
    #[inline(always)]
    fn scores<S: Simd<f32s = W>, T: Take, const R: usize, const V: usize>(self, simd: S, take: &mut T) {
        let sums = products::<S, R, V>(simd, self.xs, self.panel);
        let bias = S::as_simd_f32s(self.bias).0;
        for (sums, row) in sums.iter().zip(self.rows) {
            let mut scores = [0.0; PANEL];
            for ((out, &sum), &bias) in S::as_mut_simd_f32s(&mut scores).0.iter_mut().zip(sums).zip(bias) {
                *out = simd.add_f32s(sum, bias);
            }
            take.take(row, self.first, &scores);
        }
    }
}

/// Cuts rows into tiles of the given sizes, largest first; the last tile may be larger than what is left.
fn tiles(rows: usize, sizes: &[usize]) -> impl Iterator<Item = usize> + Clone {
    let rest = rows % sizes[0];
    // The smallest that holds what is left.
    let last = sizes.iter().copied().rev().find(|&size| rest > 0 && size >= rest);
    repeat_n(sizes[0], rows / sizes[0]).chain(last)
}

fn pack(
    rows: &[f32],
    mean: Option<&[f32]>,
    dim: usize,
    tiles: impl Iterator<Item = usize> + Clone,
    packed: &mut Vec<f32>,
) {
    packed.clear();
    packed.resize(tiles.clone().sum::<usize>() * dim, 0.0);
    let (mut rest, mut rows) = (packed.as_mut_slice(), rows.chunks_exact(dim));
    for size in tiles {
        let (tile, behind) = rest.split_at_mut(size * dim);
        for (r, row) in rows.by_ref().take(size).enumerate() {
            let packed = tile[r..].iter_mut().step_by(size).zip(row);
            match mean {
                Some(mean) => packed.zip(mean).for_each(|((out, &x), &mean)| *out = x - mean),
                None => packed.for_each(|(out, &x)| *out = x),
            }
        }
        rest = behind;
    }
}

/// x · c for R rows and a panel.
#[inline(always)]
fn products<S: Simd, const R: usize, const V: usize>(simd: S, rows: &[f32], panel: &[S::f32s]) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for (xs, cs) in rows.as_chunks::<R>().0.iter().zip(panel.as_chunks::<V>().0) {
        for (sums, &x) in sums.iter_mut().zip(xs) {
            let x = simd.splat_f32s(x);
            for (sum, &c) in sums.iter_mut().zip(cs) {
                *sum = simd.mul_add_e_f32s(x, c, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_tiles() {
        for (rows, expected) in
            [(0, vec![]), (1, vec![4]), (8, vec![8]), (9, vec![12]), (16, vec![12, 4]), (25, vec![12, 12, 4])]
        {
            assert!(tiles(rows, &[12, 8, 4]).eq(expected), "{rows} rows");
        }
        assert!(tiles(7, &[3]).eq([3, 3, 3]) && tiles(2, &[1]).eq([1, 1]));
    }

    struct Kept(Vec<(usize, u32, f32)>);

    impl Take for Kept {
        fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]) {
            self.0.extend(scores.iter().zip(first..).filter(|(s, _)| s.is_finite()).map(|(&s, label)| (row, label, s)));
        }
    }

    #[test]
    fn every_row_meets_every_centroid() {
        let (dim, nlist) = (3, 33);
        let centroids: Vec<f32> = (0..nlist * dim).map(|i| i as f32).collect();
        let mut bias: Vec<f32> = (0..nlist).map(|i| i as f32 * 0.5).collect();
        bias.resize(64, f32::NEG_INFINITY);
        for count in [1, 2, 5, 13, 30] {
            let rows: Vec<f32> = (0..count * dim).map(|i| (i % 7) as f32).collect();
            let mut kept = Kept(Vec::new());
            let (panels, mut packed) = (panels(&centroids, dim), Vec::new());
            let scores = Scores {
                rows: &rows,
                mean: None,
                dim,
                panels: &panels,
                bias: &bias,
                packed: &mut packed,
                take: &mut kept,
            };
            crate::device::arch().dispatch(scores);
            kept.0.sort_by_key(|&(row, label, _)| (row, label));
            // Whole numbers and halves: exact in any order.
            let expected = (0..count).flat_map(|r| (0..nlist).map(move |c| (r, c))).map(|(r, c)| {
                let dot: f32 = (0..dim).map(|j| rows[r * dim + j] * centroids[c * dim + j]).sum();
                (r, c as u32, dot + bias[c])
            });
            assert!(kept.0.into_iter().eq(expected), "{count} rows");
        }
    }
}
