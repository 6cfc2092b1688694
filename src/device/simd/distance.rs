//! Exact distances of two vectors.

use pulp::{Simd, WithSimd};

use super::arch;
use crate::factory::Metric;

/// Sums kept side by side, so that no addition waits for the one before.
const SUMS: usize = 4;

/// Squared distance (L2) or inner product of `x` and `y`, as a direct sum over d.
#[inline(always)]
pub(crate) fn distance<S: Simd>(simd: S, metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    match metric {
        Metric::L2 => sum_of(simd, x, y, |x, y, sum| {
            let difference = simd.sub_f32s(x, y);
            simd.mul_add_e_f32s(difference, difference, sum)
        }),
        Metric::InnerProduct => sum_of(simd, x, y, |x, y, sum| simd.mul_add_e_f32s(x, y, sum)),
    }
}

/// The same with the machine's SIMD.
pub(crate) fn exact_distance(metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    arch().dispatch(Distance { metric, x, y })
}

#[inline(always)]
fn sum_of<S: Simd>(simd: S, x: &[f32], y: &[f32], add_terms: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s) -> f32 {
    let ((xs, x_tail), (ys, y_tail)) = (S::as_simd_f32s(x), S::as_simd_f32s(y));
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    let ((xs, x_rest), (ys, y_rest)) = (xs.as_chunks::<SUMS>(), ys.as_chunks::<SUMS>());
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..SUMS {
            sums[i] = add_terms(x[i], y[i], sums[i]);
        }
    }
    for (&x, &y) in x_rest.iter().zip(y_rest) {
        sums[0] = add_terms(x, y, sums[0]);
    }
    if !x_tail.is_empty() {
        // What is missing of a vector adds nothing.
        sums[1] = add_terms(simd.partial_load_f32s(x_tail), simd.partial_load_f32s(y_tail), sums[1]);
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// One distance by itself.
pub(crate) struct Distance<'a> {
    pub metric: Metric,
    pub x: &'a [f32],
    pub y: &'a [f32],
}

impl WithSimd for Distance<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        distance(simd, self.metric, self.x, self.y)
    }
}
