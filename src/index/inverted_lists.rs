//! Inverted lists: for each centroid the ids and the rows that fell to it.

use std::ops::Range;
use std::sync::Arc;

use super::places::{NewPlaces, grown_sizes, starts_of};
use crate::error::{Error, Result};
use crate::memory;

/// nlist lists over rows of one width, one behind the other in one array: a device takes them over as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct InvertedLists {
    dim: usize,
    /// List i is places `starts[i]..starts[i + 1]`; nlist + 1 of them.
    starts: Vec<usize>,
    ids: Vec<i64>,
    /// Shared with a searcher on the CPU engine.
    rows: Arc<Vec<f32>>,
}

/// One list: `ids.len()` rows of d floats each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvertedList<'a> {
    /// faiss ids of the rows.
    pub ids: &'a [i64],
    /// The rows, row-major, `ids.len()` × d.
    pub rows: &'a [f32],
}

impl InvertedLists {
    /// `nlist` empty lists of rows with `dim` floats.
    pub fn new(nlist: usize, dim: usize) -> Self {
        Self { dim, starts: vec![0; nlist + 1], ids: Vec::new(), rows: Arc::default() }
    }

    /// Lists of the given sizes, whose ids and rows (`dim` floats each) come list by list.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the numbers of ids or rows disagree with the sizes.
    pub fn from_parts(dim: usize, sizes: &[usize], ids: Vec<i64>, rows: Vec<f32>) -> Result<Self> {
        let starts = starts_of(sizes.iter().copied());
        if starts[sizes.len()] != ids.len() || ids.len().checked_mul(dim) != Some(rows.len()) {
            let found = format!("{} ids and {} floats for {} places", ids.len(), rows.len(), starts[sizes.len()]);
            return Err(Error::parameter("lists", found, "pass one id and one row for each place"));
        }
        Ok(Self { dim, starts, ids, rows: Arc::new(rows) })
    }

    /// Number of lists.
    pub fn nlist(&self) -> usize {
        self.starts.len() - 1
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows in all lists together.
    pub fn ntotal(&self) -> usize {
        self.ids.len()
    }

    /// The lists, in the order of their centroids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = InvertedList<'_>> {
        (0..self.nlist()).map(|list| {
            let places = self.places(list);
            InvertedList {
                ids: &self.ids[places.clone()],
                rows: &self.rows[places.start * self.dim..places.end * self.dim],
            }
        })
    }

    /// Where a list's rows stand among all rows.
    pub(crate) fn places(&self, list: usize) -> Range<usize> {
        self.starts[list]..self.starts[list + 1]
    }

    /// The ids of all rows, list by list.
    pub(crate) fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// All rows, list by list.
    pub(crate) fn rows(&self) -> &Arc<Vec<f32>> {
        &self.rows
    }

    /// These lists with room for one more row for each of `labels`, which get the ids from `first_id`
    /// on. The rows themselves follow through [`Grown::put`], in the order of the labels. Arrays are made once, at
    /// their final size, so that filling a large index never needs its memory twice.
    pub(crate) fn grown<'a>(&self, labels: &'a [u32], first_id: i64) -> Result<Grown<'a>> {
        let mut next: Vec<usize> = self.starts.windows(2).map(|w| w[1] - w[0]).collect();
        let mut lists = Self::with_sizes(self.dim, &grown_sizes(&next, labels))?;
        let rows = Arc::<Vec<f32>>::make_mut(&mut lists.rows);
        for (list, next) in next.iter_mut().enumerate() {
            let (from, to) = (self.places(list), lists.starts[list]);
            let kept = &self.rows[from.start * self.dim..from.end * self.dim];
            rows[to * self.dim..][..kept.len()].copy_from_slice(kept);
            lists.ids[to..to + from.len()].copy_from_slice(&self.ids[from]);
            *next += to;
        }
        Ok(Grown { places: NewPlaces::new(labels, next, first_id), lists })
    }

    fn with_sizes(dim: usize, sizes: &[usize]) -> Result<Self> {
        let starts = starts_of(sizes.iter().copied());
        let ntotal = starts[sizes.len()];
        let rows = memory::zeros(ntotal.saturating_mul(dim), "the rows of the index")?;
        Ok(Self { dim, starts, ids: memory::zeros(ntotal, "the ids of the index")?, rows: Arc::new(rows) })
    }
}

/// Lists with places that still wait for their rows.
pub(crate) struct Grown<'a> {
    lists: InvertedLists,
    places: NewPlaces<'a>,
}

impl Grown<'_> {
    /// Takes the next rows, row-major.
    pub fn put(&mut self, rows: &[f32]) {
        let dim = self.lists.dim;
        let kept = Arc::<Vec<f32>>::make_mut(&mut self.lists.rows);
        for (row, (place, id)) in rows.chunks_exact(dim).zip(&mut self.places) {
            kept[place * dim..][..dim].copy_from_slice(row);
            self.lists.ids[place] = id;
        }
    }

    /// The lists, once every label has its row.
    pub fn finish(self) -> InvertedLists {
        self.lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_land_behind_those_of_their_list() {
        let mut lists = InvertedLists::new(3, 2);
        let mut grown = lists.grown(&[2, 0], 0).unwrap();
        grown.put(&[1., 1., 2., 2.]);
        lists = grown.finish();
        let mut grown = lists.grown(&[0, 1, 2], 2).unwrap();
        grown.put(&[3., 3.]);
        grown.put(&[4., 4., 5., 5.]);
        lists = grown.finish();
        let found: Vec<_> = lists.iter().map(|list| (list.ids.to_vec(), list.rows.to_vec())).collect();
        let expected =
            [(vec![1, 2], vec![2., 2., 3., 3.]), (vec![3], vec![4., 4.]), (vec![0, 4], vec![1., 1., 5., 5.])];
        assert_eq!(found, expected);
    }

    #[test]
    fn parts_that_disagree_are_refused() {
        assert!(InvertedLists::from_parts(2, &[1, 1], vec![0, 1], vec![0.; 4]).is_ok());
        assert!(InvertedLists::from_parts(2, &[1, 1], vec![0], vec![0.; 2]).is_err());
        assert!(InvertedLists::from_parts(2, &[1, 1], vec![0, 1], vec![0.; 3]).is_err());
    }
}
