//! Launches `shaders/fast_scan.wgsl` and `select_topk`: the best rows of each query by the sums of its u8 tables.

use super::candidates::topk;
use super::kernel::{FAST_SCAN, wgsl_struct};
use super::pending::{Pending, floats};
use super::pipelines::{Pipelines, Step};
use super::select_topk::Keyed;
use super::tasks::{TaskShape, Tasks};
use super::{Gpu, Sink, grid};
use crate::device::data::codes::{BLOCK_ROWS, CodeParts, CodeSet, ScanRequest, ScanTopK};
use crate::device::data::lookup_tables::{Entries, LookupTables};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// As in the shader.
const TASK: TaskShape = TaskShape { queries: 4, rows: 64 * BLOCK_ROWS as u32 };

wgsl_struct!(Params { pairs, first_row, rows, tasks, descending, one_table });

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

/// Submits what is pending, too.
pub(crate) fn fast_scan(
    gpu: &Gpu,
    codes: &CodeSet,
    tables: &LookupTables,
    request: &ScanRequest,
    metric: Metric,
    k: usize,
    pending: &mut Pending,
) -> Result<ScanTopK> {
    let nearest = nearest(gpu, codes, tables, request, metric, k, &mut pending.runs(gpu))?;
    let name = "fast_scan";
    let ([keys, slots], scales) = (nearest.words(gpu)?, (tables.scales.gpu(gpu.id(), name)?, tables.scales.len()));
    let [keys, slots, scales] = pending.read(gpu, name, [keys, slots, scales])?;
    Ok(ScanTopK::from_keys(slots, &floats(keys), floats(scales)))
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
    let kernel = &FastScan::get(gpu)?.0;
    let measure = |tasks: &Tasks, keys: &Keyed| measure(gpu, kernel, (codes, tables), metric, tasks, keys);
    topk(gpu, "fast_scan", &request.ranges, k, TASK, measure, sink)
}

/// A step for each part of the codes: tasks are done as far as they lie in it.
fn measure(
    gpu: &Gpu,
    kernel: &Pipelines<1>,
    (codes, tables): (&CodeSet, &LookupTables),
    metric: Metric,
    Tasks { tasks, visits, .. }: &Tasks,
    keys: &Keyed,
) -> Result<Vec<Step>> {
    let name = "fast_scan";
    let (CodeParts::Gpu(parts), Entries::Words(entries)) = (&codes.parts, &tables.entries) else {
        return Err(Error::ForeignBuffer { stage: name });
    };
    let mut first_row = 0;
    let mut steps = Vec::new();
    for (codes, blocks) in parts {
        let rows = (blocks * BLOCK_ROWS) as u32;
        let params = Params {
            pairs: tables.pairs as u32,
            first_row,
            rows,
            tasks: tasks.len() as u32,
            descending: u32::from(metric == Metric::InnerProduct),
            one_table: u32::from(tables.tables == 1),
        };
        let buffers = [
            &gpu.params(&params)?,
            codes.gpu(gpu.id(), name)?,
            entries.gpu(gpu.id(), name)?,
            tables.biases.gpu(gpu.id(), name)?,
            tasks.gpu(gpu.id(), name)?,
            visits.gpu(gpu.id(), name)?,
            keys.keys.gpu(gpu.id(), name)?,
            keys.candidates.gpu(gpu.id(), name)?,
        ];
        steps.push(kernel.step(0, &kernel.bind(gpu, &buffers)?, grid(tasks.len())));
        first_row += rows;
    }
    Ok(steps)
}
