//! Launches `shaders/nearest_centroid.wgsl`: the nearest centroid of each row.

use super::kernel::{NEAREST_CENTROID_IP, NEAREST_CENTROID_L2, Pipelines, wgsl_struct};
use super::{Gpu, grid};
use crate::device::buffer::{Assignment, CentroidTable, Matrix};
use crate::error::Result;
use crate::factory::Metric;

/// Rows and centroids a tile, as in `shaders/shared/product_tile.wgsl`.
pub(crate) const TILE: usize = 128;
/// Rows a workgroup of `measure`.
const MEASURED: usize = 16;
/// Workgroups that keep any GPU busy: where rows alone make fewer, the centroids are shared out, too.
const WORKGROUPS: usize = 1024;

wgsl_struct!(Params { rows, nlist, stride, part });
// The score is a float there; the host only makes room.
wgsl_struct!(Found { score, label });

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
}

pub(crate) fn nearest_centroid(gpu: &Gpu, rows: &Matrix, table: &CentroidTable) -> Result<Assignment> {
    let stage = NearestCentroid::get(gpu, table.metric)?;
    let nlist = table.nlist();
    let labels = gpu.zeros(rows.rows)?;
    let distances = gpu.zeros(rows.rows)?;
    if rows.rows == 0 {
        return Ok(Assignment { labels, distances, nlist });
    }
    let tiles = rows.rows.div_ceil(TILE);
    let part = centroids_a_part(tiles, nlist);
    let parts = nlist.div_ceil(part);
    let found = gpu.zeros::<Found>(parts * rows.rows)?;
    let params = gpu.params(&Params {
        rows: rows.rows as u32,
        nlist: nlist as u32,
        stride: rows.stride as u32 / 4,
        part: part as u32,
    })?;
    let name = "nearest_centroid";
    let buffers = [
        &params,
        rows.data.gpu(gpu, name)?,
        table.shifted.data.gpu(gpu, name)?,
        table.bias.gpu(gpu, name)?,
        table.centroids.data.gpu(gpu, name)?,
        found.gpu(gpu, name)?,
        labels.gpu(gpu, name)?,
        distances.gpu(gpu, name)?,
    ];
    let bindings = stage.0.bind(gpu, &buffers)?;
    let assign = stage.0.step(0, &bindings, [tiles as u32, parts as u32, 1]);
    let measure = stage.0.step(1, &bindings, grid(rows.rows.div_ceil(MEASURED)));
    gpu.submit(name, &[assign, measure])?;
    Ok(Assignment { labels, distances, nlist })
}

/// Whole tiles of centroids for each workgroup of a tile of rows.
fn centroids_a_part(row_tiles: usize, nlist: usize) -> usize {
    let parts = WORKGROUPS.div_ceil(row_tiles);
    nlist.div_ceil(TILE).div_ceil(parts) * TILE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centroids_are_shared_out_where_rows_are_few() {
        // 1 tile of rows: one tile of centroids each; 86 × 12 parts are the first product over 1024.
        assert_eq!(centroids_a_part(1, 3205), 128);
        assert_eq!(centroids_a_part(86, 3205), 3 * 128);
        assert_eq!(centroids_a_part(1024, 3205), 26 * 128);
        assert_eq!(centroids_a_part(1, 1), 128);
    }
}
