//! The rows of another source that an index is judged by.

use std::ops::Range;

use super::{Index, IndexKind};
use crate::error::{Error, Result};
use crate::features::{FeatureSource, l2_normalize, rows_asked};

/// The rows of a source whose numbers are the ids of an index, in the order of the ids.
pub(super) struct BaseRows<'a> {
    source: &'a dyn FeatureSource,
    /// Ascending; `None` where all rows of the source count.
    ids: Option<Vec<i64>>,
    /// They are compared at unit length.
    unit: bool,
}

impl<'a> BaseRows<'a> {
    /// The rows with the ids of `index`, which are `ids` in their order, or 0 to ntotal − 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the source has no row for an id, an id occurs twice, or widths differ.
    pub fn new(source: &'a dyn FeatureSource, index: &Index, ids: Option<&[i64]>) -> Result<Self> {
        let (rows, dim) = (index.ntotal(), index.dim);
        let twice = ids.and_then(|ids| ids.windows(2).find(|pair| pair[0] == pair[1]));
        if let Some(&[id, _]) = twice {
            let found = format!("its rows are told by their ids, and the index has the id {id} twice");
            let remedy = if has_exact_rows(index) {
                "leave it out, and the index is judged by its own rows"
            } else {
                "give each row an id of its own: faiss's merge_from takes an add_id"
            };
            return Err(Error::parameter("base", found, remedy));
        }
        let found = format!("{} × {}", source.rows(), source.dim());
        match ids.and_then(|ids| ids.last()) {
            None if (source.rows(), source.dim()) != (rows, dim) => {
                let remedy = format!("pass the {rows} × {dim} rows that the index was built from");
                Err(Error::parameter("base", found, remedy))
            }
            Some(&last) if source.rows() as i64 <= last || source.dim() != dim => {
                let remedy = format!("pass rows of {dim}, numbered as the index's ids, which go up to {last}");
                Err(Error::parameter("base", found, remedy))
            }
            _ => Ok(Self { source, ids: ids.map(Into::into), unit: index.l2norm && index.refine.is_none() }),
        }
    }

    /// Row numbers of the source in place of `rows`, in runs.
    fn runs(&self, rows: Range<usize>) -> Vec<Range<usize>> {
        let Some(ids) = &self.ids else { return vec![rows] };
        let runs = ids[rows].chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| run[0] as usize..run[0] as usize + run.len()).collect()
    }
}

impl FeatureSource for BaseRows<'_> {
    fn rows(&self) -> usize {
        self.ids.as_ref().map_or(self.source.rows(), Vec::len)
    }

    fn dim(&self) -> usize {
        self.source.dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let (rows, dim) = (rows_asked(self, start, out.len())?, self.dim());
        let mut rest = &mut *out;
        for run in self.runs(rows) {
            let (now, later) = rest.split_at_mut(run.len() * dim);
            self.source.read(run.start, now)?;
            rest = later;
        }
        if self.unit {
            l2_normalize(out, dim);
        }
        Ok(())
    }
}

/// False where all that an index keeps of its rows is codes.
pub(super) fn has_exact_rows(index: &Index) -> bool {
    index.refine.is_some() || matches!(index.kind, IndexKind::Flat { .. } | IndexKind::IvfFlat(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::Metric;
    use crate::features::MemoryRows;
    use crate::index::{IndexRows, InvertedLists};

    fn index(ids: &[i64]) -> Index {
        let lists = InvertedLists::from_parts(1, &[ids.len()], ids.to_vec(), vec![0.0; ids.len()]).unwrap();
        Index::ivf_flat(Metric::L2, vec![0.0], 1, lists).unwrap()
    }

    #[test]
    fn rows_are_those_with_the_ids() {
        let values: Vec<f32> = (0..10).map(|i| i as f32).collect();
        let source = MemoryRows::new(&values, 1).unwrap();
        let index = index(&[7, 2, 3, 9, 4]);
        let ids = IndexRows::new(index.clone()).ids_in_order();
        let base = BaseRows::new(&source, &index, ids.as_deref()).unwrap();
        let mut out = [0.0; 5];
        base.read(0, &mut out).unwrap();
        assert_eq!((base.rows(), out), (5, [2.0, 3.0, 4.0, 7.0, 9.0]));
        base.read(2, &mut out[..2]).unwrap();
        assert_eq!(out[..2], [4.0, 7.0]);
        assert!(base.read(4, &mut out[..2]).is_err());
    }

    #[test]
    fn ids_that_name_no_row_or_two_are_refused() {
        let refused = |ids: &[i64], rows: usize| {
            let index = index(ids);
            let (values, ids) = (vec![0.0; rows], IndexRows::new(index.clone()).ids_in_order());
            let source = MemoryRows::new(&values, 1).unwrap();
            BaseRows::new(&source, &index, ids.as_deref()).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refused(&[0, 1, 0], 3).contains("the index has the id 0 twice"));
        assert!(
            refused(&[0, 1, 9], 9).contains("base: 9 × 1; pass rows of 1") && refused(&[0, 9], 2).contains("up to 9")
        );
        assert!(refused(&[0, 1, 2], 4).contains("base: 4 × 1; pass the 3 × 1 rows"));
    }
}
