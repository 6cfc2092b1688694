//! Launches `shaders/fast_scan.wgsl` and `select_topk`: the best rows of each query by the sums of its u8 tables.

use std::ops::Range;

use super::candidates::{Run, pieces, topk};
use super::kernel::{FAST_SCAN, Pipelines, Step, wgsl_struct};
use super::select_topk::Keyed;
use super::{Gpu, Sink, grid};
use crate::device::buffer::Buffer;
use crate::device::codes::{BLOCK_ROWS, CodeParts, CodeSet, ScanRequest, ScanTopK};
use crate::device::lookup_tables::{Entries, LookupTables};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// Queries and rows a task, as in the shader.
const TASK_QUERIES: usize = 4;
const TASK_ROWS: u32 = 64 * BLOCK_ROWS as u32;

wgsl_struct!(Params { pairs, first_row, tasks, descending });
wgsl_struct!(Task { first_visit, visits, first_block, rows });
wgsl_struct!(Visit { table, list, output });

#[derive(Debug)]
pub(crate) struct FastScan(Pipelines<1>);

impl FastScan {
    fn get(gpu: &Gpu) -> Result<&Self> {
        gpu.stages.fast_scan.get_or_make(|| Pipelines::new(gpu, &FAST_SCAN, ["scan"]).map(Self))
    }
}

/// Copies blocks to the device, spread over several buffers where one is too small.
pub(crate) fn upload_codes(gpu: &Gpu, blocks: &[u8], block_bytes: usize) -> Result<CodeParts> {
    let part_blocks = (gpu.max_binding() as usize / block_bytes).max(1);
    let upload = |part: &[u8]| -> Result<_> {
        // Blocks are whole words on a little-endian host and anywhere else.
        let words: Vec<u32> = part.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        Ok((gpu.upload(&words)?, part.len() / block_bytes))
    };
    Ok(CodeParts::Gpu(blocks.chunks(part_blocks * block_bytes).map(upload).collect::<Result<_>>()?))
}

pub(crate) fn fast_scan(
    gpu: &Gpu,
    codes: &CodeSet,
    tables: &LookupTables,
    request: &ScanRequest,
    metric: Metric,
    k: usize,
) -> Result<ScanTopK> {
    let nearest = nearest(gpu, codes, tables, request, metric, k, &mut gpu.submitting())?;
    let (keys, slots) = nearest.download(gpu)?;
    Ok(ScanTopK::from_keys(slots, &keys))
}

/// The k best slots on the device, by their keys: sums, or their negatives for the inner product.
pub(super) fn nearest(
    gpu: &Gpu,
    codes: &CodeSet,
    tables: &LookupTables,
    request: &ScanRequest,
    metric: Metric,
    k: usize,
    sink: Sink<'_>,
) -> Result<Keyed> {
    let CodeParts::Gpu(parts) = &codes.parts else { return Err(Error::ForeignBuffer { stage: "fast_scan" }) };
    let kernel = &FastScan::get(gpu)?.0;
    let measure = |run: &Run| measure(gpu, kernel, parts, tables, request, metric, run);
    topk(gpu, "fast_scan", &request.ranges, k, measure, sink)
}

/// A step for each part of the codes that a run of queries visits.
fn measure(
    gpu: &Gpu,
    kernel: &Pipelines<1>,
    parts: &[(Buffer<u32>, usize)],
    tables: &LookupTables,
    request: &ScanRequest,
    metric: Metric,
    run: &Run,
) -> Result<Vec<Step>> {
    let name = "fast_scan";
    let Entries::Words(entries) = &tables.entries else { return Err(Error::ForeignBuffer { stage: name }) };
    let mut first_row = 0u32;
    let mut steps = Vec::new();
    for (codes, blocks) in parts {
        let end = first_row + (blocks * BLOCK_ROWS) as u32;
        let (tasks, visits) = plan(run, tables, request, first_row..end);
        if !tasks.is_empty() {
            let descending = u32::from(metric == Metric::InnerProduct);
            let params = Params { pairs: tables.pairs as u32, first_row, tasks: tasks.len() as u32, descending };
            let (task_list, visit_list) = (gpu.upload(&tasks)?, gpu.upload(&visits)?);
            let buffers = [
                &gpu.params(&params)?,
                codes.gpu(gpu, name)?,
                entries.gpu(gpu, name)?,
                tables.biases.gpu(gpu, name)?,
                task_list.gpu(gpu, name)?,
                visit_list.gpu(gpu, name)?,
                run.scratch.keys.gpu(gpu, name)?,
                run.scratch.candidates.gpu(gpu, name)?,
            ];
            steps.push(kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(tasks.len())));
        }
        first_row = end;
    }
    Ok(steps)
}

/// Cuts a run into tasks over the blocks of one part.
fn plan(run: &Run, tables: &LookupTables, request: &ScanRequest, part: Range<u32>) -> (Vec<Task>, Vec<Visit>) {
    let (mut tasks, mut visits) = (Vec::new(), Vec::new());
    for group in run.groups() {
        for (rows, some) in pieces(&group, part.clone(), TASK_ROWS, TASK_QUERIES) {
            tasks.push(Task {
                first_visit: visits.len() as u32,
                visits: some.len() as u32,
                first_block: (rows.start - part.start) / BLOCK_ROWS as u32,
                rows: rows.len() as u32,
            });
            visits.extend(some.iter().map(|visit| {
                let list = request.lists[visit.number];
                Visit { table: tables.table_of(list), list, output: run.output(visit, &group, rows.start) }
            }));
        }
    }
    (tasks, visits)
}
