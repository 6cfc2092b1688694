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
                    // A query of NaN is near to nothing.
                    let finite = query.iter().all(|x| x.is_finite());
                    let all = iter::once(0..whole.ntotal as u32).filter(|_| finite).collect();
                    (ByteTables::new(&[table], &[], ScaleBound::Entries), all)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::KMeansParams;
    use crate::factory::IndexSpec;
    use crate::features::MemoryRows;

    fn searcher(factory: &str, metric: Metric) -> Searcher {
        let values: Vec<f32> = (0..400 * 4).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0).collect();
        let (rows, device) = (MemoryRows::new(&values, 4).unwrap(), Device::cpu());
        let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), metric, 4).unwrap();
        index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
        index.add(&device, &rows, Some(150), &mut |_| ()).unwrap();
        Searcher::new(index, &device).unwrap()
    }

    const KINDS: [&str; 8] =
        ["Flat", "IVF6,Flat", "PQx4fs", "IVF6,PQx4fs", "IVF6,PQx4fsr", "PQ4x4fs,RFlat", "Flat,RFlat", "L2norm,PQ1x4fs"];

    #[test]
    fn queries_of_nan_find_nothing_and_harm_no_other() {
        for (kind, metric) in KINDS.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
            let searcher = searcher(kind, metric);
            let params = SearchParams { nprobe: searcher.index().nlist().map(|_| 3), k_factor: None };
            let found = searcher.search(&[f32::NAN, 0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0], 3, &params).unwrap();
            assert_eq!(found.ids[..3], [-1; 3], "{kind} {metric}");
            assert_eq!(found.distances[..3], [metric.worst(); 3], "{kind} {metric}");
            let alone = searcher.search(&[1.0, 2.0, 3.0, 4.0], 3, &params).unwrap();
            assert_eq!(
                (&found.ids[3..], &found.distances[3..]),
                (&alone.ids[..], &alone.distances[..]),
                "{kind} {metric}"
            );
            assert!(alone.distances.iter().all(|x| x.is_finite()) && alone.ids.iter().all(|&id| id >= 0), "{kind}");
        }
    }

    #[test]
    fn k_factors_that_cannot_be() {
        let refined = searcher("PQx4fs,RFlat", Metric::L2);
        let search = |searcher: &Searcher, k, k_factor| {
            searcher.search(&[0.0; 4], k, &SearchParams { nprobe: None, k_factor: Some(k_factor) }).map(|found| found.k)
        };
        assert_eq!(search(&refined, 8, 2.5).unwrap(), 8);
        // More candidates than the index has rows.
        assert_eq!(search(&refined, 500, 2.0).unwrap(), 500);
        for (k, k_factor) in [(8, 0.5), (8, f32::NAN), (8, 1001.0), (1024, 1.5), (8, -1.0)] {
            assert!(search(&refined, k, k_factor).unwrap_err().is_usage(), "{k} {k_factor}");
        }
        assert!(search(&searcher("PQx4fs", Metric::L2), 8, 2.0).unwrap_err().is_usage());
    }
}
