//! Launches `shaders/codebooks.wgsl`: codebooks as the stages read them.

use super::kernel::{CODEBOOKS, wgsl_struct};
use super::pipelines::Pipelines;
use super::{Gpu, grid};
use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::pq::CENTROIDS;
use crate::error::Result;

/// Invocations a workgroup, each of which writes four floats.
const LANES: usize = 64;

wgsl_struct!(Params { subs, dsub, stride });

#[derive(Debug)]
pub(crate) struct MakeCodebooks(Pipelines<1>);

impl MakeCodebooks {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.codebooks.get_or_make(|| Pipelines::new(gpu, &CODEBOOKS, ["transpose"]).map(Self))
    }
}

/// [M · 16][dsub] as [dsub][4][M][4].
pub(crate) fn codebooks(gpu: &Gpu, centroids: &Matrix) -> Result<Buffer<f32>> {
    let name = "codebooks";
    let kernel = &MakeCodebooks::get(gpu)?.0;
    let floats = centroids.rows * centroids.dim;
    let codebooks = gpu.zeros(floats)?;
    let params = Params {
        subs: (centroids.rows / CENTROIDS) as u32,
        dsub: centroids.dim as u32,
        stride: centroids.stride as u32,
    };
    let bindings = kernel
        .bind(gpu, &[&gpu.params(&params)?, centroids.data.gpu(gpu.id(), name)?, codebooks.gpu(gpu.id(), name)?])?;
    gpu.submit(name, &[kernel.step(0, &bindings, grid(floats.div_ceil(4 * LANES)))])?;
    Ok(codebooks)
}
