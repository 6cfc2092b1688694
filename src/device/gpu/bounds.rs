//! Launches `shaders/bounds.wgsl`: which centroids may be the nearest of each row.

use super::Gpu;
use super::kernel::{BOUNDS, BOUNDS_OF_HALVES};
use super::matrices::Matrices;
use super::pipelines::{Pipelines, Step};
use super::sketch::Sketches;
use super::tiles::{Params, parts};
use crate::device::data::buffer::{Assignment, Buffer};
use crate::device::data::method::{Shares, Tile};
use crate::error::Result;
use crate::factory::Metric;

/// The tile of matrix units.
const OF_HALVES: Tile = Tile::ALL[2];
const LABEL: &str = "bounds";

#[derive(Debug)]
pub(crate) struct Bounds(Pipelines<1>);

impl Bounds {
    pub fn get(gpu: &Gpu, shares: Shares, metric: Metric, tile: Tile) -> Result<&Self> {
        let (metric, tile, stages) = (metric as usize, tile.number()?, &gpu.stages);
        let (stage, kernel) = match shares {
            Shares::Floats => (&stages.bounds[0][metric][tile], &BOUNDS[0][metric][tile]),
            Shares::Bytes => (&stages.bounds[1][metric][tile], &BOUNDS[1][metric][tile]),
            Shares::Halves => {
                let size = gpu.matrices.ok_or_else(Matrices::missing)? as usize;
                (&stages.bounds_of_halves[metric], &BOUNDS_OF_HALVES[size][metric])
            }
        };
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["reach"]).map(Self))
    }

    /// A step that marks the centroids whose bounds reach the scores of the guesses, and what it fills: a bit a centroid,
    /// [`words`] a row.
    pub fn reach(
        &self,
        gpu: &Gpu,
        (rows, centroids): (&Sketches, &Sketches),
        guesses: &Assignment,
        shares: Shares,
        tile: Tile,
    ) -> Result<(Step, Buffer<u32>)> {
        let tile = if shares == Shares::Halves { OF_HALVES } else { tile };
        let kernel = &self.0;
        let (count, nlist) = (rows.shares.rows, centroids.shares.rows);
        let (shares_a_word, [own, theirs]) = match shares {
            Shares::Floats => {
                (4, [rows.shares.data.gpu(gpu.id(), LABEL)?, centroids.shares.data.gpu(gpu.id(), LABEL)?])
            }
            Shares::Bytes => (16, [rows.bytes.gpu(gpu.id(), LABEL)?, centroids.bytes.gpu(gpu.id(), LABEL)?]),
            Shares::Halves => (1, [rows.halves()?.gpu(gpu.id(), LABEL)?, centroids.halves()?.gpu(gpu.id(), LABEL)?]),
        };
        let stride = rows.shares.stride / shares_a_word;
        let marks = gpu.zeros(count * words(nlist))?;
        let (tiles, part) = parts(tile, count, nlist);
        let params = Params { rows: count as u32, nlist: nlist as u32, stride: stride as u32, part: part as u32 };
        let buffers = [
            &gpu.params(&params)?,
            own,
            theirs,
            centroids.biases.gpu(gpu.id(), LABEL)?,
            rows.sides.gpu(gpu.id(), LABEL)?,
            centroids.sides.gpu(gpu.id(), LABEL)?,
            guesses.labels.gpu(gpu.id(), LABEL)?,
            guesses.distances.gpu(gpu.id(), LABEL)?,
            marks.gpu(gpu.id(), LABEL)?,
        ];
        Ok((kernel.step(0, &kernel.bind(gpu, &buffers)?, tiles), marks))
    }
}

/// Bits of a row's marks, in words.
pub(super) fn words(nlist: usize) -> usize {
    nlist.div_ceil(32)
}
