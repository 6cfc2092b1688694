//! Launches `shaders/pq_encode.wgsl`: the 4-bit code of each row.

use super::kernel::{PQ_ENCODE, PQ_ENCODE_RESIDUAL, wgsl_struct};
use super::pipelines::{Pipelines, Step};
use super::{Gpu, grid};
use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::pq::{Codebooks, ResidualsOf};
use crate::error::Result;

/// Rows and sub-quantizers a workgroup.
const TILE: usize = 32;

wgsl_struct!(Params { rows, stride, subs, dsub });

#[derive(Debug)]
pub(crate) struct PqEncode(Pipelines<1>);

impl PqEncode {
    fn get(gpu: &Gpu, residual: bool) -> Result<&Self> {
        let (stage, kernel) = match residual {
            false => (&gpu.stages.pq_encode, &PQ_ENCODE),
            true => (&gpu.stages.pq_encode_residual, &PQ_ENCODE_RESIDUAL),
        };
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["encode"]).map(Self))
    }

    fn step(&self, bindings: &wgpu::BindGroup, params: &Params) -> Step {
        let mut tiles = grid((params.rows as usize).div_ceil(TILE));
        tiles[2] = params.subs.div_ceil(TILE as u32);
        self.0.step(0, bindings, tiles)
    }
}

pub(crate) fn pq_encode(
    gpu: &Gpu,
    rows: &Matrix,
    codebooks: &Codebooks,
    residuals_of: Option<ResidualsOf<'_>>,
) -> Result<Buffer<u32>> {
    let stage = PqEncode::get(gpu, residuals_of.is_some())?;
    let codes = gpu.zeros(rows.rows * codebooks.words())?;
    let params = Params {
        rows: rows.rows as u32,
        stride: rows.stride as u32,
        subs: codebooks.m as u32,
        dsub: codebooks.dsub as u32,
    };
    let uniform = gpu.params(&params)?;
    let name = "pq_encode";
    let mut buffers =
        vec![&uniform, rows.data.gpu(gpu.id(), name)?, codebooks.data.gpu(gpu.id(), name)?, codes.gpu(gpu.id(), name)?];
    if let Some((table, nearest)) = residuals_of {
        buffers.extend([table.centroids.data.gpu(gpu.id(), name)?, nearest.labels.gpu(gpu.id(), name)?]);
    }
    if rows.rows > 0 {
        let bindings = stage.0.bind(gpu, &buffers)?;
        gpu.submit(name, &[stage.step(&bindings, &params)])?;
    }
    Ok(codes)
}
