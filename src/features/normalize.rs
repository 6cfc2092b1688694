//! Rows of unit length, so that the inner product is the cosine.

use super::FeatureSource;
use crate::error::Result;

/// Scales each row of `dim` floats to unit length; zero rows stay zero.
pub fn l2_normalize(rows: &mut [f32], dim: usize) {
    for row in rows.chunks_exact_mut(dim.max(1)) {
        // In double precision no sum of squares of finite floats overflows, and none but zero's vanishes.
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let scale = 1.0 / norm.max(f64::MIN_POSITIVE);
        for x in row {
            *x = (f64::from(*x) * scale) as f32;
        }
    }
}

/// A source whose rows are scaled to unit length as they are read.
#[derive(Clone, Copy)]
pub struct Normalized<'a>(pub &'a dyn FeatureSource);

impl FeatureSource for Normalized<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.0.read(start, out)?;
        l2_normalize(out, self.dim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    #[test]
    fn rows_get_unit_length_and_zero_stays() {
        let tiny = f32::from_bits(1);
        let mut rows = [3., 4., 0., 0., f32::MAX, f32::MAX, -tiny, 0.];
        l2_normalize(&mut rows, 2);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(rows, [0.6, 0.8, 0., 0., half, half, -1., 0.]);
        l2_normalize(&mut [], 0);
    }

    #[test]
    fn a_source_is_normalised_as_it_is_read() {
        let rows = MemoryRows::new(&[9., 9., 0., -5., 8., 6.], 2).unwrap();
        let unit = Normalized(&rows);
        assert_eq!((unit.rows(), unit.dim()), (3, 2));
        let mut out = [0.; 4];
        unit.read(1, &mut out).unwrap();
        assert_eq!(out, [0., -1., 0.8, 0.6]);
        assert!(unit.read(2, &mut out).is_err());
    }
}
