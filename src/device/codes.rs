//! 4-bit codes on a device, and what is asked of them.

use std::ops::Range;

use super::buffer::Buffer;
use super::ranges::RowRanges;
use crate::error::{Error, Result};
use crate::factory::Metric;

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

/// What a batch of queries asks of a [`CodeSet`]: for each query the lists it visits, each with a u8 table and a bias.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    pub(crate) ranges: RowRanges,
    /// Table and bias of each range, in the order of the ranges.
    pub(crate) visits: Vec<(u32, u16)>,
    /// [table][2 · pairs][16].
    pub(crate) tables: Vec<u8>,
    pub(crate) pairs: usize,
}

/// A list that a query visits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Slots of the list's rows; the first is a multiple of 32.
    pub slots: Range<u32>,
    /// Number of the table, as [`ScanRequest::add_table`] returned it.
    pub table: u32,
    /// Added to every sum of this list.
    pub bias: u16,
}

impl ScanRequest {
    /// An empty request for codes of `m` sub-quantizers.
    pub fn new(m: usize) -> Self {
        Self { ranges: RowRanges::default(), visits: Vec::new(), tables: Vec::new(), pairs: m.div_ceil(2) }
    }

    /// Adds a table of m × 16 entries; an odd m is padded. Returns its number.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a table of another size.
    pub fn add_table(&mut self, table: &[u8]) -> Result<u32> {
        let size = self.pairs * 32;
        if table.len() != size && table.len() + 16 != size {
            let found = format!("{} entries", table.len());
            return Err(Error::parameter(
                "table",
                found,
                format!("pass 16 for each sub-quantizer, {size} with padding"),
            ));
        }
        let number = self.tables.len() / size;
        self.tables.extend_from_slice(table);
        self.tables.resize((number + 1) * size, 0);
        Ok(number as u32)
    }

    /// Adds the next query. Lists without rows are passed over.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a list that starts inside a block, or a table that was not added.
    pub fn add_query(&mut self, lists: &[Visit]) -> Result<()> {
        let tables = self.tables.len() / (self.pairs * 32).max(1);
        if let Some(bad) = lists.iter().find(|list| list.slots.start % 32 != 0 || list.table as usize >= tables) {
            return Err(Error::parameter(
                "visit",
                format!("{bad:?}"),
                "start at a block and name a table that is there",
            ));
        }
        let filled = lists.iter().filter(|list| !list.slots.is_empty());
        self.visits.extend(filled.map(|list| (list.table, list.bias)));
        self.ranges.push(lists.iter().map(|list| list.slots.clone()));
        Ok(())
    }
}

/// The best rows of each query by the sums of their tables, k a query.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanTopK {
    /// Slot of each row, queries × k; [`TopK::NONE`](super::TopK::NONE) where there is none.
    pub slots: Vec<u32>,
    /// Sum of each, its bias included; 0 where there is none.
    pub sums: Vec<u32>,
}

/// Smallest sum first for distances, largest first for inner products.
pub(crate) fn key_of(metric: Metric, sum: u32) -> f32 {
    match metric {
        Metric::L2 => sum as f32,
        Metric::InnerProduct => -(sum as f32),
    }
}

impl ScanTopK {
    /// From keys, which are sums or their negatives.
    pub(crate) fn from_keys(slots: Vec<u32>, keys: &[f32]) -> Self {
        let none = super::TopK::NONE;
        let sums = keys.iter().zip(&slots).map(|(key, &slot)| if slot == none { 0 } else { key.abs() as u32 });
        Self { sums: sums.collect(), slots }
    }
}
