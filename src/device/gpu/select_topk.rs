//! Launches `shaders/select_topk.wgsl`: the k smallest keys of each segment.

use super::kernel::{SELECT_TOPK, wgsl_struct};
use super::pending::{Pending, Words, floats};
use super::pipelines::{Pipelines, Step};
use super::{Gpu, grid};
use crate::device::data::buffer::Buffer;
use crate::error::Result;

wgsl_struct!(Params { k, width, segments, first });

#[derive(Debug)]
pub(crate) struct SelectTopk(Pipelines<1>);

/// Keys and the candidates that they are of.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub keys: Buffer<f32>,
    pub candidates: Buffer<u32>,
}

impl Keyed {
    /// Room for `len` of them.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        Ok(Self { keys: gpu.zeros(len)?, candidates: gpu.zeros(len)? })
    }

    /// Keys and candidates, read back once what is pending was submitted.
    pub fn download(&self, gpu: &Gpu, pending: &mut Pending) -> Result<(Vec<f32>, Vec<u32>)> {
        let [keys, candidates] = pending.read(gpu, "select_topk", self.words(gpu)?)?;
        Ok((floats(keys), candidates))
    }

    /// All of both.
    pub fn words(&self, gpu: &Gpu) -> Result<[Words<'_>; 2]> {
        let name = "select_topk";
        let keys = (self.keys.gpu(gpu.id(), name)?, self.keys.len());
        Ok([keys, (self.candidates.gpu(gpu.id(), name)?, self.candidates.len())])
    }
}

impl SelectTopk {
    pub fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.select_topk.get_or_make(|| Pipelines::new(gpu, &SELECT_TOPK, ["pick"]).map(Self))
    }

    /// Selects the k smallest keys of segments of `from`, each a start and a length. What they give is written to `into`, k a
    /// segment, from segment number `first` on.
    pub fn step(
        &self,
        gpu: &Gpu,
        from: &Keyed,
        segments: &Buffer<[u32; 2]>,
        k: usize,
        into: &Keyed,
        first: usize,
    ) -> Result<Step> {
        let params = Params {
            k: k as u32,
            width: k.next_power_of_two() as u32,
            segments: segments.len() as u32,
            first: first as u32,
        };
        let name = "select_topk";
        let buffers = [
            &gpu.params(&params)?,
            segments.gpu(gpu.id(), name)?,
            from.keys.gpu(gpu.id(), name)?,
            from.candidates.gpu(gpu.id(), name)?,
            into.keys.gpu(gpu.id(), name)?,
            into.candidates.gpu(gpu.id(), name)?,
        ];
        let bindings = self.0.bind(gpu, &buffers)?;
        Ok(self.0.step(0, &bindings, grid(segments.len())))
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
    let all = Keyed { keys: gpu.upload(keys)?, candidates: gpu.upload(candidates)? };
    let nearest = Keyed::new(gpu, segments.len() * k)?;
    let mut pending = Pending::default();
    if !segments.is_empty() {
        let segments: Vec<_> = segments.iter().map(|&(start, length)| [start, length]).collect();
        pending.push(stage.step(gpu, &all, &gpu.upload(&segments)?, k, &nearest, 0)?);
    }
    nearest.download(gpu, &mut pending)
}
