//! Launches `shaders/blend.wgsl`: frames drawn towards their neighbours.

use super::kernel::{BLEND, wgsl_struct};
use super::pipelines::Pipelines;
use super::{Gpu, Sink, grid};
use crate::device::data::blend::{BlendOutcome, BlendedRows};
use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::rows::{RowFormat, RowSet};
use crate::error::Result;

wgsl_struct!(Params { frames, stride, k, first_row, rows, index_rate, power, unused });

/// Entry points: `weigh`, `add`.
#[derive(Debug)]
pub(crate) struct Blend(Pipelines<2>);

impl Blend {
    fn get(gpu: &Gpu, format: RowFormat) -> Result<&Self> {
        let (stage, kernel) = (&gpu.stages.blend[format as usize], &BLEND[format as usize]);
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["weigh", "add"]).map(Self))
    }
}

/// What frames are drawn to: rows, k a frame, and how near they are.
pub(super) struct Neighborhood<'a> {
    pub rows: &'a RowSet,
    pub neighbors: &'a Buffer<u32>,
    /// Squared distances.
    pub scores: &'a Buffer<f32>,
}

/// Blended frames on the device.
#[derive(Debug)]
pub(super) struct Blends {
    pub frames: Matrix,
    /// [`BlendOutcome`] of each frame.
    pub outcomes: Buffer<u32>,
    /// What `weigh` reads, index_rate and power among it.
    params: (wgpu::Buffer, Params),
}

impl Blends {
    /// Has what is submitted from now on blend with another share and power.
    pub fn set(&self, gpu: &Gpu, index_rate: f32, power: f32) -> Result<()> {
        let (buffer, params) = &self.params;
        let params = Params { index_rate: index_rate.to_bits(), power: power.to_bits(), ..*params };
        gpu.write(buffer, bytemuck::bytes_of(&params))
    }
}

pub(crate) fn blend(
    gpu: &Gpu,
    frames: &Matrix,
    rows: &RowSet,
    neighbors: &[u32],
    scores: &[f32],
    (index_rate, power): (f32, f32),
) -> Result<BlendedRows> {
    let name = "blend";
    let (neighbors, scores) = (gpu.upload(neighbors)?, gpu.upload(scores)?);
    let near = Neighborhood { rows, neighbors: &neighbors, scores: &scores };
    let blends = blends(gpu, frames, &near, index_rate, power, &mut gpu.submitting())?;
    let padded: Vec<f32> = gpu.download(blends.frames.data.gpu(gpu.id(), name)?, blends.frames.data.len())?;
    let outcomes: Vec<u32> = gpu.download(blends.outcomes.gpu(gpu.id(), name)?, blends.outcomes.len())?;
    Ok(BlendedRows {
        rows: padded.chunks_exact(frames.stride).flat_map(|row| &row[..frames.dim]).copied().collect(),
        outcomes: outcomes.into_iter().map(BlendOutcome::from_word).collect(),
    })
}

pub(super) fn blends(
    gpu: &Gpu,
    frames: &Matrix,
    near: &Neighborhood<'_>,
    index_rate: f32,
    power: f32,
    sink: Sink<'_>,
) -> Result<Blends> {
    let name = "blend";
    let kernel = &Blend::get(gpu, near.rows.format)?.0;
    let blended = Matrix::new(gpu.zeros(frames.data.len())?, frames.rows, frames.dim, frames.stride);
    let (weights, outcomes) = (gpu.zeros::<f32>(near.neighbors.len())?, gpu.zeros(frames.rows)?);
    let params = Params {
        frames: frames.rows as u32,
        stride: frames.stride as u32,
        k: near.neighbors.len().checked_div(frames.rows).unwrap_or(0) as u32,
        first_row: 0,
        rows: 0,
        index_rate: index_rate.to_bits(),
        power: power.to_bits(),
        unused: 0,
    };
    let weigh_params = gpu.params(&params)?;
    let bind = |params: &wgpu::Buffer, part: &wgpu::Buffer| {
        let buffers = [
            params,
            frames.data.gpu(gpu.id(), name)?,
            part,
            near.neighbors.gpu(gpu.id(), name)?,
            near.scores.gpu(gpu.id(), name)?,
            weights.gpu(gpu.id(), name)?,
            outcomes.gpu(gpu.id(), name)?,
            blended.data.gpu(gpu.id(), name)?,
        ];
        kernel.bind(gpu, &buffers)
    };
    if frames.rows > 0 {
        let mut steps = Vec::new();
        for (part, first_row, rows) in near.rows.gpu(gpu.id(), name)? {
            if first_row == 0 {
                steps.push(kernel.step(0, &bind(&weigh_params, part)?, grid(frames.rows)));
            }
            let add_params = gpu.params(&Params { first_row, rows, ..params })?;
            steps.push(kernel.step(1, &bind(&add_params, part)?, grid(frames.rows)));
        }
        sink(name, steps)?;
    }
    Ok(Blends { frames: blended, outcomes, params: (weigh_params, params) })
}
