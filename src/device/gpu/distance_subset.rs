//! Launches `shaders/distance_subset.wgsl`: distances of each query to rows of its own choice.

use super::kernel::{DISTANCE_SUBSET, wgsl_struct};
use super::pipelines::Pipelines;
use super::{Gpu, Sink, grid};
use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::rows::{RowFormat, RowSet};
use crate::error::Result;
use crate::factory::Metric;

/// Pairs of query and row a workgroup, as in the shader.
const PAIRS: usize = 16;

wgsl_struct!(Params { stride, subset, pairs, first_row, rows, keys, worst, unused });

#[derive(Debug)]
pub(crate) struct DistanceSubset(Pipelines<1>);

impl DistanceSubset {
    fn get(gpu: &Gpu, metric: Metric, format: RowFormat) -> Result<&Self> {
        let kernel = &DISTANCE_SUBSET[metric as usize][format as usize];
        let stage = &gpu.stages.distance_subset[metric as usize][format as usize];
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["measure"]).map(Self))
    }
}

pub(crate) fn distance_subset(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    candidates: &[u32],
    metric: Metric,
) -> Result<Vec<f32>> {
    let candidates = gpu.upload(candidates)?;
    let found = distances(gpu, queries, rows, &candidates, metric, false, &mut gpu.submitting())?;
    gpu.download(found.gpu(gpu.id(), "distance_subset")?, found.len())
}

/// Distances on the device; `keys` asks for keys instead, of which the smallest is the nearest.
pub(super) fn distances(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    candidates: &Buffer<u32>,
    metric: Metric,
    keys: bool,
    sink: Sink<'_>,
) -> Result<Buffer<f32>> {
    let name = "distance_subset";
    let kernel = &DistanceSubset::get(gpu, metric, rows.format)?.0;
    let pairs = candidates.len();
    let found = gpu.zeros(pairs)?;
    if pairs == 0 {
        return Ok(found);
    }
    let mut steps = Vec::new();
    for (part, first_row, rows) in rows.gpu(gpu.id(), name)? {
        let params = Params {
            stride: queries.stride as u32 / 4,
            subset: (pairs / queries.rows) as u32,
            pairs: pairs as u32,
            first_row,
            rows,
            keys: u32::from(keys),
            worst: if keys { f32::MAX } else { metric.worst() }.to_bits(),
            unused: 0,
        };
        let buffers = [
            &gpu.params(&params)?,
            queries.data.gpu(gpu.id(), name)?,
            part,
            candidates.gpu(gpu.id(), name)?,
            found.gpu(gpu.id(), name)?,
        ];
        steps.push(kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(pairs.div_ceil(PAIRS))));
    }
    sink(name, steps)?;
    Ok(found)
}
