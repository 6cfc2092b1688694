//! Where it runs: a device and the stages that every device offers.
//!
//! A [`Device`] is the CPU engine or a GPU. The algorithms of this crate string its stages together and never ask
//! which of the two it is. Stages take and return arrays that lie on the device ([`Buffer`], [`Matrix`]); each exists
//! as a WGSL kernel in `shaders/`, a launcher in `gpu/` and a CPU twin in `cpu/` under one name.

mod adapter_order;
mod buffer;
mod codes;
mod cpu;
mod device_type;
mod gpu;
mod listing;
mod lookup_tables;
mod method;
pub(crate) mod plan;
mod pool;
mod pq;
mod ranges;
mod rows;
mod stages;

use std::borrow::Cow;
use std::sync::Arc;

pub use buffer::{Assignment, Buffer, CentroidTable, ClusterSums, HostSums, HostTally, Matrix, TopK, UpdateTally};
use bytemuck::Pod;
pub use codes::{BLOCK_ROWS, CodeSet, ScanRequest, ScanTopK};
pub use device_type::DeviceType;
pub use gpu::{Binding, GpuKernel, Tile, kernels as gpu_kernels, required_features, required_limits};
pub use listing::{Choice, DeviceInfo, list};
pub use lookup_tables::{LookupTables, Probes};
pub use method::{Method, Shares};
pub use plan::BatchPlan;
pub use pq::{CENTROIDS as PQ_CENTROIDS, Codebooks, flat_codes};
pub use ranges::RowRanges;
pub use rows::{RowFormat, RowSet};
pub use stages::{BlendOutcome, BlendedRows};

pub(crate) use cpu::blend::Neighborhood;
pub(crate) use cpu::exact_topk::ENOUGH;
pub(crate) use cpu::simd::arch;
pub(crate) use cpu::weighted_sum::WeightedSum;
#[cfg(test)]
pub(crate) use gpu::broken;
pub(crate) use gpu::{Live, LiveCodes, Pending, Recording};
pub(crate) use ranges::ListPlaces;
pub(crate) use stages::{check_blend, check_k};

use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::memory;

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

    /// A host's own device of wgpu 30, the version that this crate re-exports as [`wgpu`], so that its buffers and ours live
    /// together. The host made it with at least [`required_features`] and [`required_limits`]. Its matrix units are not
    /// used: which they are an adapter says, not a device.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] names the limit that is missing.
    pub fn from_wgpu(adapter: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let info = DeviceInfo::gpu(adapter, &device.limits(), device.features());
        let gpu = gpu::Gpu::new(device, queue, None)?;
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

    /// The shares that this device can multiply sketches by: halves only where it has matrix units. The CPU engine takes
    /// its own whatever it is asked for.
    pub fn shares(&self) -> &'static [Shares] {
        match &self.engine {
            Engine::Cpu => &Shares::PORTABLE,
            Engine::Gpu(gpu) => gpu.shares(),
        }
    }

    /// The tile by which this GPU assigns rows fastest: as it was measured before, else measured now in some
    /// milliseconds, which the first large assignment would do otherwise. It is kept in the user's cache folder, or in
    /// the one that `RVC_GPU_INDEX_CACHE` names (`off` keeps nothing). `None` for the CPU engine, and for a GPU that was
    /// lost or has no memory left.
    pub fn tune(&self) -> Option<Tile> {
        match &self.engine {
            Engine::Cpu => None,
            Engine::Gpu(gpu) => gpu.tune().ok(),
        }
    }

    /// Kernels that this device's driver refused up to now, with its words, a line each. Where a stage has another variant
    /// of a kernel (another tile, another method), that one was used, and nothing failed.
    pub fn refused(&self) -> Vec<String> {
        match &self.engine {
            Engine::Cpu => Vec::new(),
            Engine::Gpu(gpu) => gpu.refused(),
        }
    }

    /// How many rows should go to this device at a time in passes that assign them to `nlist` centroids.
    pub fn batch_plan(&self, rows: usize, dim: usize, nlist: usize, requested: Option<usize>) -> BatchPlan {
        let max_binding = match &self.engine {
            Engine::Cpu => u64::MAX,
            Engine::Gpu(gpu) => gpu.max_binding(),
        };
        BatchPlan::new(rows, dim, nlist, requested, max_binding, plan::max_resident(self.info.device_type))
    }
}

/// Recording.
impl Device {
    /// Prepares calls that search all rows and blend with what they find.
    pub(crate) fn record(&self, live: &Live<'_>) -> Result<Recording> {
        match &self.engine {
            Engine::Cpu => Err(Error::parameter("device", "the CPU engine", "pass a GPU: a recording is played there")),
            Engine::Gpu(gpu) => Recording::new(gpu, live),
        }
    }
}

/// What is copied to the CPU engine.
const ROWS: &str = "rows on the CPU engine";

/// Moving data.
impl Device {
    /// Copies rows (row-major, a whole number of `dim` floats) to the device.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] and [`Error::OutOfMemory`] where the device has no room.
    pub fn upload(&self, rows: &[f32], dim: usize) -> Result<Matrix> {
        let count = checked_rows(rows.len(), dim)?;
        match &self.engine {
            Engine::Cpu => Ok(Matrix::new(Buffer::on_host(memory::copied(rows, ROWS)?), count, dim, dim)),
            Engine::Gpu(gpu) => gpu.upload_matrix(rows, count, dim),
        }
    }

    /// The same into a matrix that is there, whose memory is used again on the CPU engine.
    pub(crate) fn upload_into(&self, rows: &[f32], dim: usize, matrix: &mut Matrix) -> Result<()> {
        if !self.is_cpu() {
            *matrix = self.upload(rows, dim)?;
            return Ok(());
        }
        matrix.renew(rows, checked_rows(rows.len(), dim)?, dim);
        Ok(())
    }

    /// Copies an array to the device.
    pub(crate) fn upload_values<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        match &self.engine {
            Engine::Cpu => Ok(Buffer::on_host(memory::copied(values, "values of a stage")?)),
            Engine::Gpu(gpu) => gpu.upload(values),
        }
    }

    /// Submits steps that nothing is read back of.
    fn submit(&self, label: &'static str, mut pending: Pending) -> Result<()> {
        match &self.engine {
            Engine::Cpu => Ok(()),
            Engine::Gpu(gpu) => pending.submit(gpu, label),
        }
    }

    /// Submissions to a GPU up to now.
    #[cfg(test)]
    pub(crate) fn submissions(&self) -> usize {
        match &self.engine {
            Engine::Cpu => 0,
            Engine::Gpu(gpu) => gpu.submissions.load(std::sync::atomic::Ordering::Relaxed),
        }
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
            Engine::Cpu => memory::copied(buffer.host("download")?, "values of a stage"),
            Engine::Gpu(gpu) => gpu.download(buffer.gpu(gpu, "download")?, buffer.len()),
        }
    }

    /// The values of an array: those on the host as they are, those of a GPU read back.
    pub(crate) fn view<'a, T: Pod>(&self, buffer: &'a Buffer<T>) -> Result<Cow<'a, [T]>> {
        match &self.engine {
            Engine::Cpu => buffer.host("view").map(Cow::Borrowed),
            Engine::Gpu(_) => self.download(buffer).map(Cow::Owned),
        }
    }

    /// Reads cluster sums back.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_sums(&self, sums: &ClusterSums) -> Result<HostSums> {
        let rows = self.download_matrix(&sums.sums)?;
        Ok(HostSums { sums: rows, counts: self.download(&sums.counts)?, costs: self.download(&sums.costs)? })
    }

    /// Reads a table's centroids back, as they were given.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_centroids(&self, table: &CentroidTable) -> Result<Vec<f32>> {
        self.download_matrix(&table.centroids)
    }

    /// Reads a matrix back, row-major.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_matrix(&self, rows: &Matrix) -> Result<Vec<f32>> {
        Ok(rows.without_padding(self.download(&rows.data)?))
    }

    /// Cluster sums of zero.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn cluster_sums(&self, nlist: usize, dim: usize) -> Result<ClusterSums> {
        let stride = if self.is_cpu() { dim } else { gpu::stride_of(dim) };
        let sums = Matrix::new(self.zeros(nlist * stride)?, nlist, dim, stride);
        Ok(ClusterSums { sums, counts: self.zeros(nlist)?, costs: self.zeros(nlist)? })
    }

    /// A tally of nothing, for [`Device::centroid_means`].
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn update_tally(&self) -> Result<UpdateTally> {
        Ok(UpdateTally { words: self.zeros(2)? })
    }

    /// Reads a tally back.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_tally(&self, tally: &UpdateTally) -> Result<HostTally> {
        let words = self.view(&tally.words)?;
        Ok(HostTally { splits: words[0] as usize, overflowed: words[1] != 0 })
    }

    fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        match &self.engine {
            Engine::Cpu => Ok(Buffer::on_host(memory::zeros(len, "sums and centroids")?)),
            Engine::Gpu(gpu) => gpu.zeros(len),
        }
    }

    /// Labels that were found before, all below `nlist`, without distances.
    pub(crate) fn assignment(&self, labels: &[u32], nlist: usize) -> Result<Assignment> {
        Ok(Assignment { labels: self.upload_values(labels)?, distances: self.upload_values(&[])?, nlist })
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
        self.centroid_table_of(self.upload(centroids, dim)?, metric, None)
    }
}

/// Squared distance (L2) or inner product of two vectors, as a direct sum with the machine's SIMD.
pub(crate) fn exact_distance(metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    arch().dispatch(cpu::distance::Distance { metric, x, y })
}

fn checked_rows(floats: usize, dim: usize) -> Result<usize> {
    // Whatever is computed on a device has come through here.
    pool::ready()?;
    if dim == 0 || !floats.is_multiple_of(dim) {
        return Err(Error::parameter("dim", dim, format!("{floats} floats are not a whole number of such rows")));
    }
    Ok(floats / dim)
}
