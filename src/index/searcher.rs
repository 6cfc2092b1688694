//! Searching: an index made resident on a device, then asked again and again.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::lookup_tables::{ByteTables, ScaleBound, float_table, residual_table};
use super::{Index, IndexKind, IvfPqFastScan, Neighbors, ProductQuantizer};
use crate::device::{CentroidTable, CodeSet, Device, MAX_K, Matrix, RowRanges, RowSet, ScanRequest, TopK, Visit};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::l2_normalize;

/// Queries that are worked on together; more are taken batch by batch.
const QUERIES: usize = 1024;
/// Keys of centroids written for a batch of queries, at most: bounds the working memory on a GPU.
const KEYS: usize = 1 << 24;

/// How an index is searched; by default as the index itself says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SearchParams {
    /// Lists that are visited; more than there are means all.
    pub nprobe: Option<usize>,
    /// k · k_factor candidates are re-ranked by an index with `RFlat`.
    pub k_factor: Option<f32>,
}

/// An index resident on a device: on the CPU engine it shares the index's rows and codes, on a GPU it holds a copy.
#[derive(Clone, Debug)]
pub struct Searcher {
    device: Device,
    index: Arc<Index>,
    /// None for an index without lists.
    coarse: Option<CentroidTable>,
    resident: Resident,
}

#[derive(Clone, Debug)]
enum Resident {
    Rows(RowSet),
    Codes(CodeSet),
}

impl Searcher {
    /// Makes `index` resident on `device`. The rows that `RFlat` re-ranks with stay on the host.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room; [`Error::Parameter`] for an untrained index.
    pub fn new(index: impl Into<Arc<Index>>, device: &Device) -> Result<Self> {
        let index = index.into();
        if !index.is_trained() {
            return Err(Error::parameter("index", "it is not trained", "train it, or load one that is"));
        }
        let table = |centroids: &[f32]| device.centroid_table(centroids, index.dim, index.metric).map(Some);
        let (coarse, resident) = match &index.kind {
            IndexKind::Flat { rows } => (None, Resident::Rows(device.row_set(rows, index.dim)?)),
            IndexKind::IvfFlat(ivf) => {
                (table(&ivf.centroids)?, Resident::Rows(device.row_set(ivf.lists.rows(), index.dim)?))
            }
            IndexKind::PqFastScan(pq) => (None, Resident::Codes(device.code_set(pq.codes.bytes(), pq.codes.m())?)),
            IndexKind::IvfPqFastScan(ivf) => {
                let codes = ivf.lists.codes();
                (table(&ivf.centroids)?, Resident::Codes(device.code_set(codes.bytes(), codes.m())?))
            }
        };
        Ok(Self { device: device.clone(), index, coarse, resident })
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The k nearest rows of each query; `queries` is row-major.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the queries are no whole rows, k or k · k_factor is not 1 to [`MAX_K`], k_factor is
    /// below 1 or given for an index that does not re-rank, or nprobe is 0; what the device reports.
    pub fn search(&self, queries: &[f32], k: usize, params: &SearchParams) -> Result<Neighbors> {
        let dim = self.index.dim;
        if !queries.len().is_multiple_of(dim) {
            let found = format!("{} floats", queries.len());
            return Err(Error::parameter("queries", found, format!("pass whole rows of {dim}")));
        }
        if k == 0 || k > MAX_K {
            return Err(Error::parameter("k", k, format!("choose 1 to {MAX_K}")));
        }
        let candidates = self.index.candidates(k, params.k_factor)?;
        let nprobe = self.checked_nprobe(params.nprobe)?;
        let mut found = Neighbors { k: candidates, ..Neighbors::default() };
        for batch in queries.chunks(self.batch_queries() * dim) {
            let mut batch = Cow::Borrowed(batch);
            if self.index.l2norm {
                l2_normalize(batch.to_mut(), dim);
            }
            let (distances, rows) = self.search_batch(&batch, candidates, nprobe)?;
            found.distances.extend(distances);
            found.ids.extend(rows.into_iter().map(|row| self.id_of(row)));
        }
        Ok(match &self.index.refine {
            Some(refine) => refine.rerank(queries, &found, k, dim, self.index.metric),
            None => found,
        })
    }

    /// Distances and row numbers, k a query.
    fn search_batch(&self, queries: &[f32], k: usize, nprobe: usize) -> Result<(Vec<f32>, Vec<u32>)> {
        let matrix = self.device.upload(queries, self.index.dim)?;
        match (&self.resident, &self.index.kind) {
            (Resident::Codes(codes), IndexKind::PqFastScan(whole)) => {
                let tables = queries.par_chunks_exact(self.index.dim).map(|query| {
                    let table = float_table(&whole.pq, self.index.metric, query);
                    (ByteTables::new(&[table], &[], ScaleBound::Entries), iter::once(0..whole.ntotal as u32).collect())
                });
                self.scan(&whole.pq, codes, k, tables.collect())
            }
            (Resident::Codes(codes), IndexKind::IvfPqFastScan(ivf)) => {
                let probes = self.probes(&matrix, nprobe)?;
                let visits = queries.par_chunks_exact(self.index.dim).zip(probes.par_chunks_exact(nprobe));
                let tables = visits.map(|(query, probes)| list_tables(ivf, self.index.metric, query, probes));
                self.scan(&ivf.pq, codes, k, tables.collect())
            }
            (Resident::Rows(rows), _) => {
                let ranges = self.ranges(&matrix, rows, nprobe)?;
                let top = self.device.exact_topk(&matrix, rows, &ranges, self.index.metric, k)?;
                Ok((top.distances, top.rows))
            }
            (Resident::Codes(_), _) => Err(Error::ForeignBuffer { stage: "search" }),
        }
    }

    /// Scans codes with the byte tables of each query over its slots.
    fn scan(
        &self,
        pq: &ProductQuantizer,
        codes: &CodeSet,
        k: usize,
        tables: Vec<(ByteTables, Vec<Range<u32>>)>,
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        let mut request = ScanRequest::new(pq.m());
        let mut scales = Vec::with_capacity(tables.len());
        for (bytes, lists) in tables {
            let numbers = bytes.tables.iter().map(|table| request.add_table(table)).collect::<Result<Vec<_>>>()?;
            let visits: Vec<_> = (lists.into_iter().enumerate())
                .map(|(list, slots)| Visit {
                    slots,
                    table: numbers[if numbers.len() == 1 { 0 } else { list }],
                    bias: bytes.biases.get(list).copied().unwrap_or(0),
                })
                .collect();
            request.add_query(&visits)?;
            scales.push(bytes);
        }
        let top = self.device.fast_scan(codes, &request, self.index.metric, k)?;
        let distances = top.sums.chunks_exact(k).zip(top.slots.chunks_exact(k)).zip(&scales);
        let distances = distances.flat_map(|((sums, slots), bytes)| {
            sums.iter().zip(slots).map(|(&sum, &slot)| match slot {
                TopK::NONE => self.index.metric.worst(),
                _ => bytes.distance(sum),
            })
        });
        Ok((distances.collect(), top.slots))
    }

    /// The lists that a search with `nprobe` visits: none for an index without lists.
    fn checked_nprobe(&self, nprobe: Option<usize>) -> Result<usize> {
        let Some((nlist, own)) = self.index.nlist().zip(self.index.nprobe()) else { return Ok(0) };
        match nprobe.unwrap_or(own) {
            0 => Err(Error::parameter("nprobe", 0, "visit at least one list")),
            nprobe => Ok(nprobe.min(nlist)),
        }
    }

    fn batch_queries(&self) -> usize {
        self.coarse.as_ref().map_or(QUERIES, |table| (KEYS / table.nlist()).clamp(1, QUERIES))
    }

    /// The nearest lists of each query, nearest first; [`TopK::NONE`] for a query of NaN, which is near to nothing.
    fn probes(&self, queries: &Matrix, nprobe: usize) -> Result<Vec<u32>> {
        match &self.coarse {
            Some(table) => self.device.download(&self.device.nearest_probes(queries, table, nprobe)?),
            None => Ok(Vec::new()),
        }
    }

    /// The rows that each query is compared with.
    fn ranges(&self, queries: &Matrix, rows: &RowSet, nprobe: usize) -> Result<RowRanges> {
        let all = RowRanges::all(queries.rows(), rows.rows() as u32);
        let IndexKind::IvfFlat(ivf) = &self.index.kind else { return Ok(all) };
        if nprobe == ivf.lists.nlist() {
            return Ok(all);
        }
        let mut ranges = RowRanges::default();
        for probes in self.probes(queries, nprobe)?.chunks_exact(nprobe) {
            let lists = probes.iter().filter(|&&probe| probe != TopK::NONE);
            ranges.push(lists.map(|&list| slots(ivf.lists.places(list as usize))));
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

/// The byte tables of a query for the lists it visits, and where those lists lie.
///
/// Without residuals one table serves all lists. With them, x is near c + r: by inner product x · c is the bias of list
/// c, by L2 each list has a table of its own.
fn list_tables(ivf: &IvfPqFastScan, metric: Metric, query: &[f32], probes: &[u32]) -> (ByteTables, Vec<Range<u32>>) {
    let probes = probes.iter().filter(|&&probe| probe != TopK::NONE).map(|&probe| probe as usize);
    let centroid = |list: usize| &ivf.centroids[list * query.len()..][..query.len()];
    let lists: Vec<_> = probes.clone().map(|list| slots(ivf.lists.places(list))).collect();
    let bytes = match (ivf.by_residual, metric) {
        (false, _) => ByteTables::new(&[float_table(&ivf.pq, metric, query)], &[], ScaleBound::Sums),
        (true, Metric::InnerProduct) => {
            let biases: Vec<f32> =
                probes.map(|list| centroid(list).iter().zip(query).map(|(c, x)| c * x).sum()).collect();
            ByteTables::new(&[float_table(&ivf.pq, metric, query)], &biases, ScaleBound::Sums)
        }
        (true, Metric::L2) => {
            let residuals: Vec<Vec<f32>> =
                probes.map(|list| query.iter().zip(centroid(list)).map(|(x, c)| x - c).collect()).collect();
            let biases: Vec<f32> = residuals.iter().map(|y| y.iter().map(|y| y * y).sum()).collect();
            let tables: Vec<_> = residuals.iter().map(|y| residual_table(&ivf.pq, y)).collect();
            ByteTables::new(&tables, &biases, ScaleBound::Sums)
        }
    };
    (bytes, lists)
}

fn slots(places: Range<usize>) -> Range<u32> {
    places.start as u32..places.end as u32
}
