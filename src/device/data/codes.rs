//! 4-bit codes on a device, and what is asked of them.

use std::ops::Range;

use super::buffer::{Buffer, TopK};
use super::ranges::RowRanges;
use crate::error::{Error, Result};

/// Rows a block of codes, as faiss lays them out.
pub const BLOCK_ROWS: usize = 32;

/// 4-bit codes made resident for scanning, in faiss's blocks of 32 rows. On a GPU they may be spread over several
/// buffers, because one binding is limited.
#[derive(Clone, Debug)]
pub struct CodeSet {
    /// Words on a GPU, bytes on the CPU engine.
    pub(crate) parts: CodeParts,
    /// Places for rows: 32 a block, some of them empty at the end of a list.
    pub(crate) slots: usize,
    pub(crate) pairs: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum CodeParts {
    Host(Buffer<u8>),
    /// Codes and the number of blocks of each part.
    Gpu(Vec<(Buffer<u32>, usize)>),
}

impl CodeSet {
    /// Places for rows: 32 a block.
    pub fn slots(&self) -> usize {
        self.slots
    }
}

/// The lists of a [`CodeSet`] that each of a batch of queries visits: as many for every query as its look-up tables are
/// made for.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    pub(crate) ranges: RowRanges,
    /// Lists a query.
    pub(crate) lists_a_query: usize,
}

impl ScanRequest {
    /// An empty request of queries that visit `lists` lists each.
    pub fn new(lists: usize) -> Self {
        Self { ranges: RowRanges::default(), lists_a_query: lists }
    }

    /// Makes this an empty request of queries that visit `lists` lists each, in the memory it has.
    pub(crate) fn renew(&mut self, lists: usize) {
        self.ranges.clear();
        self.lists_a_query = lists;
    }

    /// Adds the next query: the slots of each list's rows, which start at a block. Lists without rows are passed over.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a list that starts inside a block, or another number of lists than was announced.
    pub fn add_query(&mut self, lists: &[Range<u32>]) -> Result<()> {
        if lists.len() != self.lists_a_query {
            let found = format!("{} lists", lists.len());
            return Err(Error::parameter("visit", found, format!("name {}, empty ones too", self.lists_a_query)));
        }
        if let Some(bad) = lists.iter().find(|list| list.start % BLOCK_ROWS as u32 != 0) {
            return Err(Error::parameter("visit", format!("slots {bad:?}"), "start at a block of 32"));
        }
        self.ranges.push(lists.iter().cloned());
        Ok(())
    }
}

/// The best rows of each query by the sums of their tables, k a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanTopK {
    /// Slot of each row, queries × k; [`TopK::NONE`](TopK::NONE) where there is none.
    pub slots: Vec<u32>,
    /// Sum of each, its bias included; 0 where there is none.
    pub sums: Vec<u32>,
    /// Offset and step of each query, queries × 2: those of its tables.
    pub scales: Vec<f32>,
}

impl ScanTopK {
    /// From keys, which are sums or their negatives.
    pub(crate) fn from_keys(slots: Vec<u32>, keys: &[f32], scales: Vec<f32>) -> Self {
        let none = TopK::NONE;
        let sums = keys.iter().zip(&slots).map(|(key, &slot)| if slot == none { 0 } else { key.abs() as u32 });
        Self { sums: sums.collect(), slots, scales }
    }
}
