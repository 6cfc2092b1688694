//! Launches `shaders/l2_normalize.wgsl`: rows scaled to unit length.

use super::kernel::{L2_NORMALIZE, wgsl_struct};
use super::pipelines::Pipelines;
use super::{Gpu, Sink, grid};
use crate::device::data::buffer::Matrix;
use crate::error::Result;

wgsl_struct!(Params { rows, stride });

#[derive(Debug)]
pub(crate) struct L2Normalize(Pipelines<1>);

impl L2Normalize {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.l2_normalize.get_or_make(|| Pipelines::new(gpu, &L2_NORMALIZE, ["normalize_rows"]).map(Self))
    }
}

pub(crate) fn l2_normalize(gpu: &Gpu, rows: &Matrix, sink: Sink<'_>) -> Result<Matrix> {
    let name = "l2_normalize";
    let kernel = &L2Normalize::get(gpu)?.0;
    let unit = Matrix::new(gpu.zeros(rows.rows * rows.stride)?, rows.rows, rows.dim, rows.stride);
    if rows.rows > 0 {
        let params = Params { rows: rows.rows as u32, stride: rows.stride as u32 / 4 };
        let buffers = [&gpu.params(&params)?, rows.data.gpu(gpu.id(), name)?, unit.data.gpu(gpu.id(), name)?];
        sink(name, vec![kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(rows.rows))])?;
    }
    Ok(unit)
}
