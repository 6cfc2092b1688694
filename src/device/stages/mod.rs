//! The stages that every device offers: shapes are checked here, once for all devices.

mod list_ranges;
mod lookup_tables;
mod pq;
mod rows;
mod transfer;

use super::data::blend::BlendedRows;
use super::data::buffer::{Assignment, Buffer, CentroidTable, ClusterSums, Matrix, TopK, UpdateTally};
use super::data::codes::{CodeSet, ScanRequest, ScanTopK};
use super::data::lookup_tables::LookupTables;
use super::data::method::{Method, Shares};
use super::data::ranges::RowRanges;
use super::data::rows::RowSet;
use super::{Device, Engine, MAX_K, Pending, cpu, gpu};
use crate::error::{Error, Result};
use crate::factory::Metric;

impl Device {
    /// The nearest centroid of each row.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ or there are no centroids.
    pub fn nearest_centroid(&self, rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
        check_table(rows, table)?;
        match &self.engine {
            Engine::Cpu => cpu::nearest_centroid::nearest_centroid(rows, table),
            Engine::Gpu(gpu) => gpu::nearest_centroid::nearest_centroid(gpu, rows, table, None),
        }
    }

    /// The same by a method of the caller's choice, to measure or to test it; the CPU engine takes its own.
    ///
    /// # Errors
    /// As [`Device::nearest_centroid`], for a tile that is not in [`Tile::ALL`](super::Tile::ALL), and for sketches of
    /// centroids that are few, narrow, or have no directions in common.
    pub fn nearest_centroid_by(&self, rows: &Matrix, table: &CentroidTable, method: Method) -> Result<Assignment> {
        check_table(rows, table)?;
        match &self.engine {
            Engine::Cpu => cpu::nearest_centroid::nearest_centroid(rows, table),
            Engine::Gpu(gpu) => gpu::nearest_centroid::nearest_centroid(gpu, rows, table, Some(method)),
        }
    }

    /// How many centroids sketches leave to be compared with rows, over all rows: what [`Method::Sketches`] saves. `None`
    /// where centroids have no sketches, or these do not pay. The CPU engine takes its own `shares`.
    ///
    /// # Errors
    /// As [`Device::nearest_centroid`].
    pub fn comparisons(&self, rows: &Matrix, table: &CentroidTable, shares: Shares) -> Result<Option<u64>> {
        check_table(rows, table)?;
        match &self.engine {
            Engine::Cpu => cpu::nearest_centroid::comparisons(rows, table),
            Engine::Gpu(_) => {
                let count = |marks: Vec<u32>| marks.iter().map(|word| u64::from(word.count_ones())).sum();
                Ok(self.marks(rows, table, shares)?.map(count))
            }
        }
    }

    /// The centroids that sketches leave to be compared with each row on a GPU: a bit each, in whole words a row. `None` on
    /// the CPU engine, which compares as it goes, and where centroids have no sketches.
    pub(crate) fn marks(&self, rows: &Matrix, table: &CentroidTable, shares: Shares) -> Result<Option<Vec<u32>>> {
        match &self.engine {
            Engine::Cpu => Ok(None),
            Engine::Gpu(gpu) => gpu::nearest_centroid::marks(gpu, rows, table, shares),
        }
    }

    /// The `nprobe` nearest centroids of each row, nearest first: rows × nprobe, with [`TopK::NONE`] for a row of NaN.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ or nprobe is out of its range.
    pub fn nearest_probes(&self, rows: &Matrix, table: &CentroidTable, nprobe: usize) -> Result<Buffer<u32>> {
        let (mut probes, mut pending) = (Buffer::default(), Pending::default());
        self.nearest_probes_into(rows, table, nprobe, &mut probes, &mut pending)?;
        self.submit("nearest_probes", pending)?;
        Ok(probes)
    }

    /// The same into a buffer that is there, whose memory is used again, once what is pending was submitted.
    pub(crate) fn nearest_probes_into(
        &self,
        rows: &Matrix,
        table: &CentroidTable,
        nprobe: usize,
        probes: &mut Buffer<u32>,
        pending: &mut Pending,
    ) -> Result<()> {
        check_table(rows, table)?;
        if nprobe == 0 || nprobe > table.nlist() {
            return Err(Error::parameter("nprobe", nprobe, format!("choose 1 to {}", table.nlist())));
        }
        match &self.engine {
            Engine::Cpu => cpu::nearest_probes::nearest_probes(rows, table, nprobe, probes)?,
            // More than a workgroup can sort: rare enough for the host.
            Engine::Gpu(gpu) if nprobe > MAX_K => {
                let (keys, candidates) = gpu::nearest_probes::all_keys(gpu, rows, table, pending)?;
                let nlist = table.nlist();
                let segments: Vec<_> = (0..rows.rows).map(|row| ((row * nlist) as u32, nlist as u32)).collect();
                *probes = gpu.upload(&cpu::select_topk::select_topk(&keys, &candidates, &segments, nprobe).1)?;
            }
            Engine::Gpu(gpu) => *probes = gpu::nearest_probes::nearest_probes(gpu, rows, table, nprobe, pending)?,
        }
        Ok(())
    }

    /// Adds each row, its distance and a count of one to its centroid's sums. In one order on one device: the same
    /// input gives the same sums, bit for bit.
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ.
    pub fn centroid_update(&self, rows: &Matrix, nearest: &Assignment, sums: &mut ClusterSums) -> Result<()> {
        if nearest.nlist != sums.sums.rows {
            let found = format!("{} sums for labels of {} centroids", sums.sums.rows, nearest.nlist);
            return Err(Error::parameter("sums", found, "make as many sums as there are centroids"));
        }
        if rows.dim != sums.sums.dim || rows.rows != nearest.labels.len() || rows.rows != nearest.distances.len() {
            let found = format!("{} × {} with {} labels", rows.rows, rows.dim, nearest.labels.len());
            return Err(Error::parameter("rows", found, "pass the rows that the labels were found for"));
        }
        match &self.engine {
            Engine::Cpu => cpu::centroid_update::centroid_update(rows, nearest, sums),
            Engine::Gpu(gpu) => gpu::centroid_update::centroid_update(gpu, rows, nearest, sums),
        }
    }

    /// New centroids: the mean of each cluster's rows. An empty cluster takes half of a populous one, drawn by `seed` with
    /// a probability that grows with its size, one after the other: both take its centroid, nudged apart by 1/1024 (as in
    /// faiss's `split_clusters`), and one seed draws the same on every device. Where no cluster has two rows left an empty
    /// one keeps its `old` centroid. What happened is added to `tally`. For fewer than 2³² rows.
    ///
    /// The clusters are those of `groups` k-means side by side, as many of each, which do not take from each other.
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ, or the groups do not divide the clusters.
    pub fn centroid_means(
        &self,
        sums: ClusterSums,
        old: &Matrix,
        groups: usize,
        seed: u32,
        tally: &mut UpdateTally,
    ) -> Result<Matrix> {
        let (nlist, dim) = (sums.sums.rows, sums.sums.dim);
        if (nlist, dim) != (old.rows, old.dim) {
            let found = format!("{nlist} × {dim} for {} centroids of {}", old.rows, old.dim);
            return Err(Error::parameter("sums", found, "pass those of the same centroids"));
        }
        if !(1..=nlist).contains(&groups) || !nlist.is_multiple_of(groups) {
            return Err(Error::parameter("groups", groups, format!("choose a divisor of {nlist}")));
        }
        match &self.engine {
            Engine::Cpu => cpu::centroid_means::centroid_means(sums, old, groups, seed, tally),
            Engine::Gpu(gpu) => gpu::centroid_means::centroid_means(gpu, &sums, old, groups, seed, tally),
        }
    }

    /// [`Device::centroid_table`] of centroids that lie on the device. Where they moved since the table `before` was made,
    /// what takes long to find is taken over from it.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the shapes differ; [`Error::OutOfMemory`] where the device has no room.
    pub fn centroid_table_of(
        &self,
        centroids: Matrix,
        metric: Metric,
        before: Option<&CentroidTable>,
    ) -> Result<CentroidTable> {
        if let Some(Matrix { rows, dim, .. }) = before.map(|before| &before.centroids)
            && (*rows, *dim) != (centroids.rows, centroids.dim)
        {
            let found = format!("{} × {}", centroids.rows, centroids.dim);
            return Err(Error::parameter("centroids", found, format!("those before were {rows} × {dim}")));
        }
        match &self.engine {
            Engine::Cpu => cpu::centroid_table::centroid_table(centroids, metric, before),
            Engine::Gpu(gpu) => gpu::centroid_table::centroid_table(gpu, centroids, metric, before),
        }
    }

    /// The k nearest rows of each query among its ranges, nearest first, of equally near ones the lowest row first.
    /// Distances are exact: direct sums over d.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ, a range leaves the rows, or k is not 1 to [`MAX_K`].
    pub fn exact_topk(
        &self,
        queries: &Matrix,
        rows: &RowSet,
        ranges: &RowRanges,
        metric: Metric,
        k: usize,
    ) -> Result<TopK> {
        let (mut top, mut pending) = (TopK::default(), Pending::default());
        self.exact_topk_into((queries, rows), ranges, metric, k, &mut top, &mut pending)?;
        Ok(top)
    }

    /// The same into what is there, whose memory is used again. Submits what is pending, too.
    pub(crate) fn exact_topk_into(
        &self,
        (queries, rows): (&Matrix, &RowSet),
        ranges: &RowRanges,
        metric: Metric,
        k: usize,
        top: &mut TopK,
        pending: &mut Pending,
    ) -> Result<()> {
        check_k(k)?;
        if queries.dim != rows.dim {
            let found = format!("{} floats wide", queries.dim);
            return Err(Error::parameter("queries", found, format!("the rows have {}", rows.dim)));
        }
        if ranges.queries() != queries.rows || ranges.end() as usize > rows.rows {
            let found = format!("{} queries up to row {}", ranges.queries(), ranges.end());
            return Err(Error::parameter("ranges", found, format!("{} and {} are there", queries.rows, rows.rows)));
        }
        match &self.engine {
            Engine::Cpu => cpu::exact_topk::exact_topk(queries, rows, ranges, metric, k, top)?,
            Engine::Gpu(gpu) => *top = gpu::exact_topk::exact_topk(gpu, queries, rows, ranges, metric, k, pending)?,
        }
        Ok(())
    }

    /// The k best rows of each query by the sums of its u8 tables over their codes: smallest sum first for L2, largest
    /// first for inner product, of equal sums the lowest slot first. Sums are whole numbers in 32 bits, the same on
    /// every device, and never wrap.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the request is for other codes, or k is not 1 to [`MAX_K`].
    pub fn fast_scan(
        &self,
        codes: &CodeSet,
        tables: &LookupTables,
        request: &ScanRequest,
        metric: Metric,
        k: usize,
    ) -> Result<ScanTopK> {
        let (mut top, mut pending) = (ScanTopK::default(), Pending::default());
        self.fast_scan_into((codes, tables), request, metric, k, &mut top, &mut pending)?;
        Ok(top)
    }

    /// The same into what is there, whose memory is used again. Submits what is pending, too.
    pub(crate) fn fast_scan_into(
        &self,
        (codes, tables): (&CodeSet, &LookupTables),
        request: &ScanRequest,
        metric: Metric,
        k: usize,
        top: &mut ScanTopK,
        pending: &mut Pending,
    ) -> Result<()> {
        check_k(k)?;
        if tables.pairs != codes.pairs || request.ranges.end() as usize > codes.slots {
            let found = format!("{} pairs up to slot {}", tables.pairs, request.ranges.end());
            return Err(Error::parameter("request", found, format!("{} and {} are there", codes.pairs, codes.slots)));
        }
        let queries = request.ranges.queries();
        if queries != tables.queries || (queries > 0 && request.lists_a_query != tables.lists) {
            let found = format!("{queries} queries × {} lists", request.lists_a_query);
            let remedy = format!("there are tables for {} × {}", tables.queries, tables.lists);
            return Err(Error::parameter("request", found, remedy));
        }
        match &self.engine {
            Engine::Cpu => cpu::fast_scan::fast_scan(codes, tables, request, metric, k, top)?,
            Engine::Gpu(gpu) => *top = gpu::fast_scan::fast_scan(gpu, codes, tables, request, metric, k, pending)?,
        }
        Ok(())
    }

    /// Distances of each query to rows of its own choice: `candidates` are row numbers, as many for each query, and what
    /// comes back is one distance for each, ±`f32::MAX` for [`TopK::NONE`]. faiss's `compute_distance_subset`.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ, the candidates are not as many for each query, or name no row.
    pub fn distance_subset(
        &self,
        queries: &Matrix,
        rows: &RowSet,
        candidates: &[u32],
        metric: Metric,
    ) -> Result<Vec<f32>> {
        check_neighbors("queries", queries, rows, candidates)?;
        match &self.engine {
            Engine::Cpu => cpu::distance_subset::distance_subset(queries, rows, candidates, metric),
            Engine::Gpu(gpu) => gpu::distance_subset::distance_subset(gpu, queries, rows, candidates, metric),
        }
    }

    /// RVC's blend: each frame x becomes index_rate · Σ w·r + (1 − index_rate) · x over its neighbours r, as many row
    /// numbers for each frame, with weights w of (1 / score)^power that sum to 1. Scores are squared distances.
    ///
    /// A neighbour of score 0 or less takes all the weight, several share it; [`TopK::NONE`] and an infinite score count
    /// for nothing. A frame without a neighbour that counts, and one of NaN or infinity, stays as it is.
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ, a neighbour names no row, index_rate is not 0 to 1, or power is not above
    /// 0 and finite.
    pub fn blend(
        &self,
        frames: &Matrix,
        rows: &RowSet,
        neighbors: &[u32],
        scores: &[f32],
        index_rate: f32,
        power: f32,
    ) -> Result<BlendedRows> {
        check_neighbors("frames", frames, rows, neighbors)?;
        check_blend(index_rate, power)?;
        if scores.len() != neighbors.len() {
            let found = format!("{} for {} neighbours", scores.len(), neighbors.len());
            return Err(Error::parameter("scores", found, "pass one for each"));
        }
        match &self.engine {
            Engine::Cpu => cpu::blend::blend(frames, rows, neighbors, scores, (index_rate, power)),
            Engine::Gpu(gpu) => gpu::blend::blend(gpu, frames, rows, neighbors, scores, (index_rate, power)),
        }
    }

    /// Rows scaled to unit length; zero rows stay zero, and rows of NaN or infinity still have some.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn l2_normalize(&self, rows: &Matrix) -> Result<Matrix> {
        match &self.engine {
            Engine::Cpu => cpu::l2_normalize::l2_normalize(rows),
            Engine::Gpu(gpu) => gpu::l2_normalize::l2_normalize(gpu, rows, &mut gpu.submitting()),
        }
    }

    /// The k smallest keys of each segment of `keys`, smallest first, of equal keys the lower candidate first. A
    /// segment is a (start, length); `candidates` numbers the keys. Segments × k each of keys and candidates; places
    /// past a short segment hold `f32::MAX` and [`TopK::NONE`].
    ///
    /// # Errors
    /// [`Error::Parameter`] where a segment leaves the keys, or k is not 1 to [`MAX_K`].
    pub fn select_topk(
        &self,
        keys: &[f32],
        candidates: &[u32],
        segments: &[(u32, u32)],
        k: usize,
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        check_k(k)?;
        let end = segments.iter().map(|s| u64::from(s.0) + u64::from(s.1)).max().unwrap_or(0);
        if end > keys.len().min(candidates.len()) as u64 {
            return Err(Error::parameter(
                "segments",
                format!("end at {end}"),
                format!("{} keys are there", keys.len()),
            ));
        }
        match &self.engine {
            Engine::Cpu => Ok(cpu::select_topk::select_topk(keys, candidates, segments, k)),
            Engine::Gpu(gpu) => gpu::select_topk::select_topk(gpu, keys, candidates, segments, k),
        }
    }
}

fn check_table(rows: &Matrix, table: &CentroidTable) -> Result<()> {
    if rows.dim != table.centroids.dim {
        let found = format!("{} floats wide", rows.dim);
        return Err(Error::parameter("rows", found, format!("the centroids have {}", table.centroids.dim)));
    }
    if table.nlist() == 0 {
        return Err(Error::parameter("nlist", 0, "train at least one centroid"));
    }
    Ok(())
}

/// Fails for a k that no search takes.
pub(crate) fn check_k(k: usize) -> Result<()> {
    if k == 0 || k > MAX_K {
        return Err(Error::parameter("k", k, format!("choose 1 to {MAX_K}")));
    }
    Ok(())
}

/// Checks that row numbers are as many for each query or frame, and name rows.
fn check_neighbors(name: &'static str, queries: &Matrix, rows: &RowSet, neighbors: &[u32]) -> Result<()> {
    if queries.dim != rows.dim {
        let found = format!("{} floats wide", queries.dim);
        return Err(Error::parameter(name, found, format!("the rows have {}", rows.dim)));
    }
    if neighbors.len().checked_rem(queries.rows).unwrap_or(neighbors.len()) != 0 {
        let found = format!("{} for {} {name}", neighbors.len(), queries.rows);
        return Err(Error::parameter("candidates", found, "pass as many for each"));
    }
    match neighbors.iter().find(|&&row| row != TopK::NONE && row as usize >= rows.rows) {
        Some(row) => Err(Error::parameter("candidates", row, format!("there are {} rows", rows.rows))),
        None => Ok(()),
    }
}

/// Checks what frames are blended with.
pub(crate) fn check_blend(index_rate: f32, power: f32) -> Result<()> {
    if !(0.0..=1.0).contains(&index_rate) {
        return Err(Error::parameter("index_rate", index_rate, "choose 0 to 1"));
    }
    if !(power > 0.0 && power.is_finite()) {
        return Err(Error::parameter("power", power, "choose a number above 0; RVC has 2"));
    }
    Ok(())
}
