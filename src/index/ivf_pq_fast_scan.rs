//! `IVFn,PQMx4fs`: codes of rows, in the inverted list of the row's nearest centroid.

use super::{BlockLists, ProductQuantizer, check_coarse};
use crate::error::{Error, Result};

/// The parts of an `IVFn,PQMx4fs` index.
#[derive(Clone, Debug, PartialEq)]
pub struct IvfPqFastScan {
    /// Coarse quantizer, row-major, nlist × d; empty until trained.
    pub(crate) centroids: Vec<f32>,
    /// Lists visited by a search that names no other number.
    pub(crate) nprobe: usize,
    /// Codes stand for a row less its list's centroid (`PQMx4fsr`).
    pub(crate) by_residual: bool,
    pub(crate) pq: ProductQuantizer,
    pub(crate) lists: BlockLists,
}

impl IvfPqFastScan {
    /// One list a centroid. Without centroids, and then without codewords, it is untrained, and its lists are empty.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the parts disagree, or nprobe is 0.
    pub fn new(
        centroids: Vec<f32>,
        nprobe: usize,
        by_residual: bool,
        pq: ProductQuantizer,
        lists: BlockLists,
    ) -> Result<Self> {
        check_coarse(pq.dim(), &centroids, nprobe, lists.nlist(), lists.ntotal())?;
        pq.check_made(centroids.len())?;
        if pq.is_trained() && centroids.is_empty() {
            return Err(Error::parameter("codebooks", "there are no centroids", "train both or neither"));
        }
        if pq.m() != lists.codes().m() {
            let found = format!("codes have M = {}", lists.codes().m());
            return Err(Error::parameter("M", found, format!("the quantizer has {}", pq.m())));
        }
        Ok(Self { centroids, nprobe, by_residual, pq, lists })
    }

    /// The coarse quantizer, row-major, nlist × d; empty until trained.
    pub fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// Lists visited by a search that names no other number.
    pub fn nprobe(&self) -> usize {
        self.nprobe
    }

    /// True where codes stand for a row less its list's centroid (`PQMx4fsr`).
    pub fn by_residual(&self) -> bool {
        self.by_residual
    }

    /// What cuts and names the parts of a row.
    pub fn pq(&self) -> &ProductQuantizer {
        &self.pq
    }

    /// The lists, one a centroid.
    pub fn lists(&self) -> &BlockLists {
        &self.lists
    }
}
