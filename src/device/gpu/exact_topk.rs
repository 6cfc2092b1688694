//! Launches `shaders/exact_topk.wgsl` and `select_topk`: the k nearest rows of each query among its ranges.

use std::ops::Range;

use super::kernel::{EXACT_TOPK_IP, EXACT_TOPK_L2, Pipelines, wgsl_struct};
use super::select_topk::{SelectTopk, Selection};
use super::{Gpu, grid};
use crate::device::buffer::{Buffer, Matrix, RowSet, TopK};
use crate::device::ranges::{Group, RowRanges};
use crate::error::Result;
use crate::factory::Metric;

/// Queries and rows a task, as in the shader.
const TASK_QUERIES: usize = 16;
const TASK_ROWS: u32 = 64;
/// Distances written before they are selected from; bounds the working memory at 8 bytes each.
const SCRATCH: usize = 1 << 24;
/// Candidates one workgroup selects from; more are split and the parts' best selected once more.
const SLICE: u32 = 1 << 15;

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

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, bindings: &wgpu::BindGroup, tasks: usize) {
        self.0.dispatch(pass, 0, bindings, grid(tasks));
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
    let mut top = TopK { rows: Vec::with_capacity(queries.rows * k), distances: Vec::with_capacity(queries.rows * k) };
    let mut first = 0;
    while first < queries.rows {
        let mut last = first + 1;
        let mut scratch = ranges.candidates(first);
        while last < queries.rows && scratch + ranges.candidates(last) <= SCRATCH {
            scratch += ranges.candidates(last);
            last += 1;
        }
        let picked = launch(gpu, queries, rows, ranges, first..last, metric, k)?;
        top.rows.extend(gpu.download::<u32>(picked.1.gpu(gpu, "exact_topk")?, picked.1.len())?);
        top.distances.extend(gpu.download::<f32>(picked.0.gpu(gpu, "exact_topk")?, picked.0.len())?);
        first = last;
    }
    if metric == Metric::InnerProduct {
        top.distances.iter_mut().for_each(|key| *key = -*key);
    }
    Ok(top)
}

/// One submission: distances of a run of queries to all their candidates, then the k smallest of each.
fn launch(
    gpu: &Gpu,
    queries: &Matrix,
    rows: &RowSet,
    ranges: &RowRanges,
    run: Range<usize>,
    metric: Metric,
    k: usize,
) -> Result<(Buffer<f32>, Buffer<u32>)> {
    let name = "exact_topk";
    let stage = ExactTopk::get(gpu, metric)?;
    let select = SelectTopk::get(gpu)?;
    let mut starts = vec![0u32];
    for query in run.clone() {
        starts.push(starts[starts.len() - 1] + ranges.candidates(query) as u32);
    }
    let scratch = starts[run.len()] as usize;
    let (keys, candidates) = (gpu.zeros::<f32>(scratch)?, gpu.zeros::<u32>(scratch)?);

    let groups = ranges.groups(run.clone());
    let mut part_start = 0u32;
    let mut launches = Vec::new();
    for part in &rows.parts {
        let (tasks, entries) = plan(&groups, part_start..part_start + part.rows as u32, &starts, run.start);
        if !tasks.is_empty() {
            let params = Params {
                stride: queries.stride as u32 / 4,
                first_row: part_start,
                tasks: tasks.len() as u32,
                unused: 0,
            };
            let (task_list, entry_list) = (gpu.upload(&tasks)?, gpu.upload(&entries)?);
            let buffers = [
                &gpu.params(&params),
                queries.data.gpu(gpu, name)?,
                part.data.gpu(gpu, name)?,
                task_list.gpu(gpu, name)?,
                entry_list.gpu(gpu, name)?,
                keys.gpu(gpu, name)?,
                candidates.gpu(gpu, name)?,
            ];
            launches.push((stage.0.bind(gpu, &buffers)?, tasks.len()));
        }
        part_start += part.rows as u32;
    }

    let selections = select_all(gpu, select, &keys, &candidates, &starts, k)?;
    gpu.run_pass(name, |pass| {
        for (bindings, tasks) in &launches {
            stage.encode(pass, bindings, *tasks);
        }
        for selection in &selections {
            select.encode(pass, selection);
        }
    })?;
    let last = selections.into_iter().next_back();
    Ok(last.map_or((keys, candidates), |selection| (selection.keys, selection.candidates)))
}

/// Cuts the groups into tasks over the rows of one part.
fn plan(groups: &[Group], part: Range<u32>, starts: &[u32], first_query: usize) -> (Vec<Task>, Vec<Entry>) {
    let (mut tasks, mut entries) = (Vec::new(), Vec::new());
    for group in groups {
        let (from, to) = (group.rows.start.max(part.start), group.rows.end.min(part.end));
        for row in (from..to.max(from)).step_by(TASK_ROWS as usize) {
            for some in group.queries.chunks(TASK_QUERIES) {
                tasks.push(Task {
                    first_entry: entries.len() as u32,
                    entries: some.len() as u32,
                    first_row: row - part.start,
                    rows: TASK_ROWS.min(to - row),
                });
                entries.extend(some.iter().map(|&(query, place)| Entry {
                    query,
                    output: starts[query as usize - first_query] + place + (row - group.rows.start),
                }));
            }
        }
    }
    (tasks, entries)
}

/// One selection a query; where one has many candidates, slices of them first and then the slices' best.
fn select_all(
    gpu: &Gpu,
    select: &SelectTopk,
    keys: &Buffer<f32>,
    candidates: &Buffer<u32>,
    starts: &[u32],
    k: usize,
) -> Result<Vec<Selection>> {
    let name = "select_topk";
    let (mut slices, mut merged) = (Vec::new(), Vec::new());
    for query in starts.windows(2) {
        let first = slices.len();
        for start in (query[0]..query[1]).step_by(SLICE as usize) {
            slices.push((start, SLICE.min(query[1] - start)));
        }
        if slices.len() == first {
            slices.push((query[0], 0));
        }
        merged.push(((first * k) as u32, ((slices.len() - first) * k) as u32));
    }
    let first = select.prepare(gpu, keys.gpu(gpu, name)?, candidates.gpu(gpu, name)?, &slices, k)?;
    if slices.len() == merged.len() {
        return Ok(vec![first]);
    }
    let second = select.prepare(gpu, first.keys.gpu(gpu, name)?, first.candidates.gpu(gpu, name)?, &merged, k)?;
    Ok(vec![first, second])
}
