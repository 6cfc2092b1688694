//! `PQMx4fs`: codes of all rows, in order.

use super::ProductQuantizer;
use super::code_blocks::{CodeBlocks, count_codes};
use crate::device::BLOCK_ROWS;
use crate::error::Result;

/// The parts of a `PQMx4fs` index: a code for each row, in order; row i is at place i and has id i.
#[derive(Clone, Debug, PartialEq)]
pub struct PqFastScan {
    pub(crate) pq: ProductQuantizer,
    pub(crate) ntotal: usize,
    pub(crate) codes: CodeBlocks,
}

impl PqFastScan {
    /// The given flat codes, one a row.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) where the codes are not whole, or there are some and `pq` is not trained.
    pub fn from_codes(pq: ProductQuantizer, codes: &[u8]) -> Result<Self> {
        let rows = count_codes(pq.m(), codes)?;
        pq.check_made(rows)?;
        let mut index = Self { codes: CodeBlocks::zeroed(pq.m(), 0)?, pq, ntotal: 0 };
        index.reserve(rows)?;
        index.append(codes);
        Ok(index)
    }

    /// Makes room for so many rows more, at once.
    pub(crate) fn reserve(&mut self, rows: usize) -> Result<()> {
        self.codes.grow((self.ntotal + rows).div_ceil(BLOCK_ROWS))
    }

    /// Takes flat codes that there is room for.
    pub(crate) fn append(&mut self, codes: &[u8]) {
        self.codes.pack(self.ntotal.., codes);
        self.ntotal += codes.len() / self.pq.code_size();
    }

    /// What cuts and names the parts of a row.
    pub fn pq(&self) -> &ProductQuantizer {
        &self.pq
    }

    /// Number of rows.
    pub fn ntotal(&self) -> usize {
        self.ntotal
    }

    /// The codes of the rows.
    pub fn codes(&self) -> &CodeBlocks {
        &self.codes
    }
}
