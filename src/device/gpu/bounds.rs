//! Launches `shaders/bounds.wgsl`: which centroids may be the nearest of each row.

use super::Gpu;
use super::autotune::Tile;
use super::kernel::{BOUNDS, Pipelines, Step};
use super::nearest_centroid::{Params, parts};
use super::sketch::Sketches;
use crate::device::buffer::{Assignment, Buffer};
use crate::error::Result;
use crate::factory::Metric;

const LABEL: &str = "bounds";

#[derive(Debug)]
pub(crate) struct Bounds(Pipelines<1>);

impl Bounds {
    fn get(gpu: &Gpu, metric: Metric, tile: Tile) -> Result<&Self> {
        let (metric, tile) = (metric as usize, tile.number()?);
        let (stage, kernel) = (&gpu.stages.bounds[metric][tile], &BOUNDS[metric][tile]);
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["reach"]).map(Self))
    }
}

/// Bits of a row's marks, in words.
pub(super) fn words(nlist: usize) -> usize {
    nlist.div_ceil(32)
}

/// A step that marks the centroids whose bounds reach the scores of the guesses, and what it fills: a bit a centroid,
/// [`words`] a row.
pub(super) fn reach(
    gpu: &Gpu,
    (rows, centroids): (&Sketches, &Sketches),
    guesses: &Assignment,
    metric: Metric,
    tile: Tile,
) -> Result<(Step, Buffer<u32>)> {
    let kernel = &Bounds::get(gpu, metric, tile)?.0;
    let (count, nlist) = (rows.shares.rows, centroids.shares.rows);
    let marks = gpu.zeros(count * words(nlist))?;
    let (tiles, part) = parts(tile, count, nlist);
    let params =
        Params { rows: count as u32, nlist: nlist as u32, stride: rows.shares.stride as u32 / 4, part: part as u32 };
    let buffers = [
        &gpu.params(&params)?,
        rows.shares.data.gpu(gpu, LABEL)?,
        centroids.shares.data.gpu(gpu, LABEL)?,
        centroids.biases.gpu(gpu, LABEL)?,
        rows.sides.gpu(gpu, LABEL)?,
        centroids.sides.gpu(gpu, LABEL)?,
        guesses.labels.gpu(gpu, LABEL)?,
        guesses.distances.gpu(gpu, LABEL)?,
        marks.gpu(gpu, LABEL)?,
    ];
    Ok((kernel.step(0, &kernel.bind(gpu, &buffers)?, tiles), marks))
}
