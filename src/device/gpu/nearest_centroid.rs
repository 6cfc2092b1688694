//! Launches `shaders/nearest_centroid.wgsl`: the nearest centroid of each row.

use super::kernel::{NEAREST_CENTROID_IP, NEAREST_CENTROID_L2, Pipelines, Step, wgsl_struct};
use super::{Gpu, grid};
use crate::device::buffer::{Assignment, CentroidTable, Matrix};
use crate::error::Result;
use crate::factory::Metric;

/// Rows and centroids a tile, as in `shaders/shared/product_tile.wgsl`.
pub(crate) const TILE: usize = 128;
/// Rows a workgroup of `measure`.
const MEASURED: usize = 16;

wgsl_struct!(Params { rows, nlist, stride, unused });

#[derive(Debug)]
pub(crate) struct NearestCentroid(Pipelines<2>);

impl NearestCentroid {
    fn get(gpu: &Gpu, metric: Metric) -> Result<&Self> {
        let (stage, kernel) = match metric {
            Metric::L2 => (&gpu.stages.nearest_centroid_l2, &NEAREST_CENTROID_L2),
            Metric::InnerProduct => (&gpu.stages.nearest_centroid_ip, &NEAREST_CENTROID_IP),
        };
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["assign", "measure"]).map(Self))
    }

    /// Labels, then exact distances.
    fn steps(&self, bindings: &wgpu::BindGroup, rows: usize) -> [Step; 2] {
        let tiles = [rows.div_ceil(TILE) as u32, 1, 1];
        [self.0.step(0, bindings, tiles), self.0.step(1, bindings, grid(rows.div_ceil(MEASURED)))]
    }
}

pub(crate) fn nearest_centroid(gpu: &Gpu, rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
    let stage = NearestCentroid::get(gpu, table.metric)?;
    let labels = gpu.zeros(rows.rows)?;
    let distances = gpu.zeros(rows.rows)?;
    let params = gpu.params(&Params {
        rows: rows.rows as u32,
        nlist: table.nlist() as u32,
        stride: rows.stride as u32 / 4,
        unused: 0,
    })?;
    let name = "nearest_centroid";
    let buffers = [
        &params,
        rows.data.gpu(gpu, name)?,
        table.shifted.data.gpu(gpu, name)?,
        table.bias.gpu(gpu, name)?,
        table.centroids.data.gpu(gpu, name)?,
        labels.gpu(gpu, name)?,
        distances.gpu(gpu, name)?,
    ];
    if rows.rows > 0 {
        let bindings = stage.0.bind(gpu, &buffers)?;
        gpu.submit(name, &stage.steps(&bindings, rows.rows))?;
    }
    Ok(Assignment { labels, distances, nlist: table.nlist() })
}
