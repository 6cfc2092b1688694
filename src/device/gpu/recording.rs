//! A search of all rows and a blend with what it finds, prepared once: every buffer and binding is there, and a call
//! only plays the steps.

use std::sync::{Arc, Mutex, PoisonError};

use super::blend::{Blends, Neighborhood, blends};
use super::distance_subset::distances;
use super::l2_normalize::l2_normalize;
use super::lookup_tables::lookup_tables;
use super::pipelines::Step;
use super::select_topk::{Keyed, SelectTopk};
use super::{Gpu, Sink, encode, exact_topk, fast_scan};
use crate::device::data::blend::{BlendOutcome, BlendedRows};
use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::codes::{CodeSet, ScanRequest};
use crate::device::data::lookup_tables::Shape;
use crate::device::data::pq::Codebooks;
use crate::device::data::ranges::RowRanges;
use crate::device::data::rows::RowSet;
use crate::error::Result;
use crate::factory::Metric;

/// What is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'a> {
    pub rows: &'a RowSet,
    pub metric: Metric,
    /// Rows are unit vectors, and queries are made so before they are compared with them.
    pub unit_rows: bool,
    /// `None` compares all rows.
    pub codes: Option<LiveCodes<'a>>,
    /// Frames a call.
    pub frames: usize,
    /// Neighbours a frame.
    pub k: usize,
    pub index_rate: f32,
    pub power: f32,
}

/// Codes that are scanned for the rows to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveCodes<'a> {
    pub codes: &'a CodeSet,
    pub codebooks: &'a Codebooks,
    /// Codes are of unit vectors, and so are the queries to be that are compared with them.
    pub unit: bool,
    /// Rows to compare a query with.
    pub candidates: usize,
}

/// Steps from frames to neighbours and to blends. Usable from several threads: a GPU runs one submission after the
/// other, and each fills the working memory anew.
#[derive(Debug)]
pub(crate) struct Recording {
    gpu: Arc<Gpu>,
    frames: Matrix,
    nearest: Buffer<u32>,
    distances: Buffer<f32>,
    search: Vec<Step>,
    blends: Blends,
    blend: Vec<Step>,
    /// Buffers of calls from the host's memory that are over.
    calls: Mutex<Vec<Call>>,
}

/// Buffers that frames and answers pass through between the host's memory and the GPU.
#[derive(Debug)]
struct Call {
    frames: wgpu::Buffer,
    nearest: wgpu::Buffer,
    distances: wgpu::Buffer,
    blended: wgpu::Buffer,
    outcomes: wgpu::Buffer,
}

impl Recording {
    pub fn new(gpu: &Arc<Gpu>, live: &Live<'_>) -> Result<Self> {
        let stride = super::stride_of(live.rows.dim);
        let data = gpu.zeros(live.frames * stride)?;
        let frames = Matrix::new(data, live.frames, live.rows.dim, stride);
        let (mut search, mut blend) = (Vec::new(), Vec::new());
        let mut sink = |_: &'static str, steps| {
            search.extend(steps);
            Ok(())
        };
        let unit = live.unit_rows || live.codes.is_some_and(|codes| codes.unit);
        let unit = if unit { Some(l2_normalize(gpu, &frames, &mut sink)?) } else { None };
        let unit_or_plain = |wanted: bool| unit.as_ref().filter(|_| wanted).unwrap_or(&frames);
        let queries = unit_or_plain(live.unit_rows);
        let nearest = match &live.codes {
            None => {
                let all = RowRanges::all(live.frames, live.rows.rows as u32);
                exact_topk::nearest(gpu, queries, live.rows, &all, live.metric, live.k, &mut sink)?
            }
            Some(codes) => scan(gpu, live, codes, (queries, unit_or_plain(codes.unit)), &mut sink)?,
        };
        let found = match live.metric {
            Metric::L2 => nearest.keys.clone(),
            metric => distances(gpu, queries, live.rows, &nearest.candidates, metric, false, &mut sink)?,
        };
        let mut sink = |_: &'static str, steps| {
            blend.extend(steps);
            Ok(())
        };
        let scores = match live.metric {
            Metric::L2 if !live.unit_rows => nearest.keys,
            _ => distances(gpu, &frames, live.rows, &nearest.candidates, Metric::L2, false, &mut sink)?,
        };
        let near = Neighborhood { rows: live.rows, neighbors: &nearest.candidates, scores: &scores };
        let blends = blends(gpu, &frames, &near, live.index_rate, live.power, &mut sink)?;
        let (gpu, calls) = (gpu.clone(), Mutex::default());
        let recording =
            Self { gpu, frames, nearest: nearest.candidates, distances: found, search, blends, blend, calls };
        recording.call_is_over(recording.new_call()?);
        Ok(recording)
    }

    /// Has calls that are submitted from now on blend with another share and power.
    pub fn set_blend(&self, index_rate: f32, power: f32) -> Result<()> {
        self.blends.set(&self.gpu, index_rate, power)
    }

    /// Records a search: frames × d floats in, row numbers and distances out, frames × k each.
    pub fn encode_search(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        queries: &wgpu::Buffer,
        nearest: &wgpu::Buffer,
        distances: &wgpu::Buffer,
    ) -> Result<()> {
        self.take_frames(encoder, queries)?;
        encode(encoder, "live search", &self.search);
        self.copy_out(encoder, &self.nearest, nearest)?;
        self.copy_out(encoder, &self.distances, distances)
    }

    /// Records a search and a blend: frames × d floats in, as many out, and the outcome of each frame.
    pub fn encode_blend(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        frames: &wgpu::Buffer,
        blended: &wgpu::Buffer,
        outcomes: Option<&wgpu::Buffer>,
    ) -> Result<()> {
        self.take_frames(encoder, frames)?;
        encode(encoder, "live search", &self.search);
        encode(encoder, "live blend", &self.blend);
        let own = self.blends.frames.data.gpu(self.gpu.id(), "blend")?;
        copy_rows(encoder, (own, self.frames.stride), (blended, self.frames.dim), &self.frames);
        outcomes.map_or(Ok(()), |outcomes| self.copy_out(encoder, &self.blends.outcomes, outcomes))
    }

    /// Searches for frames in the host's memory, as many as planned.
    pub fn search(&self, queries: &[f32]) -> Result<(Vec<u32>, Vec<f32>)> {
        self.call(queries, |call| {
            let answered = self.gpu.run_with("live search", |encoder| {
                self.encode_search(encoder, &call.frames, &call.nearest, &call.distances)
            })?;
            let nearest = self.gpu.read(&call.nearest, answered.clone(), self.nearest.len())?;
            Ok((nearest, self.gpu.read(&call.distances, answered, self.distances.len())?))
        })
    }

    /// Blends frames in the host's memory, as many as planned.
    pub fn blend(&self, frames: &[f32]) -> Result<BlendedRows> {
        self.call(frames, |call| {
            let answered = self.gpu.run_with("live blend", |encoder| {
                self.encode_blend(encoder, &call.frames, &call.blended, Some(&call.outcomes))
            })?;
            let rows = self.gpu.read(&call.blended, answered.clone(), frames.len())?;
            let outcomes: Vec<u32> = self.gpu.read(&call.outcomes, answered, self.frames.rows)?;
            Ok(BlendedRows { rows, outcomes: outcomes.into_iter().map(BlendOutcome::from_word).collect() })
        })
    }

    /// Lends buffers to a call, those of one that is over where there are any.
    fn call<R>(&self, frames: &[f32], work: impl FnOnce(&Call) -> Result<R>) -> Result<R> {
        let over = self.calls.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A thread more than there were at once.
        let call = over.map_or_else(|| self.new_call(), Ok)?;
        self.gpu.write(&call.frames, bytemuck::cast_slice(frames))?;
        let result = work(&call)?;
        self.call_is_over(call);
        Ok(result)
    }

    fn call_is_over(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    fn new_call(&self) -> Result<Call> {
        use wgpu::BufferUsages as Usage;
        let make = |values: usize, usage| {
            self.gpu.guarded("live call", || {
                let (label, size) = (Some("live call"), 4 * values as u64);
                self.gpu.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
            })
        };
        let (values, answer) = (self.frames.rows * self.frames.dim, Usage::COPY_DST | Usage::MAP_READ);
        Ok(Call {
            frames: make(values, Usage::COPY_DST | Usage::COPY_SRC)?,
            nearest: make(self.nearest.len(), answer)?,
            distances: make(self.distances.len(), answer)?,
            blended: make(values, answer)?,
            outcomes: make(self.frames.rows, answer)?,
        })
    }

    fn take_frames(&self, encoder: &mut wgpu::CommandEncoder, frames: &wgpu::Buffer) -> Result<()> {
        let own = self.frames.data.gpu(self.gpu.id(), "live search")?;
        copy_rows(encoder, (frames, self.frames.dim), (own, self.frames.stride), &self.frames);
        Ok(())
    }

    fn copy_out<T: bytemuck::Pod>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        from: &Buffer<T>,
        to: &wgpu::Buffer,
    ) -> Result<()> {
        let bytes = (from.len() * size_of::<T>()) as u64;
        encoder.copy_buffer_to_buffer(from.gpu(self.gpu.id(), "live search")?, 0, to, 0, bytes);
        Ok(())
    }
}

/// The nearest rows among those that the codes put first.
fn scan(
    gpu: &Gpu,
    live: &Live<'_>,
    codes: &LiveCodes<'_>,
    (queries, code_queries): (&Matrix, &Matrix),
    sink: Sink<'_>,
) -> Result<Keyed> {
    let shape = Shape::new(code_queries, live.metric, None);
    let tables = lookup_tables(gpu, code_queries, codes.codebooks, None, shape, sink)?;
    let mut request = ScanRequest::new(1);
    let all = 0..live.rows.rows as u32;
    for _ in 0..live.frames {
        request.add_query(std::slice::from_ref(&all))?;
    }
    let found = fast_scan::nearest(gpu, codes.codes, &tables, &request, live.metric, codes.candidates, sink)?;
    let keys = distances(gpu, queries, live.rows, &found.candidates, live.metric, true, sink)?;
    let compared = Keyed { keys, ..found };
    let nearest = Keyed::new(gpu, live.frames * live.k)?;
    let each = codes.candidates as u32;
    let segments: Vec<_> = (0..live.frames as u32).map(|query| [query * each, each]).collect();
    let select = SelectTopk::get(gpu)?;
    let step = select.step(gpu, &compared, &gpu.upload(&segments)?, live.k, &nearest, 0)?;
    sink("select_topk", vec![step])?;
    Ok(nearest)
}

/// Copies rows between buffers whose rows take different room.
fn copy_rows(
    encoder: &mut wgpu::CommandEncoder,
    (from, from_stride): (&wgpu::Buffer, usize),
    (to, to_stride): (&wgpu::Buffer, usize),
    rows: &Matrix,
) {
    if from_stride == to_stride {
        encoder.copy_buffer_to_buffer(from, 0, to, 0, (4 * rows.rows * rows.dim) as u64);
        return;
    }
    for row in 0..rows.rows {
        let [from_at, to_at] = [from_stride, to_stride].map(|stride| (4 * row * stride) as u64);
        encoder.copy_buffer_to_buffer(from, from_at, to, to_at, 4 * rows.dim as u64);
    }
}
