//! Launches `shaders/centroid_update.wgsl`: rows, distances and counts added to the sums of their labels.

use super::kernel::{CENTROID_UPDATE, UPDATE_BLOCK, wgsl_struct};
use super::pipelines::{Pipelines, Step};
use super::{Gpu, encode, grid};
use crate::device::data::buffer::{Assignment, ClusterSums, Matrix};
use crate::error::Result;

/// Columns (vec4s) a workgroup of `sum_runs`.
const COLUMNS: usize = 16;

wgsl_struct!(Params { rows, nlist, stride, blocks });

#[derive(Debug)]
pub(crate) struct CentroidUpdate(Pipelines<5>);

impl CentroidUpdate {
    fn get(gpu: &Gpu) -> Result<&Self> {
        let entries = ["count_labels", "scan_blocks", "scan_labels", "sort_rows", "sum_runs"];
        gpu.stages.centroid_update.get_or_make(|| Pipelines::new(gpu, &CENTROID_UPDATE, entries).map(Self))
    }

    fn steps(&self, bindings: &wgpu::BindGroup, params: &Params) -> [Step; 5] {
        let labels = params.nlist as usize;
        let mut runs = grid(labels);
        runs[2] = params.stride.div_ceil(COLUMNS as u32);
        let blocks = [params.blocks, 1, 1];
        let grids = [blocks, [labels.div_ceil(256) as u32, 1, 1], [1, 1, 1], blocks, runs];
        std::array::from_fn(|entry| self.0.step(entry, bindings, grids[entry]))
    }
}

/// Words of working memory: a histogram a block, the runs' starts, the sorted rows.
fn work_words(rows: usize, nlist: usize) -> usize {
    rows.div_ceil(UPDATE_BLOCK) * nlist + nlist + 1 + rows
}

pub(crate) fn centroid_update(gpu: &Gpu, rows: &Matrix, nearest: &Assignment, sums: &mut ClusterSums) -> Result<()> {
    if rows.rows == 0 {
        return Ok(());
    }
    let stage = CentroidUpdate::get(gpu)?;
    let nlist = sums.sums.rows;
    let params = Params {
        rows: rows.rows as u32,
        nlist: nlist as u32,
        stride: rows.stride as u32 / 4,
        blocks: rows.rows.div_ceil(UPDATE_BLOCK) as u32,
    };
    let work = gpu.zeros::<u32>(work_words(rows.rows, nlist))?;
    let name = "centroid_update";
    let buffers = [
        &gpu.params(&params)?,
        rows.data.gpu(gpu.id(), name)?,
        nearest.labels.gpu(gpu.id(), name)?,
        nearest.distances.gpu(gpu.id(), name)?,
        work.gpu(gpu.id(), name)?,
        sums.sums.data.gpu(gpu.id(), name)?,
        sums.counts.gpu(gpu.id(), name)?,
        sums.costs.gpu(gpu.id(), name)?,
    ];
    let bindings = stage.0.bind(gpu, &buffers)?;
    let work = work.gpu(gpu.id(), name)?;
    gpu.run(name, |encoder| {
        encoder.clear_buffer(work, 0, None);
        encode(encoder, name, &stage.steps(&bindings, &params));
    })
    .map(drop)
}
