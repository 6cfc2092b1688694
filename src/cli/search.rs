//! `search`: the neighbours of queries in an index.

use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{FeatureSource, NpyFiles, for_each_batch};
use rvc_gpu_index::index::{Index, IndexRows, Neighbors, Searcher};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Result, check_free, check_memory, faiss, stale_names};
use serde::Serialize;

use super::expand::expanded;
use super::outputs::check_no_input;
use super::progress::Progress;
use super::query_args::{BATCH_ROWS, QueryArgs, unlisted};
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs};

/// Queries whose neighbours are printed.
const SHOWN: usize = 5;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index search voice.index frames.npy
  rvc-gpu-index search voice.index frames.npy -k 16 --nprobe 8 -o neighbours.npz
  rvc-gpu-index search expanded.index frames.npy --expand 3,3

The .npz file holds the arrays ids (int64) and distances (float32), a row a query, nearest first.";

/// Find the nearest rows of an index for each query
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SearchArgs {
    /// Index file of this program or of faiss. The exact rows behind RFlat are read from it as they are needed (memory
    /// mapping): while this runs, replace the file by a rename, as this program does, and do not write into it. Where it is
    /// cut short, the system ends this program with SIGBUS
    index: PathBuf,
    /// Queries: a .npy file, a row a query
    queries: PathBuf,
    #[command(flatten)]
    query: QueryArgs,
    /// Replace each query first by the sum of its K nearest rows, times their cosine to the power of ALPHA (alpha query
    /// expansion); for an index of unit vectors, as `build --expand` makes
    #[arg(long, value_name = "ALPHA,K", allow_hyphen_values = true)]
    expand: Option<ExpandParams>,
    /// .npz file to write the neighbours to
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
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
    expand: Option<ExpandParams>,
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
    /// Expanding the queries.
    expand: f64,
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
        check_free(output, args.run.existing())?;
        check_no_input(output, queries.paths().chain([args.index.as_path()]))?;
    }
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let index = faiss::map_index(&args.index)?;
    seconds.load = clock.lap();
    let nprobe = args.query.check((&args.index, &index), (&args.queries, &queries))?;
    args.expand.map_or(Ok(()), |params| params.check_for(index.ntotal()))?;
    let device = Device::select(&args.run.device)?;
    let mut progress = Progress::new(args.run.quiet);
    progress.warn_all(args.output.iter().filter_map(stale_names).collect(), &mut warnings);
    progress.warn_all(unlisted(&args.index, &index).into_iter().collect(), &mut warnings);
    let dropped_queries = args.run.check_finite(&mut queries, &mut progress, &mut warnings)?;

    clock.lap();
    let searcher = Searcher::new(index, &device)?;
    seconds.resident = clock.lap();
    let found = match args.expand {
        None => search(args, &searcher, &queries, &mut progress)?,
        Some(params) => {
            let rows = searcher.rows();
            progress.warn_all(not_unit(searcher.index(), &rows)?, &mut warnings);
            let queries = expanded(&device, &queries, &rows, params, &args.run, &mut progress)?;
            seconds.expand = clock.lap();
            search(args, &searcher, &queries, &mut progress)?
        }
    };
    seconds.search = clock.lap();
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);

    if let Some(output) = &args.output {
        found.write_npz(output, args.run.existing())?;
    }
    let index = searcher.index();
    Ok(SearchReport {
        device: device.info().into(),
        factory: index.spec().to_string(),
        rows: index.ntotal(),
        d: index.dim(),
        queries: found.queries(),
        dropped_queries,
        k: args.query.k,
        nprobe,
        k_factor: args.query.k_factor(index),
        expand: args.expand,
        queries_per_second: found.queries() as f64 / seconds.search.max(f64::EPSILON),
        seconds,
        incomplete: found.incomplete(),
        incomplete_share: found.incomplete() as f64 / found.queries().max(1) as f64,
        file: args.output.as_deref().map(WrittenFile::at).transpose()?,
        first: Found::first(&found),
        warnings,
    })
}

/// A warning where distances of unit vectors from the index's rows tell little.
pub fn not_unit(index: &Index, rows: &IndexRows) -> Result<Vec<String>> {
    let mut some = vec![0.0; rows.rows().min(1000) * rows.dim()];
    rows.read(0, &mut some)?;
    let unit = |row: &[f32]| {
        let square: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        square == 0.0 || (0.9..1.1).contains(&square)
    };
    // Codes stand for a row nearly; behind L2norm it is a unit vector all the same.
    let fits = index.metric() == Metric::InnerProduct || some.chunks_exact(rows.dim()).all(unit);
    if fits || (index.l2norm() && index.refine().is_none()) {
        return Ok(Vec::new());
    }
    Ok(vec!["expanded queries have unit length, but rows of this index do not; build it with --expand".into()])
}

fn search(
    args: &SearchArgs,
    searcher: &Searcher,
    queries: &dyn FeatureSource,
    progress: &mut Progress,
) -> Result<Neighbors> {
    let bytes = size_of::<(f32, i64)>() as u64 * args.query.k as u64;
    check_memory(bytes.saturating_mul(queries.rows() as u64), "the neighbours of all queries")?;
    let mut found = Neighbors { k: args.query.k, ..Neighbors::default() };
    let params = args.query.params();
    for_each_batch(queries, args.run.batch_rows().unwrap_or(BATCH_ROWS), |_, batch| {
        found.append(searcher.search(batch, args.query.k, &params)?);
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
        let expand = self.expand.map_or(String::new(), |params| format!(", expanded by {params}"));
        line(f, "queries", format_args!("{}, k {}{nprobe}{k_factor}{expand}", self.queries, self.k))?;
        let Seconds { load, resident, expand, search } = self.seconds;
        let expand = self.expand.map_or(String::new(), |_| format!("expand {expand:.3}, "));
        line(f, "seconds", format_args!("load {load:.3}, make resident {resident:.3}, {expand}search {search:.3}"))?;
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
