//! Launches `shaders/exact_topk.wgsl` and `select_topk`: the k nearest rows of each query among its ranges.

use std::ops::Range;

use super::Gpu;
use super::candidates::{Launch, Run, pieces, topk};
use super::kernel::{EXACT_TOPK_IP, EXACT_TOPK_L2, Pipelines, wgsl_struct};
use crate::device::buffer::{Matrix, RowSet, TopK};
use crate::device::ranges::RowRanges;
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
    fn get(gpu: &Gpu, metric: Metric) -> Result<&Self> {
        let (stage, kernel) = match metric {
            Metric::L2 => (&gpu.stages.exact_topk_l2, &EXACT_TOPK_L2),
            Metric::InnerProduct => (&gpu.stages.exact_topk_ip, &EXACT_TOPK_IP),
        };
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
    let kernel = &ExactTopk::get(gpu, metric)?.0;
    let launches = |run: &Run| launches(gpu, kernel, queries, rows, run);
    let (mut distances, rows) = topk(gpu, "exact_topk", kernel, ranges, k, launches)?;
    if metric == Metric::InnerProduct {
        distances.iter_mut().for_each(|key| *key = -*key);
    }
    Ok(TopK { rows, distances })
}

/// A dispatch for each part of the rows that a run of queries is compared with.
fn launches(gpu: &Gpu, kernel: &Pipelines<1>, queries: &Matrix, rows: &RowSet, run: &Run) -> Result<Vec<Launch>> {
    let name = "exact_topk";
    let mut first_row = 0u32;
    let mut launches = Vec::new();
    for part in &rows.parts {
        let (tasks, entries) = plan(run, first_row..first_row + part.rows as u32);
        if !tasks.is_empty() {
            let stride = queries.stride as u32 / 4;
            let params = Params { stride, first_row, tasks: tasks.len() as u32, unused: 0 };
            let (task_list, entry_list) = (gpu.upload(&tasks)?, gpu.upload(&entries)?);
            let buffers = [
                &gpu.params(&params),
                queries.data.gpu(gpu, name)?,
                part.data.gpu(gpu, name)?,
                task_list.gpu(gpu, name)?,
                entry_list.gpu(gpu, name)?,
                run.keys.gpu(gpu, name)?,
                run.candidates.gpu(gpu, name)?,
            ];
            launches.push((kernel.bind(gpu, &buffers)?, tasks.len()));
        }
        first_row += part.rows as u32;
    }
    Ok(launches)
}

/// Cuts a run into tasks over the rows of one part.
fn plan(run: &Run, part: Range<u32>) -> (Vec<Task>, Vec<Entry>) {
    let (mut tasks, mut entries) = (Vec::new(), Vec::new());
    for group in &run.groups {
        for (rows, visits) in pieces(group, part.clone(), TASK_ROWS, TASK_QUERIES) {
            tasks.push(Task {
                first_entry: entries.len() as u32,
                entries: visits.len() as u32,
                first_row: rows.start - part.start,
                rows: rows.len() as u32,
            });
            entries.extend(
                visits.iter().map(|visit| Entry { query: visit.query, output: run.output(visit, group, rows.start) }),
            );
        }
    }
    (tasks, entries)
}
