//! Launches `shaders/centroid_table.wgsl`: centroids made ready for comparing rows with them.

use super::kernel::{CENTROID_TABLE, wgsl_struct};
use super::pipelines::Pipelines;
use super::sketch::TableSketches;
use super::{Gpu, grid};
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::data::engine_cache::EngineCache;
use crate::error::Result;
use crate::factory::Metric;

/// Centroids a block of the mean, and blocks at most: larger ones follow.
const BLOCK: usize = 256;
const BLOCKS: usize = 64;
/// Columns (vec4s) a workgroup of `sum_blocks`, and of `add_blocks`.
const SUMMED: usize = 16;
const ADDED: usize = 64;

wgsl_struct!(Params { nlist, stride, blocks });

#[derive(Debug)]
pub(crate) struct MakeTable(Pipelines<3>);

impl MakeTable {
    fn get(gpu: &Gpu) -> Result<&Self> {
        let entries = ["sum_blocks", "add_blocks", "shift"];
        gpu.stages.centroid_table.get_or_make(|| Pipelines::new(gpu, &CENTROID_TABLE, entries).map(Self))
    }
}

/// With the directions of the table before, where there is one.
pub(crate) fn centroid_table(
    gpu: &Gpu,
    centroids: Matrix,
    metric: Metric,
    before: Option<&CentroidTable>,
) -> Result<CentroidTable> {
    centroids.data.gpu(gpu.id(), "centroid_table")?;
    let bias = gpu.zeros(centroids.rows)?;
    let shifted = match metric {
        Metric::InnerProduct => centroids.clone(),
        Metric::L2 => shifted(gpu, &centroids, &bias)?,
    };
    let sketches = before.map(TableSketches::of).transpose()?.map(TableSketches::moved).unwrap_or_default();
    Ok(CentroidTable { centroids, shifted, bias, cache: EngineCache::new(sketches), metric })
}

/// The centroids less their mean; fills `bias`.
fn shifted(gpu: &Gpu, centroids: &Matrix, bias: &Buffer<f32>) -> Result<Matrix> {
    let name = "centroid_table";
    let kernel = &MakeTable::get(gpu)?.0;
    let Matrix { rows: nlist, dim, stride, .. } = *centroids;
    let shifted = Matrix::new(gpu.zeros(nlist * stride)?, nlist, dim, stride);
    if nlist == 0 {
        return Ok(shifted);
    }
    let (blocks, quads) = (nlist.div_ceil(BLOCK).min(BLOCKS), stride / 4);
    let means = gpu.zeros::<f32>(blocks * stride)?;
    let buffers = [
        &gpu.params(&Params { nlist: nlist as u32, stride: quads as u32, blocks: blocks as u32 })?,
        centroids.data.gpu(gpu.id(), name)?,
        means.gpu(gpu.id(), name)?,
        shifted.data.gpu(gpu.id(), name)?,
        bias.gpu(gpu.id(), name)?,
    ];
    let bindings = kernel.bind(gpu, &buffers)?;
    let grids = [[blocks as u32, quads.div_ceil(SUMMED) as u32, 1], [quads.div_ceil(ADDED) as u32, 1, 1], grid(nlist)];
    let steps: [_; 3] = std::array::from_fn(|entry| kernel.step(entry, &bindings, grids[entry]));
    gpu.submit(name, &steps)?;
    Ok(shifted)
}
