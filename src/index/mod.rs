//! The index: what faiss calls `IndexFlat` and `IndexIVFFlat`, optionally behind an L2 normalisation.

mod inverted_lists;

pub use inverted_lists::{InvertedList, InvertedLists};

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
        rows: Vec<f32>,
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
