//! Launches `shaders/list_ranges.wgsl`: the rows of the lists that each query visits, cut into tasks.

use std::ops::Range;

use super::kernel::{LIST_RANGES, wgsl_struct};
use super::pipelines::{Pipelines, Step};
use super::tasks::{SLICE, TaskShape, Tasks, slices};
use super::{Gpu, grid};
use crate::device::data::ranges::Visited;
use crate::error::Result;

/// Visits a workgroup of `cut`, as in the shader.
const CUT_VISITS: usize = 32;

wgsl_struct!(Params { first_query, queries, nprobe, nlist, task_visits, task_rows, room, slice });
wgsl_struct!(Arrival { rank, place, first_task });

/// Entry points: `arrive`, `cut`.
#[derive(Debug)]
pub(crate) struct ListRanges(Pipelines<2>);

impl ListRanges {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.list_ranges.get_or_make(|| Pipelines::new(gpu, &LIST_RANGES, ["arrive", "cut"]).map(Self))
    }
}

/// Tasks for what a run of queries visits, as many as there may be, and the steps that write them.
pub(super) fn list_ranges(
    gpu: &Gpu,
    visited: &Visited,
    run: Range<usize>,
    shape: TaskShape,
    steps: &mut Vec<Step>,
) -> Result<Tasks> {
    let (stage, name) = (&ListRanges::get(gpu)?.0, "list_ranges");
    let Visited { lists, probes, nprobe, room } = visited;
    let (queries, nlist, at_once) = (run.len(), lists.nlist(), shape.queries as usize);
    let params = Params {
        first_query: run.start as u32,
        queries: queries as u32,
        nprobe: *nprobe as u32,
        nlist: nlist as u32,
        task_visits: shape.queries,
        task_rows: shape.rows,
        room: *room as u32,
        slice: SLICE,
    };
    // A list's last group may have a single visit.
    let visits = queries * nprobe;
    let groups = visits.min(visits / at_once + nlist);
    let pieces = queries * lists.most_pieces(*nprobe, shape.rows);
    let pieces = pieces.min(pieces / at_once + lists.most_pieces(nlist, shape.rows));
    let counts = gpu.zeros::<u32>(nlist + 2 + nlist * queries.div_ceil(at_once))?;
    let arrivals = gpu.zeros::<Arrival>(visits)?;
    let made = Tasks {
        tasks: gpu.zeros(pieces)?,
        visits: gpu.zeros(groups * at_once)?,
        segments: gpu.zeros(queries * slices(*room as u32))?,
    };
    let buffers = [
        &gpu.params(&params)?,
        probes.gpu(gpu.id(), name)?,
        lists.places.gpu(gpu.id(), name)?,
        counts.gpu(gpu.id(), name)?,
        arrivals.gpu(gpu.id(), name)?,
        made.visits.gpu(gpu.id(), name)?,
        made.tasks.gpu(gpu.id(), name)?,
        made.segments.gpu(gpu.id(), name)?,
    ];
    let bindings = stage.bind(gpu, &buffers)?;
    steps
        .extend([stage.step(0, &bindings, grid(queries)), stage.step(1, &bindings, grid(visits.div_ceil(CUT_VISITS)))]);
    Ok(made)
}
