//! Launches `shaders/nearest_probes.wgsl`: the nprobe nearest centroids of each row.

use super::Gpu;
use super::kernel::NEAREST_PROBES;
use super::pending::Pending;
use super::pipelines::{Pipelines, Step, first_taken};
use super::select_topk::{Keyed, SelectTopk};
use super::tiles::Params;
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::data::method::Tile;
use crate::error::Result;

/// A live call's frames fill the small one at most, a file's the large one. In the order of their kernels.
const TILES: [Tile; 2] = [Tile::ALL[2], Tile::ALL[0]];

#[derive(Debug)]
pub(crate) struct NearestProbes {
    pipelines: Pipelines<1>,
    tile: Tile,
}

impl NearestProbes {
    fn get(gpu: &Gpu, rows: usize) -> Result<&Self> {
        let wanted = usize::from(rows > TILES[0].rows);
        first_taken(wanted, [1 - wanted], |number| {
            gpu.stages.nearest_probes[number].get_or_make(|| {
                let pipelines = Pipelines::new(gpu, &NEAREST_PROBES[number], ["score"])?;
                Ok(Self { pipelines, tile: TILES[number] })
            })
        })
    }

    fn step(&self, bindings: &wgpu::BindGroup, rows: usize, nlist: usize) -> Step {
        let tiles = [nlist.div_ceil(self.tile.centroids) as u32, rows.div_ceil(self.tile.rows) as u32, 1];
        self.pipelines.step(0, bindings, tiles)
    }
}

pub(crate) fn nearest_probes(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    nprobe: usize,
    pending: &mut Pending,
) -> Result<Buffer<u32>> {
    let (select, nlist) = (SelectTopk::get(gpu)?, table.nlist());
    let all = score(gpu, rows, table, pending)?;
    let picked = Keyed::new(gpu, rows.rows * nprobe)?;
    let segments = (0..rows.rows).map(|row| [(row * nlist) as u32, nlist as u32]);
    let segments = gpu.upload(&segments.collect::<Vec<_>>())?;
    pending.push(select.step(gpu, &all, &segments, nprobe, &picked, 0)?);
    Ok(picked.candidates)
}

/// Keys of all centroids for each row, and their numbers, on the host: for more probes than a workgroup can sort.
pub(crate) fn all_keys(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    pending: &mut Pending,
) -> Result<(Vec<f32>, Vec<u32>)> {
    score(gpu, rows, table, pending)?.download(gpu, pending)
}

fn score(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, pending: &mut Pending) -> Result<Keyed> {
    let (stage, nlist, name) = (NearestProbes::get(gpu, rows.rows)?, table.nlist(), "nearest_probes");
    let all = Keyed::new(gpu, rows.rows * nlist)?;
    let params =
        Params { rows: rows.rows as u32, nlist: nlist as u32, stride: rows.stride as u32 / 4, part: nlist as u32 };
    let buffers = [
        &gpu.params(&params)?,
        rows.data.gpu(gpu.id(), name)?,
        table.shifted.data.gpu(gpu.id(), name)?,
        table.bias.gpu(gpu.id(), name)?,
        all.keys.gpu(gpu.id(), name)?,
        all.candidates.gpu(gpu.id(), name)?,
    ];
    let bindings = stage.pipelines.bind(gpu, &buffers)?;
    pending.push(stage.step(&bindings, rows.rows, nlist));
    Ok(all)
}
