//! Where it runs: a device and the stages that every device offers.
//!
//! A [`Device`] is the CPU engine or a GPU. The algorithms of this crate string its stages together and never ask
//! which of the two it is. Stages take and return arrays that lie on the device ([`Buffer`], [`Matrix`]); each exists
//! as a WGSL kernel in `shaders/`, a launcher in `gpu/` and a CPU twin in `cpu/` under one name.

mod adapter_order;
mod cpu;
mod data;
mod device_type;
mod gpu;
mod listing;
pub(crate) mod plan;
mod pool;
mod projection;
mod simd;
mod stages;

use std::sync::Arc;

pub use data::blend::{BlendOutcome, BlendedRows};
pub use data::buffer::{
    Assignment, Buffer, CentroidTable, ClusterSums, HostSums, HostTally, Matrix, TopK, UpdateTally,
};
pub use data::codes::{BLOCK_ROWS, CodeSet, ScanRequest, ScanTopK};
pub use data::lookup_tables::{LookupTables, Probes};
pub use data::method::{Method, Shares, Tile};
pub use data::pq::{CENTROIDS as PQ_CENTROIDS, Codebooks, flat_codes};
pub use data::ranges::RowRanges;
pub use data::rows::{RowFormat, RowSet};
pub use device_type::DeviceType;
pub use gpu::{Binding, GpuKernel, kernels as gpu_kernels, required_features, required_limits};
pub use listing::{Choice, DeviceInfo, list};
pub use plan::BatchPlan;

pub(crate) use cpu::blend::Neighborhood;
pub(crate) use cpu::exact_topk::ENOUGH;
pub(crate) use data::ranges::ListPlaces;
#[cfg(test)]
pub(crate) use gpu::broken;
pub(crate) use gpu::{Live, LiveCodes, Pending, Recording};
pub(crate) use simd::arch;
pub(crate) use simd::distance::exact_distance;
pub(crate) use simd::weighted_sum::WeightedSum;
pub(crate) use stages::{check_blend, check_k};

use crate::error::{Error, Result};

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
            Engine::Gpu(gpu) => gpu::nearest_centroid::tune(gpu).ok(),
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
