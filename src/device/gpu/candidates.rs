//! What exact_topk and fast_scan have in common: a kernel writes a key for every candidate of a run of queries, then
//! select_topk picks the k smallest of each.

use std::ops::Range;

use super::list_ranges::list_ranges;
use super::pipelines::Step;
use super::select_topk::{Keyed, SelectTopk};
use super::tasks::{SLICE, Task, TaskShape, Tasks, Visit, slices};
use super::{Gpu, Sink};
use crate::device::data::buffer::Buffer;
use crate::device::data::ranges::{RowRanges, groups};
use crate::error::Result;

/// Keys written before they are selected from; bounds the working memory at 8 bytes each.
const SCRATCH: usize = 1 << 24;
/// Consecutive queries whose keys fit the scratch memory together.
struct Run {
    queries: Range<usize>,
    /// Where each query's keys start, and where the last one's end.
    starts: Vec<u32>,
}

/// The k smallest keys and their candidates for each query: `measure` makes the steps that do tasks, and write keys.
pub(super) fn topk(
    gpu: &Gpu,
    name: &'static str,
    ranges: &RowRanges,
    k: usize,
    shape: TaskShape,
    measure: impl Fn(&Tasks, &Keyed) -> Result<Vec<Step>>,
    sink: Sink<'_>,
) -> Result<Keyed> {
    let nearest = Keyed::new(gpu, ranges.queries() * k)?;
    let runs = runs(ranges);
    let scratch = runs.iter().filter_map(|run| run.starts.last()).max().map_or(0, |&end| end as usize);
    let scratch = Keyed::new(gpu, scratch)?;
    for run in runs {
        let mut steps = Vec::new();
        let tasks = match &ranges.visited {
            Some(visited) => list_ranges(gpu, visited, run.queries.clone(), shape, &mut steps)?,
            None => run.tasks(gpu, ranges, shape)?,
        };
        if !tasks.tasks.is_empty() {
            steps.extend(measure(&tasks, &scratch)?);
        }
        run.select(gpu, (&scratch, &tasks.segments), k, &nearest, &mut steps)?;
        sink(name, steps)?;
    }
    Ok(nearest)
}

/// Cuts the queries into runs, of one query at least.
fn runs(ranges: &RowRanges) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for query in 0..ranges.queries() {
        let candidates = ranges.candidates(query);
        match runs.last_mut() {
            Some(run) if run.end() as usize + candidates <= SCRATCH => {
                run.starts.push(run.end() + candidates as u32);
                run.queries.end += 1;
            }
            _ => runs.push(Run { queries: query..query + 1, starts: vec![0, candidates as u32] }),
        }
    }
    runs
}

impl Run {
    fn end(&self) -> u32 {
        self.starts[self.starts.len() - 1]
    }

    /// Cuts what these queries are compared with into tasks.
    fn tasks(&self, gpu: &Gpu, ranges: &RowRanges, shape: TaskShape) -> Result<Tasks> {
        let mut of_queries = Vec::new();
        ranges.visits(self.queries.clone(), &mut of_queries);
        let (mut tasks, mut visits) = (Vec::new(), Vec::new());
        for group in groups(&of_queries) {
            let (first, count) = (visits.len() as u32, group.visits.len() as u32);
            visits.extend(group.visits.iter().map(|visit| {
                let first_key = self.starts[visit.query as usize - self.queries.start] + visit.place;
                Visit { query: visit.query, list: visit.number, base: first_key.wrapping_sub(group.rows.start) }
            }));
            for first_row in group.rows.clone().step_by(shape.rows as usize) {
                let rows = shape.rows.min(group.rows.end - first_row);
                tasks.extend((0..count).step_by(shape.queries as usize).map(|visit| {
                    let visits = shape.queries.min(count - visit);
                    Task { first_visit: first + visit, visits, first_row, rows }
                }));
            }
        }
        let segments: Vec<[u32; 2]> = self.starts.windows(2).flat_map(|keys| sliced(keys[0], keys[1])).collect();
        Ok(Tasks { tasks: gpu.upload(&tasks)?, visits: gpu.upload(&visits)?, segments: gpu.upload(&segments)? })
    }

    /// One selection a query; where one may have many candidates, slices of them first and then the slices' best.
    fn select(
        &self,
        gpu: &Gpu,
        (keys, segments): (&Keyed, &Buffer<[u32; 2]>),
        k: usize,
        into: &Keyed,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let (select, first) = (SelectTopk::get(gpu)?, self.queries.start);
        if segments.len() == self.queries.len() {
            steps.push(select.step(gpu, keys, segments, k, into, first)?);
            return Ok(());
        }
        let best = Keyed::new(gpu, segments.len() * k)?;
        let mut end = 0;
        let merged = self.starts.windows(2).map(|keys| {
            let (start, length) = (end, (slices(keys[1] - keys[0]) * k) as u32);
            end += length;
            [start, length]
        });
        let merged = gpu.upload(&merged.collect::<Vec<_>>())?;
        steps.push(select.step(gpu, keys, segments, k, &best, 0)?);
        steps.push(select.step(gpu, &best, &merged, k, into, first)?);
        Ok(())
    }
}

/// Starts and lengths of the slices of a query's keys.
fn sliced(start: u32, end: u32) -> impl Iterator<Item = [u32; 2]> {
    let starts = (0..slices(end - start) as u32).map(move |slice| start + slice * SLICE);
    starts.map(move |start| [start, SLICE.min(end - start)])
}
