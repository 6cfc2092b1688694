//! `search`: the neighbours of queries in an index.

use std::fmt::{self, Display};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rvc_gpu_index::device::{Device, MAX_K};
use rvc_gpu_index::features::{FeatureSource, NpyFiles, for_each_batch};
use rvc_gpu_index::index::{Index, Neighbors, SearchParams, Searcher};
use rvc_gpu_index::{Error, Result, check_free, faiss};
use serde::Serialize;

use super::job::{Clock, JobArgs};
use super::outputs::check_no_input;
use super::plan::needs_ivf;
use super::progress::Progress;
use super::report::{DeviceName, WrittenFile, line};

/// Queries searched at a time unless asked otherwise.
const BATCH_ROWS: usize = 4096;
/// Queries whose neighbours are printed.
const SHOWN: usize = 5;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index search voice.index frames.npy
  rvc-gpu-index search voice.index frames.npy -k 16 --nprobe 8 -o neighbours.npz

The .npz file holds the arrays ids (int64) and distances (float32), a row a query, nearest first.";

/// Find the nearest rows of an index for each query
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SearchArgs {
    /// Index file of this program or of faiss
    index: PathBuf,
    /// Queries: a .npy file, a row a query
    queries: PathBuf,
    /// Neighbours a query
    #[arg(short, default_value = "8", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_K as u64))]
    k: usize,
    /// Lists to visit [default: what the index file says]
    #[arg(long, value_name = "N")]
    nprobe: Option<NonZeroUsize>,
    /// Candidates a neighbour that an index with RFlat re-ranks [default: what the index file says]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    k_factor: Option<f32>,
    /// .npz file to write the neighbours to
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub job: JobArgs,
}

#[derive(Serialize)]
pub struct SearchReport {
    device: DeviceName,
    factory: String,
    rows: usize,
    d: usize,
    queries: usize,
    dropped_queries: usize,
    k: usize,
    nprobe: Option<usize>,
    k_factor: Option<f32>,
    seconds: Seconds,
    queries_per_second: f64,
    /// Queries that found fewer than k neighbours.
    incomplete: usize,
    incomplete_share: f64,
    file: Option<WrittenFile>,
    /// The neighbours of the first few queries.
    first: Vec<Found>,
    warnings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Seconds {
    /// Reading the index file.
    load: f64,
    /// Making it resident on the device.
    resident: f64,
    search: f64,
}

#[derive(Serialize)]
struct Found {
    ids: Vec<i64>,
    distances: Vec<f32>,
}

pub fn run(args: &SearchArgs) -> Result<SearchReport> {
    let mut queries = NpyFiles::open(&[&args.queries])?;
    if let Some(output) = &args.output {
        check_free(output, args.job.existing())?;
        check_no_input(output, queries.paths().chain([args.index.as_path()]))?;
    }
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let index = faiss::map_index(&args.index)?;
    seconds.load = clock.lap();
    let nprobe = check(args, &index, &queries)?;
    let device = Device::select(&args.job.device)?;
    let mut progress = Progress::new(args.job.quiet);
    let dropped_queries = args.job.check_finite(&mut queries, &mut progress, &mut warnings)?;

    clock.lap();
    let searcher = Searcher::new(index, &device)?;
    seconds.resident = clock.lap();
    let found = search(args, &searcher, &queries, &mut progress)?;
    seconds.search = clock.lap();

    if let Some(output) = &args.output {
        found.write_npz(output, args.job.existing())?;
    }
    let index = searcher.index();
    Ok(SearchReport {
        device: device.info().into(),
        factory: index.spec().to_string(),
        rows: index.ntotal(),
        d: index.dim(),
        queries: found.queries(),
        dropped_queries,
        k: args.k,
        nprobe,
        k_factor: index.refine().map(|refine| args.k_factor.unwrap_or(refine.k_factor())),
        queries_per_second: found.queries() as f64 / seconds.search.max(f64::EPSILON),
        seconds,
        incomplete: found.incomplete(),
        incomplete_share: found.incomplete() as f64 / found.queries().max(1) as f64,
        file: args.output.as_deref().map(WrittenFile::at).transpose()?,
        first: Found::first(&found),
        warnings,
    })
}

/// Fails where the index cannot answer such queries; returns the number of lists that a search is going to visit.
fn check(args: &SearchArgs, index: &Index, queries: &NpyFiles) -> Result<Option<usize>> {
    let input = |path: &PathBuf, found, remedy: &str| Error::Input { path: path.clone(), found, remedy: remedy.into() };
    if queries.dim() != index.dim() {
        let (index_file, dim) = (args.index.display(), index.dim());
        let found = format!("has rows of {}, where the index {index_file} has {dim}", queries.dim());
        return Err(input(&args.queries, found, "pass features of the same model as the index"));
    }
    if !index.is_trained() {
        return Err(input(&args.index, "is not trained, so it has no rows".into(), "search an index that has rows"));
    }
    match (index.nlist().zip(index.nprobe()), args.nprobe) {
        (None, Some(nprobe)) => Err(needs_ivf("nprobe", nprobe.get(), &index.spec())),
        (None, None) => Ok(None),
        (Some((nlist, nprobe)), asked) => Ok(Some(asked.map_or(nprobe, NonZeroUsize::get).min(nlist))),
    }
}

fn search(args: &SearchArgs, searcher: &Searcher, queries: &NpyFiles, progress: &mut Progress) -> Result<Neighbors> {
    let mut found = Neighbors { k: args.k, ..Neighbors::default() };
    let params = SearchParams { nprobe: args.nprobe.map(NonZeroUsize::get), k_factor: args.k_factor };
    for_each_batch(queries, args.job.batch_rows().unwrap_or(BATCH_ROWS), |_, batch| {
        found.append(searcher.search(batch, args.k, &params)?);
        progress.at("searching", found.queries(), queries.rows());
        Ok(())
    })?;
    progress.finish();
    Ok(found)
}

impl Found {
    fn first(found: &Neighbors) -> Vec<Self> {
        let queries = found.ids.chunks(found.k).zip(found.distances.chunks(found.k)).take(SHOWN);
        queries.map(|(ids, distances)| Self { ids: ids.to_vec(), distances: distances.to_vec() }).collect()
    }
}

impl Display for SearchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "index", format_args!("{}, {} rows × {}", self.factory, self.rows, self.d))?;
        let nprobe = self.nprobe.map_or(String::new(), |nprobe| format!(", nprobe {nprobe}"));
        let k_factor = self.k_factor.map_or(String::new(), |factor| format!(", k_factor {factor}"));
        line(f, "queries", format_args!("{}, k {}{nprobe}{k_factor}", self.queries, self.k))?;
        let Seconds { load, resident, search } = self.seconds;
        line(f, "seconds", format_args!("load {load:.3}, make resident {resident:.3}, search {search:.3}"))?;
        line(f, "rate", format_args!("{:.0} queries a second", self.queries_per_second))?;
        let percent = 100.0 * self.incomplete_share;
        line(f, "incomplete", format_args!("{} queries ({percent:.1}%) found fewer than k rows", self.incomplete))?;
        match &self.file {
            Some(file) => line(f, "written", file),
            None => self.first.iter().enumerate().try_for_each(|(query, found)| table(f, query, found)),
        }
    }
}

/// One query: its ids, below them its distances.
fn table(f: &mut fmt::Formatter<'_>, query: usize, found: &Found) -> fmt::Result {
    write!(f, "\nquery {query:<4} id      ")?;
    found.ids.iter().try_for_each(|&id| if id < 0 { write!(f, " {:>9}", "-") } else { write!(f, " {id:>9}") })?;
    write!(f, "\n           distance")?;
    for (&id, distance) in found.ids.iter().zip(&found.distances) {
        if id < 0 { write!(f, " {:>9}", "-")? } else { write!(f, " {distance:>9.4}")? }
    }
    writeln!(f)
}
