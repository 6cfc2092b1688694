//! What exact_topk and fast_scan have in common: a kernel writes a key for every candidate of a run of queries, then
//! select_topk picks the k smallest of each.

use std::ops::Range;

use super::kernel::Step;
use super::select_topk::{Keyed, SelectTopk};
use super::{Gpu, Sink};
use crate::device::ranges::{Group, GroupVisit, RowRanges, groups};
use crate::error::Result;

/// Keys written before they are selected from; bounds the working memory at 8 bytes each.
const SCRATCH: usize = 1 << 24;
/// Candidates one workgroup selects from; more are split and the parts' best selected once more.
const SLICE: u32 = 1 << 15;

/// Consecutive queries whose keys fit the scratch memory together.
pub(super) struct Run {
    /// What these queries visit.
    visits: Vec<GroupVisit>,
    /// Where keys are written before they are selected from.
    pub scratch: Keyed,
    first_query: usize,
    /// Where each query's keys start, and where the last one's end.
    starts: Vec<u32>,
}

/// The k smallest keys and their candidates for each query: `measure` makes the steps that write the keys of a run.
pub(super) fn topk(
    gpu: &Gpu,
    name: &'static str,
    ranges: &RowRanges,
    k: usize,
    measure: impl Fn(&Run) -> Result<Vec<Step>>,
    sink: Sink<'_>,
) -> Result<Keyed> {
    let select = SelectTopk::get(gpu)?;
    let nearest = Keyed::new(gpu, ranges.queries() * k)?;
    let runs = runs(ranges);
    let scratch = runs.iter().filter_map(|starts| starts.last()).max().map_or(0, |&end| end as usize);
    let scratch = Keyed::new(gpu, scratch)?;
    let mut first_query = 0;
    for starts in runs {
        let mut visits = Vec::new();
        ranges.visits(first_query..first_query + starts.len() - 1, &mut visits);
        let run = Run { visits, scratch: scratch.clone(), first_query, starts };
        let mut steps = measure(&run)?;
        run.select(gpu, select, k, &nearest, &mut steps)?;
        sink(name, steps)?;
        first_query += run.starts.len() - 1;
    }
    Ok(nearest)
}

/// Cuts the queries into runs, of one query at least: where their keys start, and where the last one's end.
fn runs(ranges: &RowRanges) -> Vec<Vec<u32>> {
    let mut runs: Vec<Vec<u32>> = Vec::new();
    for query in 0..ranges.queries() {
        let candidates = ranges.candidates(query);
        match runs.last_mut() {
            Some(run) if run[run.len() - 1] as usize + candidates <= SCRATCH => {
                run.push(run[run.len() - 1] + candidates as u32);
            }
            _ => runs.push(vec![0, candidates as u32]),
        }
    }
    runs
}

impl Run {
    /// The row ranges of these queries.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        groups(&self.visits)
    }

    /// Where the key of a row of a group goes.
    pub fn output(&self, visit: &GroupVisit, group: &Group, row: u32) -> u32 {
        self.starts[visit.query as usize - self.first_query] + visit.place + (row - group.rows.start)
    }

    /// One selection a query; where one has many candidates, slices of them first and then the slices' best.
    fn select(&self, gpu: &Gpu, select: &SelectTopk, k: usize, into: &Keyed, steps: &mut Vec<Step>) -> Result<()> {
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
        let first = self.first_query;
        if slices.len() == merged.len() {
            steps.push(select.step(gpu, &self.scratch, &slices, k, into, first)?);
            return Ok(());
        }
        let best = Keyed::new(gpu, slices.len() * k)?;
        steps.push(select.step(gpu, &self.scratch, &slices, k, &best, 0)?);
        steps.push(select.step(gpu, &best, &merged, k, into, first)?);
        Ok(())
    }
}

/// Cuts the part of a group's rows that lies in `part` into pieces of at most `rows` rows and `queries` queries.
pub(super) fn pieces<'a>(
    group: &Group<'a>,
    part: Range<u32>,
    rows: u32,
    queries: usize,
) -> impl Iterator<Item = (Range<u32>, &'a [GroupVisit])> {
    let (from, to) = (group.rows.start.max(part.start), group.rows.end.min(part.end));
    let visits = group.visits;
    (from..to.max(from))
        .step_by(rows as usize)
        .flat_map(move |row| visits.chunks(queries).map(move |visits| (row..to.min(row.saturating_add(rows)), visits)))
}
