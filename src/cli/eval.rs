//! `eval`: what searches find, and what they cost.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::Args;
use rvc_gpu_index::bench::{Line, Plot};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Evaluated, GroundTruth, Searcher};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Result, check_free, faiss, write_bytes};
use serde::Serialize;

use super::expand::expanded;
use super::grid::{self, GridArgs};
use super::ground_truth_args::{GroundTruthArgs, source};
use super::outputs::check_no_input;
use super::progress::Progress;
use super::query_args::check_fits;
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs};
use super::search::not_unit;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index eval voice.index --queries frames.npy
  rvc-gpu-index eval voice.index --queries frames.npy --nprobe 1,8,64 --svg recall.svg
  rvc-gpu-index eval expanded.index --queries frames.npy --expand 3,3 --base logs/my-voice

recall@k: share of the exact neighbours that was found. missing: share of the queries that found fewer than k rows.
ratio: mean, over all queries and ranks, of the distance of the i-th nearest row found by that of the i-th nearest of all,
1 at best; by inner product the ratio of the products; ranks with an exact distance of 0 are left out. µs a query: the best
of three times and more that all queries are asked, 4,096 at a time. Ask with frames of other speakers, as a voice is used.";

/// Measure what searches of an index find and how long they take, for each nprobe and k_factor
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    #[command(flatten)]
    truth: GroundTruthArgs,
    /// Queries: a .npy file, a row a query
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    #[command(flatten)]
    grid: GridArgs,
    /// Ask with expanded queries, as `search --expand` does, for the neighbours of those that are not
    #[arg(long, value_name = "ALPHA,K", allow_hyphen_values = true)]
    expand: Option<ExpandParams>,
    /// .svg file for a plot of recall against time
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Serialize)]
pub struct EvalReport {
    device: DeviceName,
    factory: String,
    rows: usize,
    d: usize,
    queries: usize,
    dropped_queries: usize,
    k: usize,
    expand: Option<ExpandParams>,
    seconds: Seconds,
    settings: Vec<Evaluated>,
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
    /// Expanding the queries.
    expand: f64,
    search: f64,
}

pub fn run(args: &EvalArgs) -> Result<EvalReport> {
    let (mut queries, mut base) = (NpyFiles::open(&[&args.queries])?, args.truth.base()?);
    if let Some(svg) = &args.svg {
        check_free(svg, args.run.existing())?;
        let inputs = queries.paths().chain(base.iter().flat_map(NpyFiles::paths));
        check_no_input(svg, inputs.chain([args.truth.index.as_path()]))?;
    }
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let index = faiss::map_index(&args.truth.index)?;
    seconds.load = clock.lap();
    let settings = args.grid.settings(&index, args.truth.k)?;
    check_fits((&args.truth.index, &index), (&args.queries, &queries))?;
    args.expand.map_or(Ok(()), |params| params.check_for(index.ntotal()))?;
    let device = Device::select(&args.run.device)?;
    let mut progress = Progress::new(args.run.quiet);
    args.truth.check(&index, base.as_mut(), &args.run, &mut progress, &mut warnings)?;
    let dropped_queries = args.run.check_finite(&mut queries, &mut progress, &mut warnings)?;

    clock.lap();
    let searcher = Searcher::new(index, &device)?;
    grid::check(&searcher, &settings, args.truth.k)?;
    seconds.resident = clock.lap();
    let total = searcher.index().ntotal();
    let compared = |done| progress.at("comparing", done, total);
    let truth = GroundTruth::new(&searcher, &queries, source(&base), args.truth.k, args.run.batch_rows(), compared)?;
    progress.finish();
    seconds.exact = clock.lap();
    let asked = asked(args, &searcher, &device, &queries, &mut progress, &mut warnings)?;
    seconds.expand = clock.lap();
    let mut evaluated = Vec::new();
    for params in &settings {
        evaluated.push(searcher.evaluate(&asked, &truth, params)?);
        progress.at("searching", evaluated.len() * queries.rows(), settings.len() * queries.rows());
    }
    progress.finish();
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.search = clock.lap();

    let index = searcher.index();
    let mut report = EvalReport {
        device: device.info().into(),
        factory: index.spec().to_string(),
        rows: index.ntotal(),
        d: index.dim(),
        queries: queries.rows(),
        dropped_queries,
        k: args.truth.k,
        expand: args.expand,
        seconds,
        settings: evaluated,
        file: None,
        warnings,
    };
    if let Some(svg) = &args.svg {
        write_bytes(svg, report.plot(&args.truth.index).document()?.as_bytes(), args.run.existing())?;
        report.file = Some(WrittenFile::at(svg)?);
    }
    Ok(report)
}

/// The queries as they are asked.
fn asked(
    args: &EvalArgs,
    searcher: &Searcher,
    device: &Device,
    queries: &NpyFiles,
    progress: &mut Progress,
    warnings: &mut Vec<String>,
) -> Result<Vec<f32>> {
    let mut asked = vec![0.0; queries.rows() * queries.dim()];
    match args.expand {
        None => queries.read(0, &mut asked)?,
        Some(params) => {
            let rows = searcher.rows();
            progress.warn_all(not_unit(searcher.index(), &rows)?, warnings);
            expanded(device, queries, &rows, params, &args.run, progress)?.read(0, &mut asked)?;
        }
    }
    Ok(asked)
}

impl EvalReport {
    /// Recall against time, a line a k_factor.
    fn plot(&self, index: &Path) -> Plot {
        // Without lists a k_factor would be a line of one point.
        let apart = |a: &Evaluated, b: &Evaluated| a.nprobe.is_none() || a.k_factor == b.k_factor;
        let lines = self.settings.chunk_by(apart).enumerate().map(|(series, settings)| Line {
            name: settings[0].k_factor.map_or(String::new(), |factor| format!("k_factor {factor}")),
            series,
            points: settings.iter().map(|at| (1e6 * at.seconds_per_query, at.quality.recall)).collect(),
            others: Vec::new(),
        });
        let name = index.file_name().unwrap_or_default().to_string_lossy();
        Plot {
            title: format!("{name}: {}, {} × {}", self.factory, self.rows, self.d),
            x_title: "time a query in µs".into(),
            y_title: format!("recall@{}", self.k),
            lines: lines.collect(),
        }
    }
}

impl Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "index", format_args!("{}, {} rows × {}", self.factory, self.rows, self.d))?;
        let expand = self.expand.map_or(String::new(), |params| format!(", expanded by {params}"));
        line(f, "queries", format_args!("{}, k {}{expand}", self.queries, self.k))?;
        let Seconds { load, resident, exact, expand, search } = self.seconds;
        let expand = self.expand.map_or(String::new(), |_| format!("expand {expand:.3}, "));
        let rest = format_args!("exact {exact:.3}, {expand}search {search:.3}");
        line(f, "seconds", format_args!("load {load:.3}, make resident {resident:.3}, {rest}"))?;
        self.file.iter().try_for_each(|file| line(f, "written", file))?;
        table(f, &self.settings, self.k)
    }
}

/// A row a setting; an axis that the index does not have is left out.
pub fn table(f: &mut fmt::Formatter<'_>, settings: &[Evaluated], k: usize) -> fmt::Result {
    let lists = settings.iter().any(|at| at.nprobe.is_some());
    let refined = settings.iter().any(|at| at.k_factor.is_some());
    writeln!(f)?;
    let recall = format!("recall@{k}");
    let nprobe = if lists { "  nprobe" } else { "" };
    let k_factor = if refined { "  k_factor" } else { "" };
    writeln!(f, "{nprobe}{k_factor}  {recall:>9}  {:>7}  {:>7}  µs a query", "missing", "ratio")?;
    for Evaluated { nprobe, k_factor, quality, seconds_per_query } in settings {
        nprobe.map_or(Ok(()), |nprobe| write!(f, "{nprobe:>8}"))?;
        k_factor.map_or(Ok(()), |factor| write!(f, "{factor:>10}"))?;
        let ratio = quality.distance_ratio.map_or("-".to_string(), |ratio| format!("{ratio:.4}"));
        let micros = 1e6 * seconds_per_query;
        writeln!(f, "  {:>9.4}  {:>7.4}  {ratio:>7}  {micros:>10.1}", quality.recall, quality.missing)?;
    }
    Ok(())
}
