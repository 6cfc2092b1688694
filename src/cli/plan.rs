//! What a build is going to do, settled before any work.

use std::num::NonZeroUsize;

use rvc_gpu_index::factory::{IndexSpec, Ivf};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, ListCount, Recipe, SearchParams};
use rvc_gpu_index::{Error, Existing, Result, check_memory, cluster};

use super::build_args::BuildArgs;
use super::hosts;
use super::outputs::Outputs;
use super::query_args::needs_ivf;

pub struct Plan {
    /// As it begins: without training and rows.
    pub index: Index,
    /// Rows that stand for all rows of the voice, where it is compressed; the index is planned for them.
    pub clusters: Option<usize>,
    /// Lists of fewer rows are dissolved.
    pub min_list: usize,
    /// What a tuning leaves as it was asked for; None where nothing is tuned.
    pub tuning: Option<SearchParams>,
    pub outputs: Outputs,
    pub warnings: Vec<String>,
    /// Bytes that the build takes.
    memory: u64,
}

impl Plan {
    pub fn new(args: &BuildArgs, voice: &NpyFiles) -> Result<Self> {
        let clusters = args.compress.clusters(voice.rows())?;
        let (rows, recipe) = (clusters.unwrap_or(voice.rows()), args.recipe);
        let (mut spec, metric) = args.metric.apply(args.factory.clone().unwrap_or_else(|| recipe.spec(rows)));
        let nlist = nlist(args, &spec, rows)?;
        let nprobe = nprobe(args, &spec, nlist)?;
        let min_list = min_list(args, &spec, voice)?;
        spec.ivf = nlist.map(|nlist| Ivf { nlist: Some(nlist) });
        let mut index = Index::new(&spec, metric, voice.dim())?;
        nprobe.map_or(Ok(()), |nprobe| index.set_nprobe(nprobe))?;
        args.k_factor.map_or(Ok(()), |factor| index.set_k_factor(factor))?;
        let memory = memory(args, &index, rows);
        let (tuning, mut warnings) = tuning(args, &spec, rows)?;
        if rows < HOST_K {
            warnings.push(format!("a host asks for {HOST_K} rows, and the index has {rows}; add features"));
        }
        let outputs = Outputs::new(args, voice, &index, &spec)?;
        warnings.extend(hosts::check(&spec, metric, args.expand.is_some(), &outputs.index, voice.experiment())?);
        let named = tuning.is_none() || args.output.is_some() || voice.experiment().is_none();
        outputs.check(voice, args.run.existing(), named)?;
        if !named {
            Outputs::longest(args, voice, &index, &spec)?.check(voice, Existing::Replace, false)?;
        }
        warnings.extend(outputs.stale_names());
        let plan = Self { index, clusters, min_list, tuning, outputs, warnings, memory };
        plan.check_memory()?;
        Ok(plan)
    }

    /// Fails where the memory that the build takes is not free.
    pub fn check_memory(&self) -> Result<()> {
        check_memory(self.memory, "the index and what builds it")
    }
}

/// Bytes of memory that a build takes: for the index, and for what is there while it is filled.
fn memory(args: &BuildArgs, index: &Index, rows: usize) -> u64 {
    let row_bytes = 4 * index.dim() as u64;
    let batch = args.run.batch_rows.map_or(LEAST_BATCH_BYTES, |rows| row_bytes.saturating_mul(rows.get() as u64));
    let neighbors = args.expand.map_or(0, |params| NEIGHBOR_BYTES * params.num_expand as u64);
    let batches = BATCHES * batch.min(row_bytes.saturating_mul(rows as u64));
    index.memory_to_fill(rows).saturating_add(neighbors.saturating_mul(rows as u64)).saturating_add(batches)
}

/// What a tuning leaves as it was asked for, and what is to be said where there is nothing to tune.
fn tuning(args: &BuildArgs, spec: &IndexSpec, rows: usize) -> Result<(Option<SearchParams>, Vec<String>)> {
    let nprobe = args.nprobe.given().map(NonZeroUsize::get);
    match (args.recipe, &args.factory) {
        (Recipe::Quality, _) if spec.refine => Ok((Some(SearchParams { nprobe, k_factor: args.k_factor }), Vec::new())),
        (Recipe::Quality, Some(_)) => Err(Error::Parameter {
            name: "factory",
            found: format!("--recipe quality tunes how an index re-ranks, which {spec} does not"),
            remedy: format!("put ,RFlat behind it: {spec},RFlat"),
        }),
        (Recipe::Quality, None) => {
            let warning = format!("{rows} rows are too few to train codes on; the index compares all rows ({spec})");
            Ok((None, vec![warning]))
        }
        _ => Ok((None, Vec::new())),
    }
}

fn nlist(args: &BuildArgs, spec: &IndexSpec, rows: usize) -> Result<Option<usize>> {
    let asked = args.nlist.given().map(|count: ListCount| count.of(rows));
    let nlist = match (spec.ivf, asked) {
        (None, None) => return Ok(None),
        (None, Some(asked)) => return Err(needs_ivf("nlist", asked, spec)),
        (Some(Ivf { nlist: Some(named) }), Some(asked)) if named != asked => {
            return Err(Error::Parameter {
                name: "nlist",
                found: format!("--nlist asks for {asked} lists, --factory {spec} for {named}"),
                remedy: "name the number once".into(),
            });
        }
        (Some(Ivf { nlist: named }), asked) => named.or(asked).unwrap_or_else(|| args.recipe.nlist(rows)),
    };
    cluster::check_rows(rows, nlist)?;
    Ok(Some(nlist))
}

fn nprobe(args: &BuildArgs, spec: &IndexSpec, nlist: Option<usize>) -> Result<Option<usize>> {
    match (nlist, args.nprobe.given()) {
        (None, Some(asked)) => Err(needs_ivf("nprobe", asked.get(), spec)),
        (nlist, asked) => {
            Ok(nlist.map(|nlist| asked.map_or_else(|| args.recipe.nprobe(nlist), NonZeroUsize::get).min(nlist)))
        }
    }
}

/// Rows of a batch where memory is short and nobody asks for a number.
const LEAST_BATCH_BYTES: u64 = 1 << 20;
/// One that is worked on, one that is read meanwhile, one on the device.
const BATCHES: u64 = 3;
/// An id and a distance.
const NEIGHBOR_BYTES: u64 = 12;

/// As many rows as RVC and its live hosts ask for: by one list of fewer, they get the id −1.
const HOST_K: usize = 8;

fn min_list(args: &BuildArgs, spec: &IndexSpec, voice: &NpyFiles) -> Result<usize> {
    match (spec.ivf, args.min_list) {
        (None, Some(asked)) => Err(needs_ivf("min-list", asked, spec)),
        (None, None) => Ok(0),
        (Some(_), asked) => Ok(asked.unwrap_or(if voice.experiment().is_some() { HOST_K } else { 0 })),
    }
}
