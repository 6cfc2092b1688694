//! Launches `shaders/nearest_centroid.wgsl`: the nearest centroid of each row.

use super::autotune::Tile;
use super::kernel::{NEAREST_CENTROID, Pipelines, Step, wgsl_struct};
use super::{Gpu, grid};
use crate::device::buffer::{Assignment, CentroidTable, Matrix};
use crate::error::Result;
use crate::factory::Metric;

/// Rows a workgroup of `measure`.
const MEASURED: usize = 16;
/// Workgroups that keep any GPU busy: where rows alone make fewer, the centroids are shared out, too.
const WORKGROUPS: usize = 1024;
const LABEL: &str = "nearest_centroid";

wgsl_struct!(Params { rows, nlist, stride, part });
// The score is a float there; the host only makes room.
wgsl_struct!(Found { score, label });

#[derive(Debug)]
pub(crate) struct NearestCentroid(Pipelines<2>);

impl NearestCentroid {
    fn get(gpu: &Gpu, metric: Metric, tile: Tile) -> Result<&Self> {
        let (metric, tile) = (metric as usize, tile.number()?);
        let (stage, kernel) = (&gpu.stages.nearest_centroid[metric][tile], &NEAREST_CENTROID[metric][tile]);
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["assign", "measure"]).map(Self))
    }
}

/// By `tile`, or by the one that is fastest here.
pub(crate) fn nearest_centroid(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    tile: Option<Tile>,
) -> Result<Assignment> {
    let multiply_adds = rows.rows as u64 * table.nlist() as u64 * rows.dim as u64;
    let tile = tile.unwrap_or_else(|| gpu.tuned.for_work(gpu, multiply_adds));
    let (steps, assignment) = assignment(gpu, rows, table, tile)?;
    if rows.rows > 0 {
        gpu.submit(LABEL, &steps)?;
    }
    Ok(assignment)
}

/// `assign` and `measure`, and what they fill.
pub(super) fn assignment(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    tile: Tile,
) -> Result<([Step; 2], Assignment)> {
    let stage = NearestCentroid::get(gpu, table.metric, tile)?;
    let nlist = table.nlist();
    let tiles = rows.rows.div_ceil(tile.rows);
    let part = centroids_a_part(tile, tiles, nlist);
    let parts = nlist.div_ceil(part);
    let found = gpu.zeros::<Found>(parts * rows.rows)?;
    let (labels, distances) = (gpu.zeros(rows.rows)?, gpu.zeros(rows.rows)?);
    let params = gpu.params(&Params {
        rows: rows.rows as u32,
        nlist: nlist as u32,
        stride: rows.stride as u32 / 4,
        part: part as u32,
    })?;
    let buffers = [
        &params,
        rows.data.gpu(gpu, LABEL)?,
        table.shifted.data.gpu(gpu, LABEL)?,
        table.bias.gpu(gpu, LABEL)?,
        table.centroids.data.gpu(gpu, LABEL)?,
        found.gpu(gpu, LABEL)?,
        labels.gpu(gpu, LABEL)?,
        distances.gpu(gpu, LABEL)?,
    ];
    let bindings = stage.0.bind(gpu, &buffers)?;
    let assign = stage.0.step(0, &bindings, [tiles as u32, parts as u32, 1]);
    let measure = stage.0.step(1, &bindings, grid(rows.rows.div_ceil(MEASURED)));
    Ok(([assign, measure], Assignment { labels, distances, nlist }))
}

/// Whole tiles of centroids for each workgroup of a tile of rows.
fn centroids_a_part(tile: Tile, row_tiles: usize, nlist: usize) -> usize {
    let parts = WORKGROUPS.div_ceil(row_tiles.max(1));
    nlist.div_ceil(tile.centroids).div_ceil(parts) * tile.centroids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centroids_are_shared_out_where_rows_are_few() {
        let [tile, _, small] = Tile::ALL;
        // One tile of rows: a tile of centroids each. 86 × 12 workgroups are the first product over 1024.
        assert_eq!(centroids_a_part(tile, 1, 3205), 128);
        assert_eq!(centroids_a_part(tile, 86, 3205), 3 * 128);
        assert_eq!(centroids_a_part(tile, 1024, 3205), 26 * 128);
        assert_eq!(centroids_a_part(small, 171, 3205), 9 * 64);
        assert_eq!(centroids_a_part(small, 1, 1), 64);
    }
}
