//! Matrices that are in memory already.

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::{FeatureSource, rows_asked};
use crate::error::{Error, Result};

/// Rows in a borrowed slice, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> MemoryRows<'a> {
    /// Takes `values` as rows of `dim` floats each.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if values.len().checked_rem(dim) != Some(0) {
            return Err(Error::parameter(
                "dim",
                format_args!("{} floats cannot be cut into rows of {dim}", values.len()),
                "pass the width of the rows, and whole rows",
            ));
        }
        Ok(Self { values, dim })
    }
}

impl FeatureSource for MemoryRows<'_> {
    fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let rows = rows_asked(self, start, out.len())?;
        out.copy_from_slice(&self.values[rows.start * self.dim..rows.end * self.dim]);
        Ok(())
    }
}

/// Rows of any strides: a transposed or a sliced array needs no copy first.
impl FeatureSource for ArrayView2<'_, f32> {
    fn rows(&self) -> usize {
        self.nrows()
    }

    fn dim(&self) -> usize {
        self.ncols()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let rows = rows_asked(self, start, out.len())?;
        let mut out = ArrayViewMut2::from_shape((rows.len(), self.ncols()), out)
            .map_err(|e| Error::parameter("read", e, "ask for whole rows inside the matrix"))?;
        out.assign(&self.slice(s![rows, ..]));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn read(source: &dyn FeatureSource, start: usize, rows: usize) -> Result<Vec<f32>> {
        let mut out = vec![f32::NAN; rows * source.dim()];
        source.read(start, &mut out).map(|()| out)
    }

    #[test]
    fn a_slice_gives_its_rows() {
        let source = MemoryRows::new(&[1., 2., 3., 4., 5., 6.], 2).unwrap();
        assert_eq!((source.rows(), source.dim()), (3, 2));
        assert_eq!(read(&source, 1, 2).unwrap(), [3., 4., 5., 6.]);
        assert!(read(&source, 3, 0).unwrap().is_empty());
        assert_eq!(MemoryRows::new(&[], 2).unwrap().rows(), 0);
    }

    #[test]
    fn an_array_gives_its_rows_whatever_its_strides() {
        let array = array![[1., 2., 3.], [4., 5., 6.]];
        assert_eq!(read(&array.view(), 1, 1).unwrap(), [4., 5., 6.]);
        assert_eq!(read(&array.t(), 1, 2).unwrap(), [2., 5., 3., 6.]);
        assert_eq!(read(&array.slice(s![..;-1, ..;2]), 0, 2).unwrap(), [4., 6., 1., 3.]);
    }

    #[test]
    fn what_is_no_matrix_or_not_inside_it_is_refused() {
        assert!(MemoryRows::new(&[1., 2., 3.], 2).is_err());
        assert!(MemoryRows::new(&[], 0).is_err());
        let array = array![[1., 2.], [3., 4.]];
        let rows = MemoryRows::new(&[1., 2., 3., 4.], 2).unwrap();
        for source in [&rows as &dyn FeatureSource, &array.view()] {
            assert!(read(source, 1, 2).is_err());
            assert!(read(source, usize::MAX, 1).is_err());
            assert!(source.read(0, &mut [0.; 3]).is_err());
        }
        assert!(array.slice(s![.., ..0]).read(0, &mut [0.]).is_err());
    }
}
