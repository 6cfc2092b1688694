//! Launches `shaders/exact_topk.wgsl` and `select_topk`: the k nearest rows of each query among its ranges.

use std::ops::Range;

use super::candidates::{Run, pieces, topk};
use super::kernel::{EXACT_TOPK, Pipelines, Step, wgsl_struct};
use super::select_topk::Keyed;
use super::{Gpu, Sink, grid};
use crate::device::buffer::{Matrix, TopK};
use crate::device::ranges::RowRanges;
use crate::device::rows::{RowFormat, RowSet};
use crate::error::Result;
use crate::factory::Metric;

/// Queries and rows a task, as in the shader.
const TASK_QUERIES: usize = 16;
const TASK_ROWS: u32 = 64;

wgsl_struct!(Params { stride, first_row, tasks, unused });
wgsl_struct!(Task { first_entry, entries, first_row, rows });
wgsl_struct!(Entry { query, output });

#[derive(Debug)]
pub(crate) struct ExactTopk(Pipelines<1>);

impl ExactTopk {
    fn get(gpu: &Gpu, metric: Metric, format: RowFormat) -> Result<&Self> {
        let kernel = &EXACT_TOPK[metric as usize][format as usize];
        let stage = &gpu.stages.exact_topk[metric as usize][format as usize];
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["measure"]).map(Self))
    }
}

pub(crate) fn exact_topk(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    metric: Metric,
    k: usize,
) -> Result<TopK> {
    let nearest = nearest(gpu, queries, rows, ranges, metric, k, &mut gpu.submitting())?;
    let (mut distances, rows) = nearest.download(gpu)?;
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
    topk(gpu, "exact_topk", ranges, k, |run| measure(gpu, kernel, queries, rows, run), sink)
}

/// A step for each part of the rows that a run of queries is compared with.
fn measure(gpu: &Gpu, kernel: &Pipelines<1>, queries: &Matrix, rows: &RowSet, run: &Run) -> Result<Vec<Step>> {
    let name = "exact_topk";
    let mut steps = Vec::new();
    for (part, first_row, rows) in rows.gpu(gpu, name)? {
        let (tasks, entries) = plan(run, first_row..first_row + rows);
        if !tasks.is_empty() {
            let stride = queries.stride as u32 / 4;
            let params = Params { stride, first_row, tasks: tasks.len() as u32, unused: 0 };
            let (task_list, entry_list) = (gpu.upload(&tasks)?, gpu.upload(&entries)?);
            let buffers = [
                &gpu.params(&params)?,
                queries.data.gpu(gpu, name)?,
                part,
                task_list.gpu(gpu, name)?,
                entry_list.gpu(gpu, name)?,
                run.scratch.keys.gpu(gpu, name)?,
                run.scratch.candidates.gpu(gpu, name)?,
            ];
            steps.push(kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(tasks.len())));
        }
    }
    Ok(steps)
}

/// Cuts a run into tasks over the rows of one part.
fn plan(run: &Run, part: Range<u32>) -> (Vec<Task>, Vec<Entry>) {
    let (mut tasks, mut entries) = (Vec::new(), Vec::new());
    for group in run.groups() {
        for (rows, visits) in pieces(&group, part.clone(), TASK_ROWS, TASK_QUERIES) {
            tasks.push(Task {
                first_entry: entries.len() as u32,
                entries: visits.len() as u32,
                first_row: rows.start - part.start,
                rows: rows.len() as u32,
            });
            entries.extend(
                visits.iter().map(|visit| Entry { query: visit.query, output: run.output(visit, &group, rows.start) }),
            );
        }
    }
    (tasks, entries)
}
