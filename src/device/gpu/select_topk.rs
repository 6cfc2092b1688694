//! Launches `shaders/select_topk.wgsl`: the k smallest keys of each segment.

use super::kernel::{Pipelines, SELECT_TOPK, wgsl_struct};
use super::{Gpu, grid};
use crate::device::buffer::Buffer;
use crate::error::Result;

wgsl_struct!(Params { k, width, segments, unused });

#[derive(Debug)]
pub(crate) struct SelectTopk(Pipelines<1>);

/// A selection ready to be recorded, and where its result will be: segments × k.
pub(crate) struct Selection {
    bindings: wgpu::BindGroup,
    segments: usize,
    pub keys: Buffer<f32>,
    pub candidates: Buffer<u32>,
}

impl SelectTopk {
    pub fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.select_topk.get_or_make(|| Pipelines::new(gpu, &SELECT_TOPK, ["pick"]).map(Self))
    }

    /// Makes the buffers of a selection from `keys` and `candidates`; segments are (start, length).
    pub fn prepare(
        &self,
        gpu: &Gpu,
        keys: &wgpu::Buffer,
        candidates: &wgpu::Buffer,
        segments: &[(u32, u32)],
        k: usize,
    ) -> Result<Selection> {
        let params =
            Params { k: k as u32, width: k.next_power_of_two() as u32, segments: segments.len() as u32, unused: 0 };
        let flat: Vec<[u32; 2]> = segments.iter().map(|&(start, length)| [start, length]).collect();
        let flat = gpu.upload(&flat)?;
        let top_keys = gpu.zeros(segments.len() * k)?;
        let top_candidates = gpu.zeros(segments.len() * k)?;
        let name = "select_topk";
        let buffers = [
            &gpu.params(&params),
            flat.gpu(gpu, name)?,
            keys,
            candidates,
            top_keys.gpu(gpu, name)?,
            top_candidates.gpu(gpu, name)?,
        ];
        let bindings = self.0.bind(gpu, &buffers)?;
        Ok(Selection { bindings, segments: segments.len(), keys: top_keys, candidates: top_candidates })
    }

    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, selection: &Selection) {
        self.0.dispatch(pass, 0, &selection.bindings, grid(selection.segments));
    }
}

pub(crate) fn select_topk(
    gpu: &Gpu,
    keys: &[f32],
    candidates: &[u32],
    segments: &[(u32, u32)],
    k: usize,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let stage = SelectTopk::get(gpu)?;
    let name = "select_topk";
    let (keys, candidates) = (gpu.upload(keys)?, gpu.upload(candidates)?);
    let picked = stage.prepare(gpu, keys.gpu(gpu, name)?, candidates.gpu(gpu, name)?, segments, k)?;
    if !segments.is_empty() {
        gpu.run_pass(name, |pass| stage.encode(pass, &picked))?;
    }
    Ok((
        gpu.download(picked.keys.gpu(gpu, name)?, picked.keys.len())?,
        gpu.download(picked.candidates.gpu(gpu, name)?, picked.candidates.len())?,
    ))
}
