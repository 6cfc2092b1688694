//! Inverted lists: for each centroid the ids and the rows that fell to it.

use crate::error::{Error, Result};

/// One list: `ids.len()` rows of `dim` floats each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvertedList {
    /// faiss ids of the rows.
    pub ids: Vec<i64>,
    /// The rows, row-major, `ids.len()` × d.
    pub rows: Vec<f32>,
}

/// nlist lists over rows of one width.
#[derive(Clone, Debug, PartialEq)]
pub struct InvertedLists {
    pub(crate) dim: usize,
    pub(crate) lists: Vec<InvertedList>,
}

impl InvertedLists {
    /// `nlist` empty lists of rows with `dim` floats.
    pub fn new(nlist: usize, dim: usize) -> Self {
        Self { dim, lists: vec![InvertedList::default(); nlist] }
    }

    /// The given lists, each with one row of `dim` floats an id.
    pub fn from_lists(dim: usize, lists: Vec<InvertedList>) -> Result<Self> {
        match lists.iter().position(|list| list.ids.len().checked_mul(dim) != Some(list.rows.len())) {
            None => Ok(Self { dim, lists }),
            Some(bad) => {
                let found = format!("list {bad} does not have one row of {dim} floats an id");
                Err(Error::parameter("lists", found, "pass as many rows as ids"))
            }
        }
    }

    /// Number of lists.
    pub fn nlist(&self) -> usize {
        self.lists.len()
    }

    /// Rows in all lists together.
    pub fn ntotal(&self) -> usize {
        self.lists.iter().map(|list| list.ids.len()).sum()
    }

    /// The lists, in the order of their centroids.
    pub fn iter(&self) -> impl Iterator<Item = &InvertedList> {
        self.lists.iter()
    }
}
