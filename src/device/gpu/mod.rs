//! The GPU engine: wgpu buffers, submission and readback in one place, and a launcher a stage.
//!
//! Launchers make steps, which go through [`Gpu::run`] at once or wait in [`Pending`]; nothing waits for the GPU but what
//! is read back and the brake in [`Gpu::run`] that keeps at most two submissions in flight.

mod autotune;
mod cache;
mod candidates;
mod kernel;
mod pending;
mod pipeline_cache;
mod pipelines;
mod recording;
pub(super) mod rows;
mod stopwatch;
mod tasks;
mod tiles;

pub(super) mod blend;
pub(super) mod bounds;
pub(super) mod centroid_means;
pub(super) mod centroid_table;
pub(super) mod centroid_update;
pub(super) mod codebooks;
pub(super) mod compare;
pub(super) mod distance_subset;
pub(super) mod exact_topk;
pub(super) mod fast_scan;
pub(super) mod l2_normalize;
pub(super) mod list_ranges;
pub(super) mod lookup_tables;
pub(super) mod matrices;
pub(super) mod nearest_centroid;
pub(super) mod nearest_probes;
pub(super) mod pq_encode;
pub(super) mod pq_update;
pub(super) mod select_topk;
pub(super) mod sketch;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(super) use autotune::Tuned;
use bytemuck::Pod;
use cache::Cache;
pub(super) use kernel::UPDATE_BLOCK;
pub use kernel::{Binding, GpuKernel, kernels};
use matrices::Matrices;
pub(crate) use pending::Pending;
use pipeline_cache::PipelineCache;
pub(crate) use pipelines::Step;
#[cfg(test)]
pub(crate) use pipelines::broken;
pub(crate) use recording::{Live, LiveCodes, Recording};

use super::data::buffer::{Buffer, GpuId, Matrix};
use super::data::method::{Shares, Tile};
use crate::error::{Error, Result};

/// Submissions that may wait on the GPU while the host prepares the next.
const IN_FLIGHT: usize = 2;

/// Features a host's device must have: none.
pub fn required_features() -> wgpu::Features {
    wgpu::Features::empty()
}

/// Limits a host's device must reach: WebGPU's defaults. Larger buffers and bindings are used where they are granted.
pub fn required_limits() -> wgpu::Limits {
    wgpu::Limits::defaults()
}

/// What our own devices are asked for where it is there: a clock to measure tiles by, and their compiled pipelines.
pub(super) fn useful_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE
}

/// Floats that a row of `dim` takes in a GPU buffer: whole vec4s.
pub(crate) fn stride_of(dim: usize) -> usize {
    dim.next_multiple_of(4)
}

/// A wgpu device with the kernels compiled for it.
#[derive(Debug)]
pub(crate) struct Gpu {
    id: GpuId,
    /// Asks the device for its pipelines when it is dropped, so it stands before it.
    pipelines: OnceLock<Option<PipelineCache>>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    matrices: Option<Matrices>,
    stages: Stages,
    refusals: pipelines::Refusals,
    cache: Cache,
    tuned: Tuned,
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    /// Submissions up to now.
    #[cfg(test)]
    pub submissions: std::sync::atomic::AtomicUsize,
    lost: Arc<OnceLock<String>>,
}

/// Each stage is compiled when it is first used.
#[derive(Debug, Default)]
struct Stages {
    nearest_centroid: [[Lazy<nearest_centroid::NearestCentroid>; Tile::ALL.len()]; 2],
    sketch: [Lazy<sketch::Sketch>; 2],
    bounds: [[[Lazy<bounds::Bounds>; Tile::ALL.len()]; 2]; 2],
    bounds_of_halves: [Lazy<bounds::Bounds>; 2],
    compare: Lazy<compare::Compare>,
    nearest_probes: [Lazy<nearest_probes::NearestProbes>; 2],
    centroid_update: Lazy<centroid_update::CentroidUpdate>,
    centroid_means: [Lazy<centroid_means::CentroidMeans>; 2],
    centroid_table: Lazy<centroid_table::MakeTable>,
    exact_topk: RowVariants<exact_topk::ExactTopk>,
    distance_subset: RowVariants<distance_subset::DistanceSubset>,
    list_ranges: Lazy<list_ranges::ListRanges>,
    lookup_tables: Lazy<lookup_tables::MakeTables>,
    fast_scan: Lazy<fast_scan::FastScan>,
    select_topk: Lazy<select_topk::SelectTopk>,
    codebooks: Lazy<codebooks::MakeCodebooks>,
    pq_encode: Lazy<pq_encode::PqEncode>,
    pq_encode_residual: Lazy<pq_encode::PqEncode>,
    pq_update: Lazy<pq_update::PqUpdate>,
    l2_normalize: Lazy<l2_normalize::L2Normalize>,
    blend: [Lazy<blend::Blend>; 2],
}

/// A stage by metric and by how its rows are kept.
type RowVariants<T> = [[Lazy<T>; 2]; 2];

#[derive(Debug)]
struct Lazy<T>(OnceLock<T>);

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Lazy<T> {
    fn get_or_make(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let made = make()?;
        Ok(self.0.get_or_init(|| made))
    }
}

impl Gpu {
    /// Takes over a device, with the matrix units that it was made with; checks that it has what every kernel needs.
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, matrices: Option<Matrices>) -> Result<Self> {
        let limits = device.limits();
        check_limits(&limits)?;
        let cache = Cache::of(&device.adapter_info());
        let tuned = Tuned::kept(&cache);
        let (pipelines, stages, refusals, in_flight, lost) = Default::default();
        Ok(Self {
            id: GpuId::new(),
            pipelines,
            device,
            queue,
            limits,
            matrices,
            stages,
            refusals,
            cache,
            tuned,
            in_flight,
            #[cfg(test)]
            submissions: Default::default(),
            lost,
        })
    }

    /// Has the device report here. For a device of our own only: a host keeps its handlers.
    pub fn watch(&self) {
        let report = self.lost.clone();
        self.device.set_device_lost_callback(move |reason, message| {
            let _ = report.set(format!("{reason:?}: {message}"));
        });
        // Errors are caught by the scopes of `guarded`; what comes later than those shows as a lost device or a failed
        // readback. Without a handler wgpu would panic.
        self.device.on_uncaptured_error(Arc::new(|_| {}));
    }

    /// The shares that sketches can be multiplied by.
    pub fn shares(&self) -> &'static [Shares] {
        if self.matrices.is_some() { &Shares::ALL } else { &Shares::PORTABLE }
    }

    /// Kernels that the driver refused, in whose place others are used.
    pub fn refused(&self) -> Vec<String> {
        self.refusals.lines()
    }

    pub fn id(&self) -> GpuId {
        self.id
    }

    /// Bytes of the largest buffer that a kernel can bind.
    pub fn max_binding(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size)
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        let have = self.max_binding();
        if bytes > have {
            return Err(Error::LimitTooSmall { limit: "max_storage_buffer_binding_size", need: bytes, have });
        }
        Ok(())
    }

    /// Copies values into a new buffer; an empty slice makes a buffer of one zero, since nothing smaller can be bound.
    pub fn upload<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        Ok(Buffer::on_gpu(self.upload_bytes(bytemuck::cast_slice(values))?, self.id, values.len()))
    }

    /// Copies a matrix, its rows padded to whole vec4s.
    pub fn upload_matrix(&self, rows: &[f32], count: usize, dim: usize) -> Result<Matrix> {
        Ok(Matrix::new(self.upload(&padded(rows, dim))?, count, dim, stride_of(dim)))
    }

    fn upload_bytes(&self, bytes: &[u8]) -> Result<wgpu::Buffer> {
        self.check_size(bytes.len() as u64)?;
        self.filled("upload", if bytes.is_empty() { &[0; 16] } else { bytes }, STORAGE)
    }

    /// A new buffer that holds `bytes`, whole words of them.
    fn filled(&self, label: &'static str, bytes: &[u8], usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = bytes.len() as u64;
        let buffer = self.guarded(label, || {
            let label = Some(label);
            self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: true })
        })?;
        // A device that was lost makes buffers that cannot be mapped.
        let mapped = buffer.get_mapped_range_mut(..);
        let lost = |error: wgpu::MapRangeError| Error::DeviceLost { reason: error.to_string() };
        mapped.map_err(lost)?.slice(..).copy_from_slice(bytes);
        buffer.unmap();
        Ok(buffer)
    }

    /// A new buffer of `len` zeros.
    pub fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        let bytes = (len * size_of::<T>()).max(16) as u64;
        self.check_size(bytes)?;
        let buffer = self.guarded("buffer", || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("buffer"),
                size: bytes,
                usage: STORAGE,
                mapped_at_creation: false,
            })
        })?;
        Ok(Buffer::on_gpu(buffer, self.id, len))
    }

    /// A uniform buffer with a kernel's parameters.
    fn params<T: Pod>(&self, params: &T) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        self.filled("params", bytemuck::bytes_of(params), usage)
    }

    /// Writes to a buffer before what is submitted next.
    fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.check_lost()?;
        self.guarded("write", || self.queue.write_buffer(buffer, 0, bytes))
    }

    /// Records through `record` and submits. Waits until no more than [`IN_FLIGHT`] submissions are pending, so that
    /// a host that reads faster than the GPU computes does not fill the memory with batches.
    pub fn run(
        &self,
        label: &'static str,
        record: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex> {
        self.run_with(label, |encoder| {
            record(encoder);
            Ok(())
        })
    }

    /// The same where recording may fail.
    pub fn run_with(
        &self,
        label: &'static str,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
    ) -> Result<wgpu::SubmissionIndex> {
        self.check_lost()?;
        let index = self.guarded(label, || {
            let mut encoder =
                self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
            record(&mut encoder)?;
            Ok(self.queue.submit([encoder.finish()]))
        })??;
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.push_back(index.clone());
        #[cfg(test)]
        self.submissions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let oldest = if in_flight.len() > IN_FLIGHT { in_flight.pop_front() } else { None };
        drop(in_flight);
        oldest.map_or(Ok(()), |oldest| self.wait(oldest))?;
        Ok(index)
    }

    /// Submits steps.
    pub fn submit(&self, label: &'static str, steps: &[Step]) -> Result<()> {
        self.run(label, |encoder| encode(encoder, label, steps)).map(drop)
    }

    /// Where launchers put their steps to have them submitted at once.
    pub fn submitting(&self) -> impl FnMut(&'static str, Vec<Step>) -> Result<()> {
        |label, steps| self.submit(label, &steps)
    }

    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        // wgpu panics where it finds the device lost while it waits.
        let waited = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        self.check_lost()?;
        match waited {
            Ok(waited) => waited.map(drop).map_err(|error| Error::DeviceLost { reason: error.to_string() }),
            Err(_) => Err(Error::DeviceLost { reason: "while its answer was awaited".into() }),
        }
    }

    fn check_lost(&self) -> Result<()> {
        self.lost.get().map_or(Ok(()), |reason| Err(Error::DeviceLost { reason: reason.clone() }))
    }

    /// Runs `f` with the graphics API's errors caught and typed.
    fn guarded<R>(&self, label: &str, f: impl FnOnce() -> R) -> Result<R> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Internal, Validation, OutOfMemory].map(|filter| self.device.push_error_scope(filter));
        let result = f();
        // Scopes are popped in the reverse order of pushing.
        let caught = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        match caught.collect::<Vec<_>>().into_iter().flatten().next() {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { label: label.into() }),
            Some(error) => Err(Error::refused(label, error)),
        }
    }
}

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Takes steps, and a label for them: [`Gpu::submitting`], or a list that is played again and again.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&'static str, Vec<Step>) -> Result<()>;

/// Records steps as one pass.
fn encode(encoder: &mut wgpu::CommandEncoder, label: &'static str, steps: &[Step]) {
    let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None };
    let mut pass = encoder.begin_compute_pass(&descriptor);
    steps.iter().for_each(|step| step.encode(&mut pass));
}

/// Rows with zeros behind each, to whole vec4s.
pub(crate) fn padded(rows: &[f32], dim: usize) -> Cow<'_, [f32]> {
    let stride = stride_of(dim);
    if stride == dim {
        return Cow::Borrowed(rows);
    }
    let mut padded = vec![0.0; rows.len() / dim * stride];
    for (to, from) in padded.chunks_exact_mut(stride).zip(rows.chunks_exact(dim)) {
        to[..dim].copy_from_slice(from);
    }
    padded.into()
}

/// A grid of at least `workgroups` in two dimensions, because one holds 65,535 at most; kernels skip what is over.
fn grid(workgroups: usize) -> [u32; 3] {
    const ROW: usize = 32_768;
    if workgroups <= ROW { [workgroups as u32, 1, 1] } else { [ROW as u32, workgroups.div_ceil(ROW) as u32, 1] }
}

fn check_limits(have: &wgpu::Limits) -> Result<()> {
    let need = required_limits();
    macro_rules! limits {
        ($($limit:ident),+ $(,)?) => { [$((stringify!($limit), u64::from(need.$limit), u64::from(have.$limit))),+] };
    }
    let limits = limits![
        max_storage_buffers_per_shader_stage,
        max_storage_buffer_binding_size,
        max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x,
        max_compute_workgroups_per_dimension,
    ];
    match limits.into_iter().find(|(_, need, have)| have < need) {
        Some((limit, need, have)) => Err(Error::LimitTooSmall { limit, need, have }),
        None => Ok(()),
    }
}
