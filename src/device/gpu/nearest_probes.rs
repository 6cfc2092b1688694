//! Launches `shaders/nearest_probes.wgsl`: the nprobe nearest centroids of each row.

use super::Gpu;
use super::autotune::Tile;
use super::kernel::NEAREST_PROBES;
use super::nearest_centroid::Params;
use super::pending::Pending;
use super::pipelines::{Pipelines, Step, first_taken};
use super::select_topk::{Keyed, SelectTopk};
use crate::device::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::{MAX_K, cpu};
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
    let stage = NearestProbes::get(gpu, rows.rows)?;
    let select = SelectTopk::get(gpu)?;
    let nlist = table.nlist();
    let name = "nearest_probes";
    let all = Keyed::new(gpu, rows.rows * nlist)?;
    let params =
        Params { rows: rows.rows as u32, nlist: nlist as u32, stride: rows.stride as u32 / 4, part: nlist as u32 };
    let params = gpu.params(&params)?;
    let buffers = [
        &params,
        rows.data.gpu(gpu, name)?,
        table.shifted.data.gpu(gpu, name)?,
        table.bias.gpu(gpu, name)?,
        all.keys.gpu(gpu, name)?,
        all.candidates.gpu(gpu, name)?,
    ];
    let bindings = stage.pipelines.bind(gpu, &buffers)?;
    pending.push(stage.step(&bindings, rows.rows, nlist));
    let segments = (0..rows.rows).map(|row| (row * nlist) as u32);
    if nprobe > MAX_K {
        // More than a workgroup can sort: rare enough for the host.
        let segments: Vec<_> = segments.map(|start| (start, nlist as u32)).collect();
        let (keys, candidates) = all.download(gpu, pending)?;
        return gpu.upload(&cpu::select_topk::select_topk(&keys, &candidates, &segments, nprobe).1);
    }
    let picked = Keyed::new(gpu, rows.rows * nprobe)?;
    let segments = gpu.upload(&segments.map(|start| [start, nlist as u32]).collect::<Vec<_>>())?;
    pending.push(select.step(gpu, &all, &segments, nprobe, &picked, 0)?);
    Ok(picked.candidates)
}
