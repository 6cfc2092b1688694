//! Where it runs: a device and the stages that every device offers.
//!
//! A [`Device`] is the CPU engine or a GPU. The algorithms of this crate string its stages together and never ask
//! which of the two it is. Stages take and return arrays that lie on the device ([`Buffer`], [`Matrix`]); each exists
//! as a WGSL kernel in `shaders/`, a launcher in `gpu/` and a CPU twin in `cpu/` under one name.

mod buffer;
mod codes;
mod cpu;
mod gpu;
mod listing;
mod lookup_tables;
mod plan;
mod pq;
mod ranges;

use std::sync::Arc;

use bytemuck::Pod;

pub use buffer::{Assignment, Buffer, CentroidTable, ClusterSums, HostSums, Matrix, RowSet, TopK};
pub use codes::{BLOCK_ROWS, CodeSet, ScanRequest, ScanTopK};
pub use gpu::{GpuKernel, kernels as gpu_kernels, required_features, required_limits};
pub use listing::{Choice, DeviceInfo, DeviceType, list};
pub use lookup_tables::{LookupTables, Probes};
pub use plan::BatchPlan;
pub use pq::{CENTROIDS as PQ_CENTROIDS, Codebooks, flat_codes};
pub use ranges::RowRanges;

use crate::error::{Error, Result};
use crate::factory::Metric;

/// The greatest k of a search: what a GPU's smallest workgroup memory holds.
pub const MAX_K: usize = 1024;

/// A device that computes: cheap to clone, usable from several threads.
#[derive(Clone, Debug)]
pub struct Device {
    engine: Engine,
    info: Arc<DeviceInfo>,
}

#[derive(Clone, Debug)]
enum Engine {
    Cpu,
    Gpu(Arc<gpu::Gpu>),
}

/// Making devices.
impl Device {
    /// The best device here: a discrete GPU, else an integrated one, else the CPU engine. Software drivers and OpenGL
    /// are taken only when named.
    pub fn auto() -> Self {
        listing::auto()
    }

    /// The CPU engine: all cores, with the widest SIMD this machine has.
    pub fn cpu() -> Self {
        Self { engine: Engine::Cpu, info: Arc::new(DeviceInfo::cpu()) }
    }

    /// A GPU by selector: `gpu` (the best one), `gpu:N`, or part of a name or backend.
    ///
    /// # Errors
    /// [`Error::NoDevice`] lists what is there; a GPU that lacks what the stages need is refused with the limit.
    pub fn gpu(selector: &str) -> Result<Self> {
        listing::gpu(selector)
    }

    /// Any device by selector: `auto`, `cpu`, or what [`Device::gpu`] takes.
    ///
    /// # Errors
    /// As [`Device::gpu`].
    pub fn select(selector: &str) -> Result<Self> {
        match selector.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::auto()),
            "cpu" => Ok(Self::cpu()),
            _ => Self::gpu(selector),
        }
    }

    /// A host's own wgpu device, so that its buffers and ours live together. The host made it with at least
    /// [`required_features`] and [`required_limits`].
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] names the limit that is missing.
    pub fn from_wgpu(adapter: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let info = DeviceInfo::gpu(adapter, &device.limits(), device.features());
        let gpu = gpu::Gpu::new(device, queue)?;
        Ok(Self { engine: Engine::Gpu(Arc::new(gpu)), info: Arc::new(info) })
    }

    /// Name, backend, driver and limits.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// True for the CPU engine.
    pub fn is_cpu(&self) -> bool {
        matches!(self.engine, Engine::Cpu)
    }

    /// How many rows should go to this device at a time in passes that assign them to `nlist` centroids.
    pub fn batch_plan(&self, rows: usize, dim: usize, nlist: usize, requested: Option<usize>) -> BatchPlan {
        let max_binding = match &self.engine {
            Engine::Cpu => u64::MAX,
            Engine::Gpu(gpu) => gpu.max_binding(),
        };
        BatchPlan::new(rows, dim, nlist, requested, max_binding)
    }
}

/// Moving data.
impl Device {
    /// Copies rows (row-major, a whole number of `dim` floats) to the device.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] and [`Error::OutOfMemory`] where the device has no room.
    pub fn upload(&self, rows: &[f32], dim: usize) -> Result<Matrix> {
        let count = checked_rows(rows.len(), dim)?;
        match &self.engine {
            Engine::Cpu => Ok(Matrix { data: Buffer::on_host(rows.to_vec()), rows: count, dim, stride: dim }),
            Engine::Gpu(gpu) => gpu.upload_matrix(rows, count, dim),
        }
    }

    /// Makes rows resident for [`Device::exact_topk`]. The CPU engine shares the vector, a GPU gets a copy, spread over
    /// several buffers where one is too small.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room; [`Error::Parameter`] from 2³²−1 rows on.
    pub fn row_set(&self, rows: &Arc<Vec<f32>>, dim: usize) -> Result<RowSet> {
        let count = checked_rows(rows.len(), dim)?;
        if count >= TopK::NONE as usize {
            return Err(Error::parameter("rows", count, "search fewer than 4,294,967,295 rows at a time"));
        }
        let parts = match &self.engine {
            Engine::Cpu => vec![Matrix { data: Buffer::on_host(rows.clone()), rows: count, dim, stride: dim }],
            Engine::Gpu(gpu) => {
                let part_rows = (gpu.max_binding() as usize / (4 * gpu::stride_of(dim))).max(1);
                rows.chunks(part_rows * dim).map(|part| self.upload(part, dim)).collect::<Result<_>>()?
            }
        };
        Ok(RowSet { parts, rows: count, dim })
    }

    /// Makes 4-bit codes of `m` sub-quantizers resident for [`Device::fast_scan`]. `blocks` are faiss's blocks of 32 rows,
    /// 32 · ceil(m / 2) bytes each. The CPU engine shares the vector, a GPU gets a copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room; [`Error::Parameter`] for bytes that are no whole blocks.
    pub fn code_set(&self, blocks: &Arc<Vec<u8>>, m: usize) -> Result<CodeSet> {
        let pairs = m.div_ceil(2);
        let block_bytes = pairs * codes::BLOCK_ROWS;
        let slots = blocks.len() / block_bytes.max(1) * codes::BLOCK_ROWS;
        if m == 0 || !blocks.len().is_multiple_of(block_bytes) || slots >= TopK::NONE as usize {
            let remedy = format!("blocks for m = {m} have {block_bytes} bytes, and fewer than 2³² rows");
            return Err(Error::parameter("codes", format!("{} bytes", blocks.len()), remedy));
        }
        let parts = match &self.engine {
            Engine::Cpu => codes::CodeParts::Host(Buffer::on_host(blocks.clone())),
            Engine::Gpu(gpu) => gpu::fast_scan::upload_codes(gpu, blocks, block_bytes)?,
        };
        Ok(CodeSet { parts, slots, pairs })
    }

    /// Reads an array back.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and its like; [`Error::ForeignBuffer`] for another device's buffer.
    pub fn download<T: Pod>(&self, buffer: &Buffer<T>) -> Result<Vec<T>> {
        match &self.engine {
            Engine::Cpu => Ok(buffer.host("download")?.to_vec()),
            Engine::Gpu(gpu) => gpu.download(buffer.gpu(gpu, "download")?, buffer.len()),
        }
    }

    /// Reads cluster sums back.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_sums(&self, sums: &ClusterSums) -> Result<HostSums> {
        let rows = self.download_rows(&sums.sums)?;
        Ok(HostSums { sums: rows, counts: self.download(&sums.counts)?, costs: self.download(&sums.costs)? })
    }

    /// Reads a table's centroids back, as they were given.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_centroids(&self, table: &CentroidTable) -> Result<Vec<f32>> {
        self.download_rows(&table.centroids)
    }

    /// Row-major and without padding.
    fn download_rows(&self, rows: &Matrix) -> Result<Vec<f32>> {
        let padded = self.download(&rows.data)?;
        if rows.stride == rows.dim {
            return Ok(padded);
        }
        Ok(padded.chunks_exact(rows.stride).flat_map(|row| &row[..rows.dim]).copied().collect())
    }

    /// Cluster sums of zero.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn cluster_sums(&self, nlist: usize, dim: usize) -> Result<ClusterSums> {
        let (stride, data, counts, costs) = match &self.engine {
            Engine::Cpu => {
                let zeros = |len: usize| Buffer::on_host(vec![0.0; len]);
                (dim, zeros(nlist * dim), Buffer::on_host(vec![0; nlist]), zeros(nlist))
            }
            Engine::Gpu(gpu) => {
                let stride = gpu::stride_of(dim);
                (stride, gpu.zeros(nlist * stride)?, gpu.zeros(nlist)?, gpu.zeros(nlist)?)
            }
        };
        Ok(ClusterSums { sums: Matrix { data, rows: nlist, dim, stride }, counts, costs })
    }

    /// Makes centroids (row-major, nlist × `dim`) ready for comparing rows with them.
    ///
    /// The nearest centroid of x is the one with the largest x·c' + b. For L2, c' = c − μ with the centroids' mean μ and
    /// b = −(½‖c'‖² + μ·c'), which orders centroids as −½‖x − c‖² does; shifting by μ keeps the products small, so less
    /// is lost to rounding. For inner product c' = c and b = 0.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn centroid_table(&self, centroids: &[f32], dim: usize, metric: Metric) -> Result<CentroidTable> {
        let nlist = checked_rows(centroids.len(), dim)?;
        let mut mean = vec![0.0f64; dim];
        if metric == Metric::L2 {
            for centroid in centroids.chunks_exact(dim) {
                mean.iter_mut().zip(centroid).for_each(|(m, &c)| *m += f64::from(c) / nlist as f64);
            }
        }
        let mut shifted = Vec::with_capacity(centroids.len());
        let mut bias = Vec::with_capacity(nlist);
        for centroid in centroids.chunks_exact(dim) {
            let mut half_norm_and_dot = 0.0;
            for (&c, &m) in centroid.iter().zip(&mean) {
                let s = (f64::from(c) - m) as f32;
                shifted.push(s);
                half_norm_and_dot += f64::from(s) * (0.5 * f64::from(s) + m);
            }
            bias.push(if metric == Metric::L2 { -half_norm_and_dot as f32 } else { 0.0 });
        }
        let (shifted, bias) = match &self.engine {
            Engine::Cpu => {
                let data = Buffer::on_host(cpu::scores::panels(&shifted, dim));
                bias.resize(nlist.next_multiple_of(cpu::scores::PANEL), f32::NEG_INFINITY);
                (Matrix { data, rows: nlist, dim, stride: dim }, Buffer::on_host(bias))
            }
            Engine::Gpu(gpu) => (gpu.upload_matrix(&shifted, nlist, dim)?, gpu.upload(&bias)?),
        };
        Ok(CentroidTable { centroids: self.upload(centroids, dim)?, shifted, bias, metric })
    }
}

/// The stages.
impl Device {
    /// The nearest centroid of each row.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ or there are no centroids.
    pub fn nearest_centroid(&self, rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
        check_table(rows, table)?;
        match &self.engine {
            Engine::Cpu => cpu::nearest_centroid::nearest_centroid(rows, table),
            Engine::Gpu(gpu) => gpu::nearest_centroid::nearest_centroid(gpu, rows, table),
        }
    }

    /// The `nprobe` nearest centroids of each row, nearest first: rows × nprobe, with [`TopK::NONE`] for a row of NaN.
    ///
    /// # Errors
    /// [`Error::Parameter`] where widths differ or nprobe is out of its range.
    pub fn nearest_probes(&self, rows: &Matrix, table: &CentroidTable, nprobe: usize) -> Result<Buffer<u32>> {
        check_table(rows, table)?;
        if nprobe == 0 || nprobe > table.nlist() {
            return Err(Error::parameter("nprobe", nprobe, format!("choose 1 to {}", table.nlist())));
        }
        match &self.engine {
            Engine::Cpu => cpu::nearest_probes::nearest_probes(rows, table, nprobe),
            Engine::Gpu(gpu) => gpu::nearest_probes::nearest_probes(gpu, rows, table, nprobe),
        }
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
            Engine::Cpu => cpu::exact_topk::exact_topk(queries, rows, ranges, metric, k),
            Engine::Gpu(gpu) => gpu::exact_topk::exact_topk(gpu, queries, rows, ranges, metric, k),
        }
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
            Engine::Cpu => cpu::fast_scan::fast_scan(codes, tables, request, metric, k),
            Engine::Gpu(gpu) => gpu::fast_scan::fast_scan(gpu, codes, tables, request, metric, k),
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

/// Squared distance (L2) or inner product of two vectors, as a direct sum with the machine's SIMD.
pub(crate) fn exact_distance(metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(cpu::distance::Distance { metric, x, y })
}

fn checked_rows(floats: usize, dim: usize) -> Result<usize> {
    if dim == 0 || !floats.is_multiple_of(dim) {
        return Err(Error::parameter("dim", dim, format!("{floats} floats are not a whole number of such rows")));
    }
    Ok(floats / dim)
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

fn check_k(k: usize) -> Result<()> {
    if k == 0 || k > MAX_K {
        return Err(Error::parameter("k", k, format!("choose 1 to {MAX_K}")));
    }
    Ok(())
}
