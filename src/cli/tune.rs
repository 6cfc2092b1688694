//! `tune`: the cheapest search that finds enough.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::Args;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::NpyFiles;
use rvc_gpu_index::index::{Cheapest, Evaluated, GroundTruth, Index, Searcher};
use rvc_gpu_index::{Existing, Result, check_free, faiss, stale_names};
use serde::Serialize;

use super::eval::table;
use super::ground_truth_args::{GroundTruthArgs, source};
use super::outputs::check_no_input;
use super::progress::Progress;
use super::query_args::check_fits;
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index tune voice.index --recall 0.95 --queries frames.npy
  rvc-gpu-index tune voice.index --recall 0.99 --write
  rvc-gpu-index tune voice.index --recall 0.95 --queries frames.npy -o tuned.index

Of the settings that find this share of the k nearest rows, the one that takes the least time here: nprobe, and for an
index with RFlat k_factor. faiss, and what loads the index through it, searches as the file says. Where no setting finds
enough, nothing is written, and the exit status is 2.";

/// Find the cheapest nprobe and k_factor that reach a recall, and keep them in the index file if asked to
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TuneArgs {
    #[command(flatten)]
    truth: GroundTruthArgs,
    /// Share of the exact neighbours to find, above 0 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = share)]
    recall: f64,
    /// Queries: a .npy file, a row a query, best of another speaker [default: stretches of the rows themselves, asked as
    /// queries of all others]
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Index file to write with the setting in it
    #[arg(short, long, value_name = "FILE", conflicts_with = "write")]
    output: Option<PathBuf>,
    /// Write the setting into the index file itself
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Serialize)]
pub struct TuneReport {
    device: DeviceName,
    factory: String,
    rows: usize,
    d: usize,
    queries: usize,
    dropped_queries: usize,
    /// True where the queries are rows of the index.
    held_back: bool,
    k: usize,
    #[serde(flatten)]
    chosen: Evaluated,
    /// All settings that were timed.
    considered: Vec<Evaluated>,
    seconds: Seconds,
    file: Option<WrittenFile>,
    warnings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Seconds {
    /// Reading the index file.
    load: f64,
    /// Making it resident on the device.
    resident: f64,
    /// Finding the exact neighbours.
    exact: f64,
    search: f64,
    write: f64,
}

pub fn run(args: &TuneArgs) -> Result<TuneReport> {
    let mut queries = args.queries.as_ref().map(|path| NpyFiles::open(&[path])).transpose()?;
    let mut base = args.truth.base()?;
    if let Some(output) = &args.output {
        check_free(output, args.run.existing())?;
        let inputs = queries.iter().chain(&base).flat_map(NpyFiles::paths);
        check_no_input(output, inputs.chain([args.truth.index.as_path()]))?;
    }
    let replaced = args.output.as_ref().or(args.write.then_some(&args.truth.index));
    if args.write {
        check_free(&args.truth.index, Existing::Replace)?;
    }
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    // Windows replaces no file that is mapped.
    let index = if args.write { faiss::read_index } else { faiss::map_index }(args.truth.index.as_path())?;
    seconds.load = clock.lap();
    let device = Device::select(&args.run.device)?;
    let mut progress = Progress::new(args.run.quiet);
    progress.warn_all(replaced.and_then(stale_names).into_iter().collect(), &mut warnings);
    args.truth.check(&index, base.as_mut(), &args.run, &mut progress, &mut warnings)?;
    let mut dropped_queries = 0;
    if let (Some(path), Some(queries)) = (&args.queries, &mut queries) {
        check_fits((&args.truth.index, &index), (path, queries))?;
        dropped_queries = args.run.check_finite(queries, &mut progress, &mut warnings)?;
    }

    clock.lap();
    let searcher = Searcher::new(index, &device)?;
    seconds.resident = clock.lap();
    let truth = truth(args, &searcher, queries.as_ref(), &base, &mut progress)?;
    seconds.exact = clock.lap();
    let Cheapest { chosen, considered } = searcher.cheapest(&truth, args.recall)?;
    if truth.is_held_back() {
        let warning = "measured with rows held back; another speaker's frames find less, so name some with --queries";
        progress.warn_all(vec![warning.into()], &mut warnings);
    }
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.search = clock.lap();
    let file = write(args, searcher.index(), &chosen)?;
    seconds.write = clock.lap();

    let index = searcher.index();
    Ok(TuneReport {
        device: device.info().into(),
        factory: index.spec().to_string(),
        rows: index.ntotal(),
        d: index.dim(),
        queries: truth.exact().queries(),
        dropped_queries,
        held_back: truth.is_held_back(),
        k: args.truth.k,
        chosen,
        considered,
        seconds,
        file,
        warnings,
    })
}

/// Known to be one before any work.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "choose a share above 0, at most 1".into())
}

fn truth<'a>(
    args: &TuneArgs,
    searcher: &Searcher,
    queries: Option<&NpyFiles>,
    base: &'a Option<NpyFiles>,
    progress: &mut Progress,
) -> Result<GroundTruth<'a>> {
    let (k, base, batch_rows, rows) = (args.truth.k, source(base), args.run.batch_rows(), searcher.index().ntotal());
    let compared = |done| progress.at("comparing", done, rows);
    let truth = match queries {
        Some(queries) => GroundTruth::new(searcher, queries, base, k, batch_rows, compared),
        None => GroundTruth::held_back(searcher, base, k, KMeansParams::default().seed, batch_rows, compared),
    };
    progress.finish();
    truth
}

/// Writes the index with the setting in it, where that was asked for.
fn write(args: &TuneArgs, index: &Index, setting: &Evaluated) -> Result<Option<WrittenFile>> {
    let (path, existing): (&Path, _) = match &args.output {
        Some(output) => (output, args.run.existing()),
        None if args.write => (&args.truth.index, Existing::Replace),
        None => return Ok(None),
    };
    let mut index = index.clone();
    setting.nprobe.map_or(Ok(()), |nprobe| index.set_nprobe(nprobe))?;
    setting.k_factor.map_or(Ok(()), |factor| index.set_k_factor(factor))?;
    faiss::write_index(&index, path, existing)?;
    WrittenFile::at(path).map(Some)
}

impl Display for TuneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "index", format_args!("{}, {} rows × {}", self.factory, self.rows, self.d))?;
        let held_back = if self.held_back { ", held back" } else { "" };
        line(f, "queries", format_args!("{}{held_back}, k {}", self.queries, self.k))?;
        let Evaluated { nprobe, k_factor, quality, seconds_per_query } = &self.chosen;
        nprobe.map_or(Ok(()), |nprobe| line(f, "nprobe", nprobe))?;
        k_factor.map_or(Ok(()), |factor| line(f, "k_factor", factor))?;
        line(f, &format!("recall@{}", self.k), format_args!("{:.4}", quality.recall))?;
        line(f, "µs a query", format_args!("{:.1}", 1e6 * seconds_per_query))?;
        let Seconds { load, resident, exact, search, write } = self.seconds;
        let rest = format_args!("exact {exact:.3}, search {search:.3}, write {write:.3}");
        line(f, "seconds", format_args!("load {load:.3}, make resident {resident:.3}, {rest}"))?;
        self.file.iter().try_for_each(|file| line(f, "written", file))?;
        table(f, &self.considered, self.k)
    }
}
