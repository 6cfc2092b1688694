//! A sum of rows, each times its weight.

use pulp::NullaryFnOnce;

/// `out` = `own` · `out` + Σ `weights[i]` · row i; the row of a weight of 0 is not looked at. Run it under
/// [`pulp::Arch::dispatch`]: a type, because a closure is not sure to be inlined into the code that has SIMD.
pub(crate) struct WeightedSum<'a> {
    pub own: f32,
    pub out: &'a mut [f32],
    pub weights: &'a [f32],
    /// Row-major, as many as there are weights, each as wide as `out`.
    pub rows: &'a [f32],
}

impl NullaryFnOnce for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { own, out, weights, rows } = self;
        for x in out.iter_mut() {
            *x *= own;
        }
        for (&weight, row) in weights.iter().zip(rows.chunks_exact(out.len().max(1))) {
            if weight != 0.0 {
                for (x, r) in out.iter_mut().zip(row) {
                    *x += weight * r;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_worked_out_by_hand() {
        let mut out = [8.0, 16.0];
        let rows = [1.0, 2.0, f32::NAN, f32::INFINITY, 10.0, -20.0];
        crate::device::arch().dispatch(WeightedSum {
            own: 0.25,
            out: &mut out,
            weights: &[2.0, 0.0, 0.5],
            rows: &rows,
        });
        assert_eq!(out, [2.0 + 2.0 + 5.0, 4.0 + 4.0 - 10.0]);
        WeightedSum { own: 1.0, out: &mut [], weights: &[], rows: &[] }.call();
    }
}
