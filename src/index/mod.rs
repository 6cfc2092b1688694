//! The index: what faiss calls `IndexFlat` and `IndexIVFFlat`, optionally behind an L2 normalisation.

mod build;
mod inverted_lists;
mod neighbors;
mod recipe;
mod rvc_files;
mod searcher;
mod spread;

pub use build::Progress;
pub use inverted_lists::{InvertedList, InvertedLists};
pub use neighbors::Neighbors;
pub use recipe::{ListCount, Recipe};
pub use rvc_files::RvcFiles;
pub use searcher::Searcher;
pub use spread::ListSpread;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::factory::Metric;

/// An index in memory: trained, and filled with `ntotal` rows. Read and written by [`crate::faiss`], searched by a
/// searcher on any device.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub(crate) dim: usize,
    pub(crate) metric: Metric,
    /// Rows and queries are scaled to unit length first (`L2norm,`).
    pub(crate) l2norm: bool,
    pub(crate) kind: IndexKind,
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
        Ok(Self { dim, metric, l2norm: false, kind: IndexKind::Flat { rows: Arc::new(rows) } })
    }

    /// An `IVFn,Flat` index with one list a centroid. Without centroids it is untrained, and its lists are empty.
    pub fn ivf_flat(metric: Metric, centroids: Vec<f32>, nprobe: usize, lists: InvertedLists) -> Result<Self> {
        let (dim, nlist) = (lists.dim(), lists.nlist());
        check_rows("centroids", &centroids, dim)?;
        let untrained = centroids.is_empty() && lists.ntotal() == 0;
        if nlist == 0 || (centroids.len() / dim != nlist && !untrained) {
            let found = format!("{} for {nlist} lists", centroids.len() / dim);
            return Err(Error::parameter("centroids", found, "pass one for each list, and at least one"));
        }
        if nprobe == 0 {
            return Err(Error::parameter("nprobe", "is 0", "visit at least one list"));
        }
        let kind = IndexKind::IvfFlat(IvfFlat { centroids, nprobe, lists });
        Ok(Self { dim, metric, l2norm: false, kind })
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

    /// Number of rows.
    pub fn ntotal(&self) -> usize {
        match &self.kind {
            IndexKind::Flat { rows } => rows.len() / self.dim,
            IndexKind::IvfFlat(ivf) => ivf.lists.ntotal(),
        }
    }

    /// True where rows can be added: a flat index needs no training, an IVF index has its centroids.
    pub fn is_trained(&self) -> bool {
        match &self.kind {
            IndexKind::Flat { .. } => true,
            IndexKind::IvfFlat(ivf) => !ivf.centroids.is_empty(),
        }
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

/// Fails where `rows` is not a whole number of rows.
fn check_rows(name: &'static str, rows: &[f32], dim: usize) -> Result<()> {
    if rows.len().checked_rem(dim) != Some(0) {
        let found = format!("{} floats for {dim} dimensions", rows.len());
        return Err(Error::parameter(name, found, "pass whole rows of at least one float"));
    }
    Ok(())
}
