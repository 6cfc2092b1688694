//! Launches `shaders/lookup_tables.wgsl`: u8 look-up tables of queries, with the biases and scales of their sums.

use super::kernel::{LOOKUP_TABLES, wgsl_struct};
use super::pipelines::Pipelines;
use super::{Gpu, Sink, grid};
use crate::device::data::buffer::Matrix;
use crate::device::data::lookup_tables::{Entries, Entry, LookupTables, Probes, Shape};
use crate::device::data::pq::Codebooks;
use crate::error::Result;

const HAS_LISTS: u32 = 1;
const BIASED: u32 = 2;
const BOUNDED: u32 = 4;

wgsl_struct!(Params { visits, lists, tables, subs, dsub, stride, entry, flags });

/// Entry points: `measure`, `quantize`.
#[derive(Debug)]
pub(crate) struct MakeTables(Pipelines<2>);

impl MakeTables {
    fn get(gpu: &Gpu) -> Result<&Self> {
        let stage = &gpu.stages.lookup_tables;
        stage.get_or_make(|| Pipelines::new(gpu, &LOOKUP_TABLES, ["measure", "quantize"]).map(Self))
    }
}

pub(crate) fn lookup_tables(
    gpu: &Gpu,
    queries: &Matrix,
    codebooks: &Codebooks,
    probes: Option<&Probes<'_>>,
    shape: Shape,
    sink: Sink<'_>,
) -> Result<LookupTables> {
    let stage = MakeTables::get(gpu)?;
    let name = "lookup_tables";
    let Shape { entry, lists, tables, biased, bounded } = shape;
    let (visits, pairs) = (queries.rows * lists, codebooks.m.div_ceil(2));
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let params = Params {
        visits: visits as u32,
        lists: lists as u32,
        tables: tables as u32,
        subs: codebooks.m as u32,
        dsub: codebooks.dsub as u32,
        stride: queries.stride as u32,
        entry: match entry {
            Entry::Distance => 0,
            Entry::Product => 1,
            Entry::Residual => 2,
        },
        flags: flag(probes.is_some(), HAS_LISTS) | flag(biased, BIASED) | flag(bounded, BOUNDED),
    };
    let spans = gpu.zeros::<[f32; 4]>(visits)?;
    let words = gpu.zeros::<u32>(queries.rows * tables * pairs * 8)?;
    let biases = gpu.zeros::<u32>(visits)?;
    let scales = gpu.zeros::<f32>(2 * queries.rows)?;
    // Without lists there is nothing to read there, but something has to be bound.
    let nothing = gpu.zeros::<u32>(0)?;
    let (centroids, numbers) = match probes {
        Some(probes) => (probes.table.centroids.data.gpu(gpu.id(), name)?, probes.lists.gpu(gpu.id(), name)?),
        None => (nothing.gpu(gpu.id(), name)?, nothing.gpu(gpu.id(), name)?),
    };
    let buffers = [
        &gpu.params(&params)?,
        queries.data.gpu(gpu.id(), name)?,
        codebooks.data.gpu(gpu.id(), name)?,
        centroids,
        numbers,
        spans.gpu(gpu.id(), name)?,
        words.gpu(gpu.id(), name)?,
        biases.gpu(gpu.id(), name)?,
        scales.gpu(gpu.id(), name)?,
    ];
    if visits > 0 {
        let bindings = stage.0.bind(gpu, &buffers)?;
        sink(name, [0, 1].map(|entry| stage.0.step(entry, &bindings, grid(visits))).to_vec())?;
    }
    Ok(LookupTables { entries: Entries::Words(words), biases, scales, queries: queries.rows, lists, tables, pairs })
}
