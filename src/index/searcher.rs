//! Searching: an index made resident on a device, then asked again and again.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Index, IndexKind, Neighbors};
use crate::device::{CentroidTable, Device, MAX_K, Matrix, RowRanges, RowSet, TopK};
use crate::error::{Error, Result};
use crate::features::l2_normalize;

/// Queries that are worked on together; more are taken batch by batch.
const QUERIES: usize = 1024;
/// Keys of centroids written for a batch of queries, at most: bounds the working memory on a GPU.
const KEYS: usize = 1 << 24;

/// An index resident on a device: on the CPU engine it shares the index's rows, on a GPU it holds a copy.
#[derive(Clone, Debug)]
pub struct Searcher {
    device: Device,
    index: Arc<Index>,
    rows: RowSet,
    /// None for a flat index.
    coarse: Option<CentroidTable>,
}

impl Searcher {
    /// Makes `index` resident on `device`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room for the rows; [`Error::Parameter`] for an untrained index or
    /// one that this version does not search.
    pub fn new(index: impl Into<Arc<Index>>, device: &Device) -> Result<Self> {
        let index = index.into();
        if !index.is_trained() {
            return Err(Error::parameter("index", "it is not trained", "train it, or load one that is"));
        }
        let (rows, coarse) = match &index.kind {
            _ if index.refine.is_some() => return Err(index.comes_later("searching")),
            IndexKind::Flat { rows } => (device.row_set(rows, index.dim)?, None),
            IndexKind::IvfFlat(ivf) => {
                let table = device.centroid_table(&ivf.centroids, index.dim, index.metric)?;
                (device.row_set(ivf.lists.rows(), index.dim)?, Some(table))
            }
            IndexKind::PqFastScan(_) | IndexKind::IvfPqFastScan(_) => return Err(index.comes_later("searching")),
        };
        Ok(Self { device: device.clone(), index, rows, coarse })
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The k nearest rows of each query. `queries` is row-major; `nprobe` lists are visited, by default the index's
    /// own number; more than there are means all.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the queries are no whole rows, k is not 1 to [`MAX_K`], or nprobe is 0; what the
    /// device reports.
    pub fn search(&self, queries: &[f32], k: usize, nprobe: Option<usize>) -> Result<Neighbors> {
        let dim = self.index.dim;
        if !queries.len().is_multiple_of(dim) {
            let found = format!("{} floats", queries.len());
            return Err(Error::parameter("queries", found, format!("pass whole rows of {dim}")));
        }
        if k == 0 || k > MAX_K {
            return Err(Error::parameter("k", k, format!("choose 1 to {MAX_K}")));
        }
        let nprobe = self.checked_nprobe(nprobe)?;
        let mut found = Neighbors { k, ..Neighbors::default() };
        for batch in queries.chunks(self.batch_queries() * dim) {
            let mut batch = Cow::Borrowed(batch);
            if self.index.l2norm {
                l2_normalize(batch.to_mut(), dim);
            }
            let batch = self.device.upload(&batch, dim)?;
            let ranges = self.ranges(&batch, nprobe)?;
            let top = self.device.exact_topk(&batch, &self.rows, &ranges, self.index.metric, k)?;
            found.distances.extend(&top.distances);
            found.ids.extend(top.rows.iter().map(|&row| self.id_of(row)));
        }
        Ok(found)
    }

    /// The lists that a search with `nprobe` visits: none for a flat index.
    fn checked_nprobe(&self, nprobe: Option<usize>) -> Result<usize> {
        let IndexKind::IvfFlat(ivf) = &self.index.kind else { return Ok(0) };
        let nlist = ivf.lists.nlist();
        match nprobe.unwrap_or(ivf.nprobe) {
            0 => Err(Error::parameter("nprobe", 0, "visit at least one list")),
            nprobe => Ok(nprobe.min(nlist)),
        }
    }

    fn batch_queries(&self) -> usize {
        self.coarse.as_ref().map_or(QUERIES, |table| (KEYS / table.nlist()).clamp(1, QUERIES))
    }

    /// The rows that each query is compared with.
    fn ranges(&self, queries: &Matrix, nprobe: usize) -> Result<RowRanges> {
        let (IndexKind::IvfFlat(ivf), Some(table)) = (&self.index.kind, &self.coarse) else {
            return Ok(RowRanges::all(queries.rows(), self.rows.rows() as u32));
        };
        if nprobe == ivf.lists.nlist() {
            return Ok(RowRanges::all(queries.rows(), self.rows.rows() as u32));
        }
        let probes = self.device.download(&self.device.nearest_probes(queries, table, nprobe)?)?;
        let mut ranges = RowRanges::default();
        for probes in probes.chunks_exact(nprobe) {
            // A query of NaN is near to nothing and has no probes.
            let lists = probes.iter().filter(|&&probe| probe != TopK::NONE);
            ranges.push(lists.map(|&list| {
                let places = ivf.lists.places(list as usize);
                places.start as u32..places.end as u32
            }));
        }
        Ok(ranges)
    }

    fn id_of(&self, row: u32) -> i64 {
        match &self.index.kind {
            _ if row == TopK::NONE => -1,
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => i64::from(row),
            IndexKind::IvfFlat(ivf) => ivf.lists.ids()[row as usize],
            IndexKind::IvfPqFastScan(ivf) => ivf.lists.ids()[row as usize],
        }
    }
}
