//! A few orthonormal directions in which vectors spread most, found by subspace iteration (Halko, Martinsson and Tropp,
//! arXiv 0909.4061): rounds of B ← orthonormal rows of B · SᵀS for a sample S.

use pulp::NullaryFnOnce;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::simd::arch;
use super::simd::distance::exact_distance;
use super::simd::scores::{PANEL, Scores, WriteAll, panels};
use crate::factory::Metric;

/// Vectors that are worth it: below, comparing all is as fast.
const FEWEST: usize = 256;
/// The narrowest vectors that are worth it.
const NARROWEST: usize = 128;
/// The share of the vectors' energy that the directions hold at least, or bounds would tell nothing.
const ENERGY: f64 = 0.5;
/// Vectors that are looked at.
const SAMPLE: usize = 2048;
/// More bring the directions no nearer to the principal ones than a bound would notice.
const ROUNDS: usize = 3;

/// A few orthonormal directions in which vectors spread most about their mean.
#[derive(Debug)]
pub(crate) struct Directions {
    pub mean: Vec<f32>,
    /// Row-major.
    pub rows: Vec<f32>,
    /// Those that come next.
    pub finer: Vec<f32>,
}

impl Directions {
    /// As many as suit shares that are floats; none where sketches of such vectors would not pay.
    pub fn for_floats(vectors: &[f32], dim: usize) -> Option<Self> {
        let found = Self::of(vectors, dim, width_of_floats(dim), 0)?;
        // What the shaders allow for.
        (excess(&[&found.rows], dim) <= rounding(dim) / 4.0).then_some(found)
    }

    /// `width` of them or a few more, and further ones up to `all`. More leave fewer vectors to compare, and take longer.
    pub fn of(vectors: &[f32], dim: usize, width: usize, all: usize) -> Option<Self> {
        if vectors.len() < FEWEST * dim || dim < NARROWEST {
            return None;
        }
        let mut mean = vec![0.0f64; dim];
        for vector in vectors.chunks_exact(dim) {
            mean.iter_mut().zip(vector).for_each(|(m, &x)| *m += f64::from(x));
        }
        let mean: Vec<f32> = mean.iter().map(|m| (m / (vectors.len() / dim) as f64) as f32).collect();
        let width = width.next_multiple_of(PANEL);
        let finer = all.min(dim).saturating_sub(width).next_multiple_of(PANEL);
        let ([rows, finer], energy) = principal_directions(vectors, &mean, width, finer);
        (energy >= ENERGY).then_some(Self { mean, rows, finer })
    }

    /// The mean's share in each, negated.
    pub fn bias(&self) -> Vec<f32> {
        let share = |direction| -exact_distance(Metric::InnerProduct, direction, &self.mean);
        self.rows.chunks_exact(self.mean.len()).map(share).collect()
    }
}

/// Bounds the rounding of a sum over `dim` terms, relative to their absolute sum, and of a few operations before and after.
pub(super) fn rounding(dim: usize) -> f32 {
    (dim + 64) as f32 * f32::EPSILON / 2.0
}

pub(super) fn width_of_floats(dim: usize) -> usize {
    (dim / 6).max(64)
}

/// Row-major vectors less their mean.
pub(super) fn centred(vectors: &[f32], mean: &[f32]) -> Vec<f32> {
    vectors.chunks_exact(mean.len()).flat_map(|v| v.iter().zip(mean).map(|(x, m)| x - m)).collect()
}

/// `width` directions and the `finer` ones that come next, row-major, and the share of the squared lengths of `vectors`
/// (less `mean`) that lies in the first. Both are multiples of [`PANEL`]. Directions that there is nothing in are zeros.
pub(super) fn principal_directions(vectors: &[f32], mean: &[f32], width: usize, finer: usize) -> ([Vec<f32>; 2], f64) {
    let (dim, all) = (mean.len(), width + finer);
    let step = (vectors.len() / dim).div_ceil(SAMPLE).max(1);
    let sample: Vec<f32> = vectors.chunks_exact(dim).step_by(step).flat_map(|v| centred(v, mean)).collect();
    let count = sample.len() / dim;
    let turned = panels(&transposed(&sample, dim), count);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut directions: Vec<f32> = (0..all * dim).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
    for _ in 0..ROUNDS {
        let shares = products(&sample, dim, &panels(&directions, dim), all);
        directions = products(&transposed(&shares, all), count, &turned, dim);
        orthonormalize(&mut directions, dim);
    }
    let (first, next) = directions.split_at(width * dim);
    let directions = [first, next].map(|directions| mixed(directions, dim));
    let shares = products(&sample, dim, &panels(&directions[0], dim), width);
    (directions, squares(&shares) / squares(&sample).max(f64::MIN_POSITIVE))
}

/// Other directions of the same space: shares in them are of nearly one size, and bytes hold such shares best. (The first of
/// the principal ones are much larger.) The turn is a cosine transform, which is orthonormal.
fn mixed(directions: &[f32], dim: usize) -> Vec<f32> {
    let width = directions.len() / dim;
    if width == 0 {
        return Vec::new();
    }
    let weight = |row: usize, column: usize| {
        let angle = std::f64::consts::PI / width as f64 * (column as f64 + 0.5) * row as f64;
        (angle.cos() * (if row == 0 { 1.0 } else { 2.0 } / width as f64).sqrt()) as f32
    };
    let turn: Vec<f32> = (0..width * width).map(|i| weight(i / width, i % width)).collect();
    products(&turn, width, &panels(&transposed(directions, dim), width), dim)
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

fn transposed(rows: &[f32], dim: usize) -> Vec<f32> {
    (0..dim).flat_map(|column| rows.iter().skip(column).step_by(dim).copied()).collect()
}

/// Rows · vectorsᵀ, row-major with `count` columns; the vectors are in panels.
fn products(rows: &[f32], dim: usize, panels: &[f32], count: usize) -> Vec<f32> {
    const ROWS: usize = 48;
    let bias = vec![0.0; count.next_multiple_of(PANEL)];
    let mut products = vec![0.0; rows.len() / dim * count];
    rows.par_chunks(ROWS * dim).zip(products.par_chunks_mut(ROWS * count)).for_each_init(
        Vec::new,
        |packed, (rows, out)| {
            let take = &mut WriteAll { scores: out, stride: count };
            arch().dispatch(Scores { rows, mean: None, dim, panels, bias: &bias, packed, take });
        },
    );
    products
}

/// Gram and Schmidt, twice: once leaves what rounding put back. A row that others make up becomes zeros. What the rows of
/// a panel have in common with those before it is taken off all at once.
fn orthonormalize(rows: &mut [f32], dim: usize) {
    const GONE: f64 = 1e-5;
    for first in (0..rows.len() / dim).step_by(PANEL) {
        let (done, rest) = rows.split_at_mut(first * dim);
        let end = rest.len().min(PANEL * dim);
        let block = &mut rest[..end];
        let done = (first > 0).then(|| (panels(done, dim), panels(&transposed(done, dim), first)));
        for _ in 0..2 {
            let before: Vec<f64> = block.chunks_exact(dim).map(|row| squares(row).sqrt()).collect();
            if let Some((by_row, by_column)) = &done {
                let shares = products(block, dim, by_row, first);
                let common = products(&shares, first, by_column, dim);
                block.iter_mut().zip(common).for_each(|(x, common)| *x -= common);
            }
            for (at, before) in before.into_iter().enumerate() {
                let (done, rest) = block.split_at_mut(at * dim);
                let row = &mut rest[..dim];
                for direction in done.chunks_exact(dim) {
                    let share = exact_distance(Metric::InnerProduct, row, direction);
                    row.iter_mut().zip(direction).for_each(|(x, d)| *x -= share * d);
                }
                let length = squares(row).sqrt();
                let scale = if length > GONE * before { 1.0 / length } else { 0.0 };
                row.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
            }
        }
    }
}

/// Bounds how much longer than a vector its shares in directions D, row-major, can be: ‖D·x‖² ≤ (1 + excess)·‖x‖².
///
/// That is the largest eigenvalue λ of G = D·Dᵀ less 1. Where λ > 1, λ − 1 ≤ λ² − λ ≤ ‖G² − G‖ (Frobenius). Eigenvalues of
/// 0, from directions that there is nothing in, do not count there.
pub(super) fn excess(directions: &[&[f32]], dim: usize) -> f32 {
    let all: Vec<&[f32]> = directions.iter().flat_map(|directions| directions.chunks_exact(dim)).collect();
    let mut gram = vec![0.0; all.len() * all.len()];
    gram.par_chunks_mut(all.len().max(1)).zip(&all).for_each(|(row, x)| {
        row.iter_mut().zip(&all).for_each(|(out, y)| *out = arch().dispatch(Product { x, y }));
    });
    let rows = gram.par_chunks(all.len().max(1));
    let squares: Vec<f64> = rows.map(|row| arch().dispatch(Deviation { row, gram: &gram })).collect();
    squares.iter().sum::<f64>().sqrt() as f32
}

/// ‖row·(G − I)‖² for a row of G.
struct Deviation<'a> {
    row: &'a [f64],
    gram: &'a [f64],
}

impl NullaryFnOnce for Deviation<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut sums: Vec<f64> = self.row.iter().map(|x| -x).collect();
        for (&x, row) in self.row.iter().zip(self.gram.chunks_exact(self.row.len())) {
            sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += x * y);
        }
        sums.iter().map(|x| x * x).sum()
    }
}

/// x · y in 64-bit floats.
struct Product<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

impl NullaryFnOnce for Product<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        const SUMS: usize = 16;
        let ((xs, x_rest), (ys, y_rest)) = (self.x.as_chunks::<SUMS>(), self.y.as_chunks::<SUMS>());
        let mut sums = [0.0; SUMS];
        for (x, y) in xs.iter().zip(ys) {
            for i in 0..SUMS {
                sums[i] += f64::from(x[i]) * f64::from(y[i]);
            }
        }
        let rest = x_rest.iter().zip(y_rest).map(|(&x, &y)| f64::from(x) * f64::from(y));
        sums.into_iter().chain(rest).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_worked_out_by_hand() {
        // G = [[1.25, 0], [0, 0]]: λ = 1.25, and λ² − λ = 0.3125 bounds λ − 1.
        assert_eq!(excess(&[&[1.0, 0.5], &[0.0, 0.0]], 2), 0.3125);
        // Orthonormal, and none at all.
        assert_eq!((excess(&[&[0.0, 1.0, 1.0, 0.0]], 2), excess(&[&[], &[]], 2)), (0.0, 0.0));
        // Shorter than they might be: nothing is longer in them, and what is bounded is small.
        assert!((excess(&[&[0.5, 0.0]], 2) - 0.1875).abs() < 1e-6);
    }

    #[test]
    fn directions_are_orthonormal_and_the_first_hold_the_most() {
        const DIM: usize = 150;
        let wave = |i: usize, j: usize| ((i * 7919 + j * 104_729 + i * j % 613) % 1009) as f32 / 504.5 - 1.0;
        // Less and less from column to column.
        let vectors: Vec<f32> =
            (0..900 * DIM).map(|at| wave(at / DIM, at % DIM) * 0.97f32.powi((at % DIM) as i32)).collect();
        let ([first, next], energy) = principal_directions(&vectors, &[0.0; DIM], 32, 64);
        assert_eq!((first.len(), next.len()), (32 * DIM, 64 * DIM));
        let all = [first.clone(), next.clone()].concat();
        for (i, x) in all.chunks_exact(DIM).enumerate() {
            for (j, y) in all.chunks_exact(DIM).enumerate() {
                let product: f64 = x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-5, "{i} {j}: {product}");
            }
        }
        let held = |directions: &[f32]| {
            let products = products(&vectors, DIM, &panels(directions, DIM), directions.len() / DIM);
            squares(&products) / squares(&vectors)
        };
        assert!((held(&first) - energy).abs() < 0.05, "{} {energy}", held(&first));
        assert!(excess(&[&first, &next], DIM) < 1e-5);
        assert!(held(&first) > 0.6 && held(&next) < 0.9 - held(&first) + 0.1 && held(&all) > 0.95);
    }
}
