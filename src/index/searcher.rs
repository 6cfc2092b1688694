//! Searching: an index made resident on a device, then asked again and again.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::{mem, slice};

use super::{CodeBlocks, Index, IndexKind, IndexRows, Neighbors, ProductQuantizer};
use crate::device::{
    Buffer, CentroidTable, CodeSet, Codebooks, Device, ENOUGH, ListPlaces, LookupTables, Matrix, PQ_CENTROIDS, Pending,
    Probes, RowRanges, RowSet, ScanRequest, ScanTopK, TopK, check_k,
};
use crate::error::{Error, Result};
use crate::features::l2_normalize;

/// Queries that are worked on together; more are taken batch by batch.
const QUERIES: usize = 1024;
/// Keys of centroids written for a batch of queries, at most: bounds the working memory on a GPU.
const KEYS: usize = 1 << 24;
/// Bytes of look-up tables made for a batch of queries, at most.
const TABLES: usize = 64 << 20;

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
    pub(super) device: Device,
    index: Arc<Index>,
    /// None for an index without lists.
    coarse: Option<Coarse>,
    resident: Resident,
    /// What a search returns for the row at each place, where that is not its id.
    pub(super) numbers: Option<Arc<Vec<i64>>>,
    /// Working memory of searches that are over.
    workspaces: Arc<Mutex<Vec<Workspace>>>,
}

/// The coarse quantizer, and the lists of its centroids.
#[derive(Clone, Debug)]
struct Coarse {
    table: CentroidTable,
    lists: ListPlaces,
}

#[derive(Clone, Debug)]
enum Resident {
    Rows(RowSet),
    Codes { codes: CodeSet, codebooks: Codebooks },
}

/// What a batch of queries is worked on in, kept for the next.
#[derive(Debug, Default)]
struct Workspace {
    unit: Vec<f32>,
    queries: Matrix,
    probes: Buffer<u32>,
    ranges: RowRanges,
    request: ScanRequest,
    tables: LookupTables,
    top: TopK,
    sums: ScanTopK,
    candidates: Neighbors,
    pending: Pending,
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
        let coarse = |centroids: &[f32], place: &dyn Fn(usize) -> Range<usize>| {
            let lists = device.list_places((0..centroids.len() / index.dim).map(|list| slots(place(list))))?;
            Ok(Some(Coarse { table: device.centroid_table(centroids, index.dim, index.metric)?, lists }))
        };
        let codes = |codes: &CodeBlocks, pq: &ProductQuantizer| -> Result<_> {
            let codebooks = device.codebooks(pq.codebooks(), pq.m())?;
            Ok(Resident::Codes { codes: device.code_set(codes.bytes(), codes.m())?, codebooks })
        };
        let (coarse, resident) = match &index.kind {
            IndexKind::Flat { rows } => (None, Resident::Rows(device.row_set(rows, index.dim)?)),
            IndexKind::IvfFlat(ivf) => {
                let rows = device.row_set(ivf.lists.rows(), index.dim)?;
                (coarse(&ivf.centroids, &|list| ivf.lists.places(list))?, Resident::Rows(rows))
            }
            IndexKind::PqFastScan(whole) => (None, codes(&whole.codes, &whole.pq)?),
            IndexKind::IvfPqFastScan(ivf) => {
                (coarse(&ivf.centroids, &|list| ivf.lists.places(list))?, codes(ivf.lists.codes(), &ivf.pq)?)
            }
        };
        let searcher =
            Self { device: device.clone(), index, coarse, resident, numbers: None, workspaces: Arc::default() };
        searcher.prepare(&SearchParams::default());
        Ok(searcher)
    }

    /// Makes an index ready for calls with these parameters that come again and again, as [`Searcher::new`] does for those
    /// of the index. On the CPU engine, where a search compares a query with many rows themselves, that takes as long as some
    /// hundred searches of all rows once, and a sixth of the rows' memory. Results do not depend on it.
    pub fn prepare(&self, params: &SearchParams) {
        let Resident::Rows(rows) = &self.resident else { return };
        let share = match (&self.coarse, self.checked_nprobe(params.nprobe)) {
            (Some(coarse), Ok(nprobe)) => nprobe as f64 / coarse.table.nlist() as f64,
            (None, _) => 1.0,
            (_, Err(_)) => 0.0,
        };
        if rows.rows() as f64 * share >= ENOUGH as f64 {
            rows.prepare(self.index.metric);
        }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The rows of the index.
    pub fn rows(&self) -> IndexRows {
        IndexRows::new(self.index.clone())
    }

    /// The same searcher, which returns row numbers in place of ids: those of [`IndexRows`]. Ids may occur twice, and need
    /// not count the rows.
    pub(crate) fn by_row(&self) -> Self {
        let mut searcher = self.clone();
        searcher.numbers = self.rows().numbers().map(Arc::new);
        searcher
    }

    /// The k nearest rows of each query; `queries` is row-major.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the queries are no whole rows, k or k · k_factor is not 1 to [`MAX_K`](crate::device::MAX_K), k_factor is
    /// below 1 or given for an index that does not re-rank, or nprobe is 0; what the device reports.
    pub fn search(&self, queries: &[f32], k: usize, params: &SearchParams) -> Result<Neighbors> {
        let mut found = Neighbors::default();
        self.search_into(queries, k, params, &mut found)?;
        Ok(found)
    }

    /// The same into what is there, whose memory is used again: for calls that come again and again. On the CPU engine such
    /// a call allocates nothing once the ones before have made its working memory, and each of rayon's threads its own.
    /// (Where the caller is none of these threads, rayon allocates a block for its queue every few dozen calls.)
    ///
    /// # Errors
    /// As [`Searcher::search`]; `found` holds no result then.
    pub fn search_into(&self, queries: &[f32], k: usize, params: &SearchParams, found: &mut Neighbors) -> Result<()> {
        found.renew(k);
        check_k(k)?;
        let count = self.index.candidates(k, params.k_factor)?;
        let mut work = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut search = || self.search_with(queries, count, params.nprobe, &mut work, found);
        // On the CPU engine's threads from the start, or each stage would wake and await them for itself.
        let outcome = if self.device.is_cpu() { rayon::scope(|_| search()) } else { search() };
        // On a GPU there is nothing in it to use again.
        if self.device.is_cpu() {
            self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(work);
        }
        if outcome.is_err() {
            found.renew(k);
        }
        outcome
    }

    fn search_with(
        &self,
        queries: &[f32],
        count: usize,
        nprobe: Option<usize>,
        work: &mut Workspace,
        found: &mut Neighbors,
    ) -> Result<()> {
        let Some(refine) = &self.index.refine else {
            return self.candidates_with(queries, nprobe, work, found);
        };
        let mut candidates = mem::take(&mut work.candidates);
        candidates.renew(count);
        let outcome = self.candidates_with(queries, nprobe, work, &mut candidates);
        if outcome.is_ok() {
            refine.rerank(queries, &candidates, self.index.dim, self.index.metric, found);
        }
        work.candidates = candidates;
        outcome
    }

    /// The `count` nearest rows of each query, as far as they are known before any re-ranking.
    pub(super) fn candidates(&self, queries: &[f32], count: usize, nprobe: Option<usize>) -> Result<Neighbors> {
        let mut found = Neighbors { k: count, ..Neighbors::default() };
        self.candidates_with(queries, nprobe, &mut Workspace::default(), &mut found)?;
        Ok(found)
    }

    /// The same, `found.k` a query.
    fn candidates_with(
        &self,
        queries: &[f32],
        nprobe: Option<usize>,
        work: &mut Workspace,
        found: &mut Neighbors,
    ) -> Result<()> {
        let dim = self.index.dim;
        if !queries.len().is_multiple_of(dim) {
            let found = format!("{} floats", queries.len());
            return Err(Error::parameter("queries", found, format!("pass whole rows of {dim}")));
        }
        let nprobe = self.checked_nprobe(nprobe)?;
        for batch in queries.chunks(self.batch_queries(nprobe) * dim) {
            let Workspace { unit, queries, .. } = work;
            unit.clear();
            if self.index.l2norm {
                unit.extend_from_slice(batch);
                l2_normalize(unit, dim);
            }
            self.device.upload_into(if self.index.l2norm { unit } else { batch }, dim, queries)?;
            match &self.resident {
                Resident::Rows(rows) => self.compare(rows, nprobe, work, found)?,
                Resident::Codes { codes, codebooks } => self.scan((codes, codebooks), batch, nprobe, work, found)?,
            }
        }
        Ok(())
    }

    /// The nearest rows of the queries in `work`, by exact distances.
    fn compare(&self, rows: &RowSet, nprobe: usize, work: &mut Workspace, found: &mut Neighbors) -> Result<()> {
        let Workspace { queries, probes, ranges, top, pending, .. } = work;
        match &self.coarse {
            Some(Coarse { table, lists }) if nprobe < table.nlist() => {
                self.device.nearest_probes_into(queries, table, nprobe, probes, pending)?;
                self.device.list_ranges_into(lists, probes, nprobe, ranges)?;
            }
            _ => {
                ranges.clear();
                (0..queries.rows()).for_each(|_| ranges.push([slots(0..rows.rows())]));
            }
        }
        self.device.exact_topk_into((queries, rows), ranges, self.index.metric, found.k, top, pending)?;
        found.distances.extend_from_slice(&top.distances);
        found.ids.extend(top.rows.iter().map(|&row| self.id_of(row)));
        Ok(())
    }

    /// The nearest rows of the queries in `work`, as far as codes tell; `asked` are those queries as they were given.
    fn scan(
        &self,
        (codes, codebooks): (&CodeSet, &Codebooks),
        asked: &[f32],
        nprobe: usize,
        work: &mut Workspace,
        found: &mut Neighbors,
    ) -> Result<()> {
        let Workspace { queries, probes, request, tables, sums, pending, .. } = work;
        let (device, metric) = (&self.device, self.index.metric);
        match (&self.index.kind, &self.coarse) {
            (IndexKind::IvfPqFastScan(ivf), Some(Coarse { table, lists })) => {
                device.nearest_probes_into(queries, table, nprobe, probes, pending)?;
                request.renew(nprobe);
                device.list_ranges_into(lists, probes, nprobe, &mut request.ranges)?;
                let probes = Probes { table, lists: probes, by_residual: ivf.by_residual };
                device.lookup_tables_into(queries, codebooks, metric, Some(&probes), tables, pending)?;
            }
            _ => {
                request.renew(1);
                for query in asked.chunks_exact(self.index.dim) {
                    // A query of NaN is near to nothing.
                    let all = if query.iter().all(|x| x.is_finite()) { self.index.ntotal() } else { 0 };
                    request.add_query(slice::from_ref(&slots(0..all)))?;
                }
                device.lookup_tables_into(queries, codebooks, metric, None, tables, pending)?;
            }
        }
        device.fast_scan_into((codes, tables), request, metric, found.k, sums, pending)?;
        // What the sums stand for.
        let each = sums.slots.chunks_exact(found.k).zip(sums.sums.chunks_exact(found.k));
        let each = each.zip(sums.scales.chunks_exact(2));
        for ((slots, sums), scale) in each {
            found.distances.extend(slots.iter().zip(sums).map(|(&slot, &sum)| match slot {
                TopK::NONE => metric.worst(),
                _ => scale[0] + sum as f32 * scale[1],
            }));
        }
        found.ids.extend(sums.slots.iter().map(|&slot| self.id_of(slot)));
        Ok(())
    }

    /// The lists that a search with `nprobe` visits: none for an index without lists.
    fn checked_nprobe(&self, nprobe: Option<usize>) -> Result<usize> {
        let Some((nlist, own)) = self.index.nlist().zip(self.index.nprobe()) else { return Ok(0) };
        match nprobe.unwrap_or(own) {
            0 => Err(Error::parameter("nprobe", 0, "visit at least one list, whatever the index says")),
            nprobe => Ok(nprobe.min(nlist)),
        }
    }

    fn batch_queries(&self, nprobe: usize) -> usize {
        let by_keys = self.coarse.as_ref().map_or(QUERIES, |coarse| KEYS / coarse.table.nlist());
        let by_tables = match &self.resident {
            Resident::Rows(_) => QUERIES,
            Resident::Codes { codebooks, .. } => TABLES / (codebooks.m() * PQ_CENTROIDS * nprobe.max(1)),
        };
        by_keys.min(by_tables).clamp(1, QUERIES)
    }

    fn id_of(&self, row: u32) -> i64 {
        match (&self.numbers, &self.index.kind) {
            _ if row == TopK::NONE => -1,
            (Some(numbers), _) => numbers[row as usize],
            (None, IndexKind::Flat { .. } | IndexKind::PqFastScan(_)) => i64::from(row),
            (None, IndexKind::IvfFlat(ivf)) => ivf.lists.ids()[row as usize],
            (None, IndexKind::IvfPqFastScan(ivf)) => ivf.lists.ids()[row as usize],
        }
    }
}

fn slots(places: Range<usize>) -> Range<u32> {
    places.start as u32..places.end as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::KMeansParams;
    use crate::factory::{IndexSpec, Metric};
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
    fn an_index_that_was_made_ready_finds_the_same() {
        const DIM: usize = 140;
        let wave = |i: usize| (i * 7919 % 1009) as f32 / 504.5 - 1.0;
        let value = |i, j| (0..7).map(|d| wave(i * 31 + d * 17) * ((j * (d + 1)) as f32 * 0.7).sin()).sum::<f32>();
        let values: Vec<f32> = (0..5100 * DIM).map(|at| value(at / DIM, at % DIM) + 0.1 * wave(at * 57)).collect();
        let (rows, queries) = values.split_at(5000 * DIM);
        let (rows, device) = (MemoryRows::new(rows, DIM).unwrap(), Device::cpu());
        for metric in [Metric::L2, Metric::InnerProduct] {
            let mut index = Index::new(&"IVF40,Flat".parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
            index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
            index.add(&device, &rows, None, &mut |_| ()).unwrap();
            let [plain, ready] = [(); 2].map(|()| Searcher::new(index.clone(), &device).unwrap());
            ready.prepare(&SearchParams { nprobe: Some(8), k_factor: None });
            for (nprobe, k) in [(1, 8), (8, 1), (8, 8), (8, 300), (33, 8), (40, 8), (40, 1000)] {
                let params = SearchParams { nprobe: Some(nprobe), k_factor: None };
                let [plain, ready] = [&plain, &ready].map(|searcher| searcher.search(queries, k, &params).unwrap());
                assert_eq!(ready, plain, "{metric} nprobe {nprobe} k {k}");
            }
        }
    }

    #[test]
    fn a_gpu_is_given_a_search_at_once() {
        let Ok(gpu) = Device::gpu("llvmpipe/vulkan") else {
            eprintln!("no llvmpipe here: no submissions were counted");
            return;
        };
        let queries: Vec<f32> = (0..40 * 4).map(|i| ((i * 131) % 1013) as f32 / 100.0 - 5.0).collect();
        for kind in KINDS {
            let on_cpu = searcher(kind, Metric::L2);
            let on_gpu = Searcher::new(on_cpu.index().clone(), &gpu).unwrap();
            for nprobe in [1, 3, 6] {
                let params = SearchParams { nprobe: on_cpu.index().nlist().map(|_| nprobe), k_factor: None };
                let before = gpu.submissions();
                let found = on_gpu.search(&queries, 400, &params).unwrap();
                assert_eq!(gpu.submissions() - before, 1, "{kind} nprobe {nprobe}");
                let sorted = |found: &Neighbors| {
                    let mut ids: Vec<Vec<i64>> = found.ids.chunks(400).map(Into::into).collect();
                    ids.iter_mut().for_each(|ids| ids.sort_unstable());
                    ids
                };
                assert_eq!(sorted(&found), sorted(&on_cpu.search(&queries, 400, &params).unwrap()), "{kind} {nprobe}");
            }
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

    #[test]
    fn a_searcher_asked_this_and_that_finds_what_a_new_one_does() {
        let queries: Vec<f32> = (0..1500 * 4).map(|i| ((i * 131) % 1013) as f32 / 100.0 - 5.0).collect();
        let asked = [(28, 8, 3), (1, 400, 6), (1500, 3, 1), (16, 8, 6), (78, 100, 2), (1, 1, 1)];
        for kind in KINDS {
            let searcher = searcher(kind, Metric::L2);
            let ask = |searcher: &Searcher, found: &mut Neighbors, (count, k, nprobe): (usize, usize, usize)| {
                let params = SearchParams { nprobe: searcher.index().nlist().map(|_| nprobe), k_factor: None };
                searcher.search_into(&queries[..count * 4], k, &params, found).unwrap();
            };
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (searcher, ask) = (&searcher, &ask);
                    scope.spawn(move || {
                        let mut found = Neighbors::default();
                        for i in 0..12 {
                            let asked = asked[(thread + i) % asked.len()];
                            let mut fresh = Neighbors::default();
                            ask(&Searcher::new(searcher.index().clone(), &Device::cpu()).unwrap(), &mut fresh, asked);
                            ask(searcher, &mut found, asked);
                            assert_eq!(found, fresh, "{kind} {asked:?}");
                        }
                    });
                }
            });
            let mut found = Neighbors { k: 3, ids: vec![1, 2, 3], distances: vec![0.0; 3] };
            assert!(searcher.search_into(&queries[..5], 8, &SearchParams::default(), &mut found).is_err());
            assert_eq!(found.queries(), 0);
        }
    }
}
