//! Exact distances of two vectors.

use crate::factory::Metric;

/// Partial sums kept side by side, so that the loop becomes SIMD and rounding errors stay small.
const LANES: usize = 16;

/// Squared distance (L2) or inner product of `x` and `y`, as a direct sum over d. Inlined into callers that run under
/// [`pulp::Arch::dispatch`], which compiles it for the machine's SIMD.
#[inline(always)]
pub(crate) fn distance(metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    match metric {
        Metric::L2 => sum_of(x, y, |x, y| (x - y) * (x - y)),
        Metric::InnerProduct => sum_of(x, y, |x, y| x * y),
    }
}

#[inline(always)]
fn sum_of(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| term(x, y)).sum::<f32>();
    for (x, y) in xs.zip(ys) {
        for i in 0..LANES {
            sums[i] += term(x[i], y[i]);
        }
    }
    sums.iter().sum::<f32>() + tail
}
