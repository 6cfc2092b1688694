//! Launches `shaders/pq_update.wgsl`: sub-vectors, squared errors and counts added to the sums of their codes.

use super::Gpu;
use super::kernel::{PQ_BLOCK, PQ_UPDATE, wgsl_struct};
use super::pipelines::{Pipelines, Step};
use crate::device::data::buffer::{Buffer, ClusterSums, Matrix};
use crate::device::data::pq::{CENTROIDS, Codebooks};
use crate::error::Result;

/// Columns a workgroup.
const COLUMNS: usize = 64;

wgsl_struct!(Params { rows, stride, subs, dsub, sums_stride, blocks });

#[derive(Debug)]
pub(crate) struct PqUpdate(Pipelines<2>);

impl PqUpdate {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.pq_update.get_or_make(|| Pipelines::new(gpu, &PQ_UPDATE, ["sum_blocks", "add_blocks"]).map(Self))
    }

    fn steps(&self, bindings: &wgpu::BindGroup, params: &Params) -> [Step; 2] {
        let columns = (params.subs * params.dsub).div_ceil(COLUMNS as u32);
        let grids = [[params.blocks, columns, 1], [columns, CENTROIDS as u32, 1]];
        std::array::from_fn(|entry| self.0.step(entry, bindings, grids[entry]))
    }
}

pub(crate) fn pq_update(
    gpu: &Gpu,
    rows: &Matrix,
    codes: &Buffer<u32>,
    codebooks: &Codebooks,
    sums: &mut ClusterSums,
) -> Result<()> {
    if rows.rows == 0 {
        return Ok(());
    }
    let stage = PqUpdate::get(gpu)?;
    let params = Params {
        rows: rows.rows as u32,
        stride: rows.stride as u32,
        subs: codebooks.m as u32,
        dsub: codebooks.dsub as u32,
        sums_stride: sums.sums.stride as u32,
        blocks: rows.rows.div_ceil(PQ_BLOCK) as u32,
    };
    let work = gpu.zeros::<[f32; 4]>(params.blocks as usize * CENTROIDS * rows.dim)?;
    let name = "pq_update";
    let buffers = [
        &gpu.params(&params)?,
        rows.data.gpu(gpu.id(), name)?,
        codes.gpu(gpu.id(), name)?,
        codebooks.data.gpu(gpu.id(), name)?,
        work.gpu(gpu.id(), name)?,
        sums.sums.data.gpu(gpu.id(), name)?,
        sums.counts.gpu(gpu.id(), name)?,
        sums.costs.gpu(gpu.id(), name)?,
    ];
    let bindings = stage.0.bind(gpu, &buffers)?;
    gpu.submit(name, &stage.steps(&bindings, &params))
}
