//! Indexes built end to end, and what they find and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::{LiveHost, live};
use super::sample::{rates, sample, summary};
use super::workload::{K, Loaded};
use super::{Machine, patience};
use crate::bench::{BuildResult, DeviceResult, Phase, SearchResult};
use crate::cluster::KMeansParams;
use crate::device::RowFormat;
use crate::error::{Error, Result};
use crate::factory::{IndexSpec, Metric};
use crate::faiss;
use crate::features::MemoryRows;
use crate::index::{GroundTruth, Index, SearchParams, Searcher};
use crate::output::Existing;

/// Builds are repeated for so long, this often at most.
const BUILDING: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(30)];
const BUILDS: usize = 5;
const NPROBES: [usize; 4] = [1, 4, 16, 64];
const K_FACTORS: [f32; 4] = [1.0, 4.0, 16.0, 32.0];

/// Builds `factory`, searches in it with a grid of settings, and makes live calls; what was measured goes to `into` as it
/// is known.
pub(super) fn build_and_search(
    machine: &Machine,
    loaded: &Loaded,
    truth: &GroundTruth<'_>,
    factory: &str,
    quick: bool,
    into: &mut DeviceResult,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    say(&format!("building {factory}"));
    let (built, index) = build(machine, loaded, factory, quick)?;
    into.builds.push(built);
    let index = Arc::new(index);
    let searcher = Searcher::new(index.clone(), &machine.device)?;
    say(&format!("searching {factory}"));
    for params in grid(&index) {
        into.searches.push(search(&searcher, loaded, truth, params, quick)?);
    }
    // A GPU's live calls scan all rows whatever the index, or its codes where it has any.
    if machine.device.is_cpu() || index.refine().is_some() {
        say(&format!("live calls of {factory}"));
        let host = LiveHost::new(index, &machine.device, RowFormat::F32)?;
        into.live.extend(live(&host, loaded, quick)?);
    }
    Ok(())
}

fn build(machine: &Machine, loaded: &Loaded, factory: &str, quick: bool) -> Result<(BuildResult, Index)> {
    let rows = MemoryRows::new(&loaded.rows, loaded.workload.d)?;
    let spec: IndexSpec = factory.parse()?;
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "create a folder in"))?;
    let path = folder.path().join("bench.index");
    let (begun, mut times, mut built) = (Instant::now(), Vec::new(), None);
    while times.len() < BUILDS && (times.is_empty() || begun.elapsed() < BUILDING[usize::from(!quick)]) {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let mut index = Index::new(&spec, Metric::L2, loaded.workload.d)?;
        let params = KMeansParams { labels: true, ..KMeansParams::default() };
        let training = index.train(&machine.device, &rows, &params, &mut |_| ())?;
        let train = lap();
        index.add_labelled(&machine.device, &rows, &training.labels, None, &mut |_| ())?;
        let add = lap();
        faiss::write_index(&index, &path, Existing::Replace)?;
        times.push([train, add, lap()]);
        built = Some((index, training));
    }
    let (index, training) = built.ok_or_else(|| Error::parameter("repeats", 0, "build at least once"))?;
    let phases = ["train", "add", "write"].into_iter().enumerate().map(|(i, phase)| {
        let seconds = summary(&times.iter().map(|times| times[i]).collect::<Vec<_>>())?;
        Ok(Phase { phase: phase.into(), seconds })
    });
    let objective = training.objective.last().map(|sum| sum / training.rows.max(1) as f64);
    let built = BuildResult {
        factory: index.spec().to_string(),
        nlist: index.nlist(),
        phases: phases.collect::<Result<_>>()?,
        seconds: summary(&times.iter().map(|times| times.iter().sum()).collect::<Vec<f64>>())?,
        objective,
    };
    Ok((built, index))
}

/// The settings that are tried: those that an index has.
fn grid(index: &Index) -> Vec<SearchParams> {
    match (index.nlist(), index.refine()) {
        (Some(nlist), _) => {
            let probes = NPROBES.into_iter().filter(|&nprobe| nprobe <= nlist);
            probes.map(|nprobe| SearchParams { nprobe: Some(nprobe), k_factor: None }).collect()
        }
        (None, Some(_)) => K_FACTORS.map(|factor| SearchParams { nprobe: None, k_factor: Some(factor) }).to_vec(),
        (None, None) => vec![SearchParams::default()],
    }
}

fn search(
    searcher: &Searcher,
    loaded: &Loaded,
    truth: &GroundTruth<'_>,
    params: SearchParams,
    quick: bool,
) -> Result<SearchResult> {
    searcher.prepare(&params);
    let mut found = searcher.search(&loaded.queries, K, &params)?;
    let run = || {
        let begun = Instant::now();
        searcher.search_into(&loaded.queries, K, &params, &mut found)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let seconds = sample(patience(quick), run)?;
    Ok(SearchResult {
        factory: searcher.index().spec().to_string(),
        nprobe: params.nprobe,
        k_factor: params.k_factor.map(f64::from),
        k: K,
        recall: truth.judge(&found)?.recall,
        queries_per_second: rates(loaded.workload.queries as f64, &seconds)?,
    })
}
