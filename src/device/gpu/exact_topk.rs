//! Launches `shaders/exact_topk.wgsl` and `select_topk`: the k nearest rows of each query among its ranges.

use super::candidates::topk;
use super::kernel::{EXACT_TOPK, wgsl_struct};
use super::pending::Pending;
use super::pipelines::{Pipelines, Step};
use super::select_topk::Keyed;
use super::tasks::{TaskShape, Tasks};
use super::{Gpu, Sink, grid};
use crate::device::data::buffer::{Matrix, TopK};
use crate::device::data::ranges::RowRanges;
use crate::device::data::rows::{RowFormat, RowSet};
use crate::error::Result;
use crate::factory::Metric;

/// As in the shader.
const TASK: TaskShape = TaskShape { queries: 16, rows: 64 };

wgsl_struct!(Params { stride, first_row, rows, tasks });

#[derive(Debug)]
pub(crate) struct ExactTopk(Pipelines<1>);

impl ExactTopk {
    fn get(gpu: &Gpu, metric: Metric, format: RowFormat) -> Result<&Self> {
        let kernel = &EXACT_TOPK[metric as usize][format as usize];
        let stage = &gpu.stages.exact_topk[metric as usize][format as usize];
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["measure"]).map(Self))
    }
}

/// Submits what is pending, too.
pub(crate) fn exact_topk(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    metric: Metric,
    k: usize,
    pending: &mut Pending,
) -> Result<TopK> {
    let nearest = nearest(gpu, queries, rows, ranges, metric, k, &mut pending.runs(gpu))?;
    let (mut distances, rows) = nearest.download(gpu, pending)?;
    if metric == Metric::InnerProduct {
        distances.iter_mut().for_each(|key| *key = -*key);
    }
    Ok(TopK { rows, distances })
}

/// The k nearest rows on the device, by their keys: an inner product's is its negative.
pub(super) fn nearest(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    metric: Metric,
    k: usize,
    sink: Sink<'_>,
) -> Result<Keyed> {
    let kernel = &ExactTopk::get(gpu, metric, rows.format)?.0;
    let measure = |tasks: &Tasks, keys: &Keyed| measure(gpu, kernel, queries, rows, tasks, keys);
    topk(gpu, "exact_topk", ranges, k, TASK, measure, sink)
}

/// A step for each part of the rows: tasks are done as far as they lie in it.
fn measure(
    gpu: &Gpu,
    kernel: &Pipelines<1>,
    queries: &Matrix,
    rows: &RowSet,
    Tasks { tasks, visits, .. }: &Tasks,
    keys: &Keyed,
) -> Result<Vec<Step>> {
    let name = "exact_topk";
    let step = |(part, first_row, rows): (&wgpu::Buffer, u32, u32)| {
        let params = Params { stride: queries.stride as u32 / 4, first_row, rows, tasks: tasks.len() as u32 };
        let buffers = [
            &gpu.params(&params)?,
            queries.data.gpu(gpu.id(), name)?,
            part,
            tasks.gpu(gpu.id(), name)?,
            visits.gpu(gpu.id(), name)?,
            keys.keys.gpu(gpu.id(), name)?,
            keys.candidates.gpu(gpu.id(), name)?,
        ];
        Ok(kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(tasks.len())))
    };
    rows.gpu(gpu.id(), name)?.into_iter().map(step).collect()
}
