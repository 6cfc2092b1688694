//! Launches `shaders/compare.wgsl`: the nearest of the centroids that are marked for each row.

use super::kernel::{COMPARE, wgsl_struct};
use super::pipelines::{Pipelines, Step};
use super::tiles::Found;
use super::{Gpu, grid};
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::error::Result;

const LABEL: &str = "compare";

wgsl_struct!(Params { rows, nlist, stride, unused });

#[derive(Debug)]
pub(crate) struct Compare(Pipelines<1>);

impl Compare {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.compare.get_or_make(|| Pipelines::new(gpu, &COMPARE, ["compare"]).map(Self))
    }
}

/// A step that finds the best of the marked centroids of each row, and what it fills.
pub(super) fn compare(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    marks: &Buffer<u32>,
) -> Result<(Step, Buffer<Found>)> {
    let kernel = &Compare::get(gpu)?.0;
    let best = gpu.zeros(rows.rows)?;
    let params =
        Params { rows: rows.rows as u32, nlist: table.nlist() as u32, stride: rows.stride as u32 / 4, unused: 0 };
    let buffers = [
        &gpu.params(&params)?,
        rows.data.gpu(gpu.id(), LABEL)?,
        table.shifted.data.gpu(gpu.id(), LABEL)?,
        table.bias.gpu(gpu.id(), LABEL)?,
        marks.gpu(gpu.id(), LABEL)?,
        best.gpu(gpu.id(), LABEL)?,
    ];
    Ok((kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(rows.rows)), best))
}
