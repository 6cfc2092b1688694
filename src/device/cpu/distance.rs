//! Exact distances of two vectors.

use pulp::NullaryFnOnce;

use crate::factory::Metric;

/// Partial sums kept side by side: several registers of them, so that no addition waits for the one before, and rounding
/// errors stay small.
const LANES: usize = 64;

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
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            sums[i] += term(x[i], y[i]);
        }
    }
    for ((sum, &x), &y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
        *sum += term(x, y);
    }
    // Halves are added up, which is SIMD again.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}

/// One distance by itself. A type, because a closure is not sure to be inlined into the code that has SIMD.
pub(crate) struct Distance<'a> {
    pub metric: Metric,
    pub x: &'a [f32],
    pub y: &'a [f32],
}

impl NullaryFnOnce for Distance<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        distance(self.metric, self.x, self.y)
    }
}
