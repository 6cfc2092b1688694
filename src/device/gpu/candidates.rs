//! What exact_topk and fast_scan have in common: a kernel writes a key for every candidate of a run of queries, then
//! select_topk picks the k smallest of each.

use std::ops::Range;

use super::kernel::Pipelines;
use super::select_topk::{SelectTopk, Selection};
use super::{Gpu, grid};
use crate::device::buffer::Buffer;
use crate::device::ranges::{Group, GroupVisit, RowRanges};
use crate::error::Result;

/// Keys written before they are selected from; bounds the working memory at 8 bytes each.
const SCRATCH: usize = 1 << 24;
/// Candidates one workgroup selects from; more are split and the parts' best selected once more.
const SLICE: u32 = 1 << 15;

/// Consecutive queries whose keys fit the scratch memory together.
pub(super) struct Run {
    /// The row ranges of these queries.
    pub groups: Vec<Group>,
    pub keys: Buffer<f32>,
    pub candidates: Buffer<u32>,
    first_query: usize,
    /// Where each query's keys start, and where the last one's end.
    starts: Vec<u32>,
}

/// Tasks of one dispatch, bound.
pub(super) type Launch = (wgpu::BindGroup, usize);

/// The k smallest keys and their candidates for each query: `launches` makes the dispatches of `kernel` that write the
/// keys of a run.
pub(super) fn topk(
    gpu: &Gpu,
    name: &'static str,
    kernel: &Pipelines<1>,
    ranges: &RowRanges,
    k: usize,
    launches: impl Fn(&Run) -> Result<Vec<Launch>>,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let select = SelectTopk::get(gpu)?;
    let (mut keys, mut candidates) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < ranges.queries() {
        let run = Run::new(gpu, ranges, first)?;
        let launches = launches(&run)?;
        let selections = run.select(gpu, select, k)?;
        gpu.run_pass(name, |pass| {
            for (bindings, tasks) in &launches {
                kernel.dispatch(pass, 0, bindings, grid(*tasks));
            }
            for selection in &selections {
                select.encode(pass, selection);
            }
        })?;
        let best = &selections[selections.len() - 1];
        keys.extend(gpu.download::<f32>(best.keys.gpu(gpu, name)?, best.keys.len())?);
        candidates.extend(gpu.download::<u32>(best.candidates.gpu(gpu, name)?, best.candidates.len())?);
        first += run.starts.len() - 1;
    }
    Ok((keys, candidates))
}

impl Run {
    /// As many queries from `first` on as fit, at least one.
    fn new(gpu: &Gpu, ranges: &RowRanges, first: usize) -> Result<Self> {
        let mut starts = vec![0, ranges.candidates(first)];
        for query in first + 1..ranges.queries() {
            let end = starts[starts.len() - 1] + ranges.candidates(query);
            if end > SCRATCH {
                break;
            }
            starts.push(end);
        }
        let scratch = starts[starts.len() - 1];
        Ok(Self {
            groups: ranges.groups(first..first + starts.len() - 1),
            keys: gpu.zeros(scratch)?,
            candidates: gpu.zeros(scratch)?,
            first_query: first,
            starts: starts.into_iter().map(|start| start as u32).collect(),
        })
    }

    /// Where the key of a row of a group goes.
    pub fn output(&self, visit: &GroupVisit, group: &Group, row: u32) -> u32 {
        self.starts[visit.query as usize - self.first_query] + visit.place + (row - group.rows.start)
    }

    /// One selection a query; where one has many candidates, slices of them first and then the slices' best.
    fn select(&self, gpu: &Gpu, select: &SelectTopk, k: usize) -> Result<Vec<Selection>> {
        let name = "select_topk";
        let (mut slices, mut merged) = (Vec::new(), Vec::new());
        for query in self.starts.windows(2) {
            let first = slices.len();
            for start in (query[0]..query[1]).step_by(SLICE as usize) {
                slices.push((start, SLICE.min(query[1] - start)));
            }
            if slices.len() == first {
                slices.push((query[0], 0));
            }
            merged.push(((first * k) as u32, ((slices.len() - first) * k) as u32));
        }
        let (keys, candidates) = (self.keys.gpu(gpu, name)?, self.candidates.gpu(gpu, name)?);
        let first = select.prepare(gpu, keys, candidates, &slices, k)?;
        if slices.len() == merged.len() {
            return Ok(vec![first]);
        }
        let (keys, candidates) = (first.keys.gpu(gpu, name)?, first.candidates.gpu(gpu, name)?);
        let second = select.prepare(gpu, keys, candidates, &merged, k)?;
        Ok(vec![first, second])
    }
}

/// Cuts the part of a group's rows that lies in `part` into pieces of at most `rows` rows and `queries` queries.
pub(super) fn pieces(
    group: &Group,
    part: Range<u32>,
    rows: u32,
    queries: usize,
) -> impl Iterator<Item = (Range<u32>, &[GroupVisit])> {
    let (from, to) = (group.rows.start.max(part.start), group.rows.end.min(part.end));
    (from..to.max(from)).step_by(rows as usize).flat_map(move |row| {
        group.visits.chunks(queries).map(move |visits| (row..to.min(row.saturating_add(rows)), visits))
    })
}
