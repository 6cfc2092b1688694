//! The index: whole rows or 4-bit codes of them, with inverted lists or without, optionally behind an L2 normalisation
//! and before a refinement by the exact rows.

mod add;
mod base_rows;
mod block_lists;
mod build;
mod cheapest;
mod code_blocks;
mod evaluate;
mod exact;
mod footprint;
mod ground_truth;
mod held_back;
mod inverted_lists;
mod ivf_pq_fast_scan;
mod mapped_floats;
mod neighbors;
mod passed_over;
mod places;
mod pq_fast_scan;
mod product_quantizer;
mod recall;
mod recipe;
mod refine;
mod rows;
mod rvc_files;
mod searcher;
mod short_lists;
mod spread;
mod tune;

pub use block_lists::{BlockList, BlockLists};
pub use build::Progress;
pub use cheapest::Cheapest;
pub use code_blocks::CodeBlocks;
pub use evaluate::Evaluated;
pub(crate) use exact::ExactSearch;
pub use ground_truth::{GroundTruth, Quality};
pub use inverted_lists::{InvertedList, InvertedLists};
pub use ivf_pq_fast_scan::IvfPqFastScan;
pub(crate) use mapped_floats::MappedFloats;
pub use neighbors::Neighbors;
pub use pq_fast_scan::PqFastScan;
pub use product_quantizer::{CODEWORDS, ProductQuantizer};
pub use recipe::{ListCount, Recipe};
pub(crate) use refine::RefineRows;
pub use refine::{K_FACTORS, Refine};
pub use rows::IndexRows;
pub use rvc_files::RvcFiles;
pub use searcher::{SearchParams, Searcher};
pub use spread::ListSpread;
pub use tune::Tuned;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::factory::{Codes, IndexSpec, Ivf, Metric};

/// An index in memory: trained, and filled with `ntotal` rows. Read and written by [`crate::faiss`], searched by a
/// searcher on any device.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub(crate) dim: usize,
    pub(crate) metric: Metric,
    /// Rows and queries are scaled to unit length first (`L2norm,`).
    pub(crate) l2norm: bool,
    pub(crate) kind: IndexKind,
    /// Rows that count and are in no list.
    pub(crate) unlisted: usize,
    /// The exact rows around all of this (`,RFlat`).
    pub(crate) refine: Option<Refine>,
}

/// How the rows are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexKind {
    /// `Flat`: all rows, in order; row i has id i.
    Flat {
        /// Row-major, ntotal × d.
        rows: Arc<Vec<f32>>,
    },
    /// `IVFn,Flat`: rows in the inverted list of their nearest centroid.
    IvfFlat(IvfFlat),
    /// `PQMx4fs`: a 4-bit product quantizer's codes of all rows, in order.
    PqFastScan(PqFastScan),
    /// `IVFn,PQMx4fs`, also `…fsr`: such codes in the inverted list of the row's nearest centroid.
    IvfPqFastScan(IvfPqFastScan),
}

/// The parts of an `IVFn,Flat` index.
#[derive(Clone, Debug, PartialEq)]
pub struct IvfFlat {
    /// Coarse quantizer, row-major, nlist × d; empty until trained.
    pub(crate) centroids: Vec<f32>,
    /// Lists visited by a search that names no other number.
    pub(crate) nprobe: usize,
    /// nlist lists of ids and rows.
    pub(crate) lists: InvertedLists,
}

impl Index {
    /// A `Flat` index over `rows`, row-major, whole rows of `dim` floats; row i gets the id i.
    pub fn flat(dim: usize, metric: Metric, rows: Vec<f32>) -> Result<Self> {
        check_rows("rows", &rows, dim)?;
        Ok(Self::of_kind(dim, metric, IndexKind::Flat { rows: Arc::new(rows) }))
    }

    /// An `IVFn,Flat` index with one list a centroid. Without centroids it is untrained, and its lists are empty.
    pub fn ivf_flat(metric: Metric, centroids: Vec<f32>, nprobe: usize, lists: InvertedLists) -> Result<Self> {
        let dim = lists.dim();
        check_coarse(dim, &centroids, nprobe, lists.nlist(), lists.ntotal())?;
        Ok(Self::of_kind(dim, metric, IndexKind::IvfFlat(IvfFlat { centroids, nprobe, lists })))
    }

    /// A `PQMx4fs` index.
    pub fn pq_fast_scan(metric: Metric, codes: PqFastScan) -> Self {
        Self::of_kind(codes.pq.dim(), metric, IndexKind::PqFastScan(codes))
    }

    /// An `IVFn,PQMx4fs` index.
    pub fn ivf_pq_fast_scan(metric: Metric, ivf: IvfPqFastScan) -> Self {
        Self::of_kind(ivf.pq.dim(), metric, IndexKind::IvfPqFastScan(ivf))
    }

    /// An index with nothing before it and nothing behind it.
    pub(crate) fn of_kind(dim: usize, metric: Metric, kind: IndexKind) -> Self {
        Self { dim, metric, l2norm: false, kind, unlisted: 0, refine: None }
    }

    /// The same index behind `L2norm,`: its rows are unit vectors, and queries are scaled to be.
    pub fn with_l2norm(self) -> Self {
        Self { l2norm: true, ..self }
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How rows and queries are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// True where queries are scaled to unit length first.
    pub fn l2norm(&self) -> bool {
        self.l2norm
    }

    /// The rows, as they are kept.
    pub fn kind(&self) -> &IndexKind {
        &self.kind
    }

    /// Number of rows that a search can find.
    pub fn ntotal(&self) -> usize {
        match &self.kind {
            IndexKind::Flat { rows } => rows.len() / self.dim,
            IndexKind::IvfFlat(ivf) => ivf.lists.ntotal(),
            IndexKind::PqFastScan(codes) => codes.ntotal,
            IndexKind::IvfPqFastScan(ivf) => ivf.lists.ntotal(),
        }
    }

    /// Number of rows that are in no list, so that no search finds them. faiss counts rows of NaN, which are near to no
    /// list, and gives each an id.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// True where rows can be added: a flat index needs no training, others have their centroids and codewords.
    pub fn is_trained(&self) -> bool {
        match &self.kind {
            IndexKind::Flat { .. } => true,
            IndexKind::IvfFlat(ivf) => !ivf.centroids.is_empty(),
            IndexKind::PqFastScan(codes) => codes.pq.is_trained(),
            IndexKind::IvfPqFastScan(ivf) => ivf.pq.is_trained(),
        }
    }

    /// Number of inverted lists; `None` for an index without.
    pub fn nlist(&self) -> Option<usize> {
        match &self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => None,
            IndexKind::IvfFlat(ivf) => Some(ivf.lists.nlist()),
            IndexKind::IvfPqFastScan(ivf) => Some(ivf.lists.nlist()),
        }
    }

    /// Lists visited by a search that names no other number; `None` for an index without lists.
    pub fn nprobe(&self) -> Option<usize> {
        match &self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => None,
            IndexKind::IvfFlat(ivf) => Some(ivf.nprobe),
            IndexKind::IvfPqFastScan(ivf) => Some(ivf.nprobe),
        }
    }

    /// How evenly rows fell to the lists; `None` for an index without.
    pub fn spread(&self) -> Option<ListSpread> {
        match &self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => None,
            IndexKind::IvfFlat(ivf) => Some(ivf.lists.spread()),
            IndexKind::IvfPqFastScan(ivf) => Some(ivf.lists.spread()),
        }
    }

    /// The factory string that builds this kind of index.
    pub fn spec(&self) -> IndexSpec {
        let pq = |pq: &ProductQuantizer, by_residual| Codes::PqFastScan { m: Some(pq.m()), by_residual };
        let codes = match &self.kind {
            IndexKind::Flat { .. } | IndexKind::IvfFlat(_) => Codes::Flat,
            IndexKind::PqFastScan(codes) => pq(&codes.pq, false),
            IndexKind::IvfPqFastScan(ivf) => pq(&ivf.pq, ivf.by_residual),
        };
        let ivf = self.nlist().map(|nlist| Ivf { nlist: Some(nlist) });
        IndexSpec { l2norm: self.l2norm, ivf, codes, refine: self.refine.is_some() }
    }
}

impl IvfFlat {
    /// The coarse quantizer, row-major, nlist × d; empty until trained.
    pub fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// Lists visited by a search that names no other number.
    pub fn nprobe(&self) -> usize {
        self.nprobe
    }

    /// The lists, one a centroid.
    pub fn lists(&self) -> &InvertedLists {
        &self.lists
    }
}

/// Fails where a coarse quantizer does not fit its lists. Without centroids it is untrained, and there are no rows.
fn check_coarse(dim: usize, centroids: &[f32], nprobe: usize, nlist: usize, ntotal: usize) -> Result<()> {
    check_rows("centroids", centroids, dim)?;
    let untrained = centroids.is_empty() && ntotal == 0;
    if nlist == 0 || (centroids.len() / dim != nlist && !untrained) {
        let found = format!("{} for {nlist} lists", centroids.len() / dim);
        return Err(Error::parameter("centroids", found, "pass one for each list, and at least one"));
    }
    if nprobe == 0 {
        return Err(Error::parameter("nprobe", "is 0", "visit at least one list"));
    }
    Ok(())
}

/// Fails where `rows` is not a whole number of rows.
fn check_rows(name: &'static str, rows: &[f32], dim: usize) -> Result<()> {
    if rows.len().checked_rem(dim) != Some(0) {
        let found = format!("{} floats for {dim} dimensions", rows.len());
        return Err(Error::parameter(name, found, "pass whole rows of at least one float"));
    }
    Ok(())
}
