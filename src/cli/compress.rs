//! `compress`: from frame features to fewer rows that stand for them.

use std::fmt::{self, Display};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::cluster::{self, CompressParams, Compressed, Method};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles, write_npy};
use rvc_gpu_index::{Result, check_free, stale_names};
use serde::Serialize;

use super::outputs::check_no_input;
use super::progress::Progress;
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs, WRITE_ROWS};

/// Rows that the quantisation error is measured on: its mean over so many moves by less than a percent from draw to draw.
const MEASURED_ROWS: usize = 65_536;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index compress logs/my-voice -o my-voice-10k.npy
      writes 10,000 rows that stand for all rows of the voice, as RVC makes them of voices of more than 200,000 rows
  rvc-gpu-index compress logs/my-voice --clusters 30000 --method lloyd --iterations 20 -o my-voice-30k.npy
  rvc-gpu-index build my-voice-10k.npy -o my-voice.index
      builds an index over them; `build --compress auto` does both";

/// Compress the features of a voice to representative rows
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CompressArgs {
    /// Experiment folder of RVC (with 3_feature256, 3_feature768 or 3_feature1024 in it), Applio or RVC_CLI, folder of .npy
    /// files, or .npy files
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// .npy file to write
    #[arg(short, long, value_name = "OUT.npy")]
    pub output: PathBuf,
    /// Rows to be left: centroids of a k-means, fewer than there are rows
    #[arg(long, value_name = "N", default_value = "10000")]
    pub clusters: NonZeroUsize,
    /// mini-batch (RVC's k-means, which updates its centroids after each batch) or lloyd (after each pass over all rows)
    #[arg(long, value_name = "METHOD", default_value = "mini-batch")]
    pub method: Method,
    /// Passes over the rows; a mini-batch k-means may end before [default: 2 for mini-batch, 10 for lloyd]
    #[arg(long, value_name = "N")]
    pub iterations: Option<NonZeroUsize>,
    /// Seed of the k-means: one seed on one device gives one file
    #[arg(long, value_name = "N", default_value_t = CompressParams::default().seed)]
    pub seed: u64,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Serialize)]
pub struct CompressReport {
    device: DeviceName,
    rows: usize,
    dropped_rows: usize,
    d: usize,
    clusters: usize,
    method: String,
    seed: u64,
    /// Passes over the rows, a fraction where the last one was cut short.
    iterations: f64,
    /// Mean squared distance of a row to its nearest centroid.
    error_per_row: f64,
    /// Rows that this was measured on.
    measured_rows: usize,
    seconds: Seconds,
    files: Vec<WrittenFile>,
    warnings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Seconds {
    scan: f64,
    compress: f64,
    measure: f64,
    write: f64,
}

pub fn run(args: &CompressArgs) -> Result<CompressReport> {
    let mut voice = NpyFiles::open(&args.inputs)?;
    let clusters = args.clusters.get();
    cluster::check_clusters(voice.rows(), clusters)?;
    check_no_input(&args.output, voice.paths())?;
    check_free(&args.output, args.run.existing())?;
    let device = Device::select(&args.run.device)?;

    let mut progress = Progress::new(args.run.quiet);
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    progress.warn_all(stale_names(&args.output).into_iter().collect(), &mut warnings);
    let dropped_rows = args.run.check_finite(&mut voice, &mut progress, &mut warnings)?;
    cluster::check_clusters(voice.rows(), clusters)?;
    seconds.scan = clock.lap();

    let iterations = args.iterations.map_or(args.method.default_iterations(), NonZeroUsize::get);
    let batch_rows = args.run.batch_rows();
    let params = CompressParams { method: args.method, iterations, seed: args.seed, batch_rows };
    let Compressed { centroids, passes, .. } = compress(&device, &voice, clusters, &params, &mut progress)?;
    seconds.compress = clock.lap();

    let total = voice.rows().min(MEASURED_ROWS);
    let measured = |done| progress.at("measuring", done, total);
    let error = cluster::quantization_error(&device, &voice, &centroids, MEASURED_ROWS, &params, measured)?;
    progress.finish();
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.measure = clock.lap();
    write_npy(&args.output, args.run.existing(), &MemoryRows::new(&centroids, voice.dim())?, WRITE_ROWS)?;
    seconds.write = clock.lap();

    Ok(CompressReport {
        device: device.info().into(),
        rows: voice.rows(),
        dropped_rows,
        d: voice.dim(),
        clusters,
        method: args.method.to_string(),
        seed: args.seed,
        iterations: passes,
        error_per_row: error.mean,
        measured_rows: error.rows,
        seconds,
        files: vec![WrittenFile::at(&args.output)?],
        warnings,
    })
}

/// As the library does, with progress.
pub fn compress(
    device: &Device,
    voice: &NpyFiles,
    clusters: usize,
    params: &CompressParams,
    progress: &mut Progress,
) -> Result<Compressed> {
    let (rows, total) = (voice.rows(), voice.rows().saturating_mul(params.iterations));
    let compressed = cluster::compress(device, voice, clusters, params, |pass, done| {
        progress.at("centroids", pass * rows + done, total);
    });
    progress.finish();
    compressed
}

impl Display for CompressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "rows", format_args!("{} × {}", self.rows, self.d))?;
        line(f, "clusters", format_args!("{}, by {}, {:.2} passes", self.clusters, self.method, self.iterations))?;
        let measured = format_args!("{:.4} a row, measured on {} rows", self.error_per_row, self.measured_rows);
        line(f, "error", measured)?;
        let Seconds { scan, compress, measure, write } = self.seconds;
        let seconds = format_args!("check {scan:.2}, compress {compress:.2}, measure {measure:.2}, write {write:.2}");
        line(f, "seconds", seconds)?;
        self.files.iter().try_for_each(|file| line(f, "written", file))
    }
}
