//! `expand`: alpha query expansion of a voice by itself.

use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, NpyFiles, write_npy};
use rvc_gpu_index::retrieval::{ExpandParams, Expanded};
use rvc_gpu_index::{Result, check_free, stale_names};
use serde::Serialize;

use super::outputs::check_no_input;
use super::progress::Progress;
use super::query_args::BATCH_ROWS;
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index expand logs/my-voice -o expanded.npy
  rvc-gpu-index expand features/ -o expanded.npy --alpha 3 --num-expand 5

Each row becomes the sum of its nearest rows, itself among them, times their cosine to the power of alpha; all of unit
length (arXiv 2007.08019). It helps some voices and hurts others: measure before you use it.";

/// Replace each row of a voice by a weighted sum of its nearest rows (alpha query expansion)
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExpandArgs {
    /// Experiment folder of RVC (with 3_feature256, 3_feature768 or 3_feature1024 in it), Applio or RVC_CLI, folder of .npy
    /// files, or .npy files
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// .npy file to write the expanded rows to
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A row weighs its cosine to the power of ALPHA
    #[arg(long, value_name = "ALPHA", default_value_t = ExpandParams::default().alpha, allow_negative_numbers = true)]
    alpha: f32,
    /// Rows that are summed, itself among them
    #[arg(long, value_name = "K", default_value_t = ExpandParams::default().num_expand)]
    num_expand: usize,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Serialize)]
pub struct ExpandReport {
    device: DeviceName,
    rows: usize,
    dropped_rows: usize,
    d: usize,
    expand: ExpandParams,
    seconds: Seconds,
    file: WrittenFile,
    warnings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Seconds {
    scan: f64,
    /// Finding the neighbours.
    search: f64,
    write: f64,
}

pub fn run(args: &ExpandArgs) -> Result<ExpandReport> {
    let mut voice = NpyFiles::open(&args.inputs)?;
    check_free(&args.output, args.run.existing())?;
    check_no_input(&args.output, voice.paths())?;
    let expand = ExpandParams { alpha: args.alpha, num_expand: args.num_expand };
    expand.check_for(voice.rows())?;
    let device = Device::select(&args.run.device)?;
    let mut progress = Progress::new(args.run.quiet);
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    progress.warn_all(stale_names(&args.output).into_iter().collect(), &mut warnings);
    let dropped_rows = args.run.check_finite(&mut voice, &mut progress, &mut warnings)?;
    seconds.scan = clock.lap();

    let expanded = expanded(&device, &voice, &voice, expand, &args.run, &mut progress)?;
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.search = clock.lap();
    write_npy(&args.output, args.run.existing(), &expanded, args.run.batch_rows().unwrap_or(BATCH_ROWS))?;
    seconds.write = clock.lap();
    Ok(ExpandReport {
        device: device.info().into(),
        rows: voice.rows(),
        dropped_rows,
        d: voice.dim(),
        expand,
        seconds,
        file: WrittenFile::at(&args.output)?,
        warnings,
    })
}

/// Rows that are expanded by others or by themselves, as the commands do it.
pub fn expanded<'a>(
    device: &Device,
    rows: &'a dyn FeatureSource,
    by: &'a dyn FeatureSource,
    params: ExpandParams,
    run: &RunArgs,
    progress: &mut Progress,
) -> Result<Expanded<'a>> {
    let found = |done| progress.at("expanding", done, rows.rows());
    let expanded = Expanded::new(device, rows, by, params, run.batch_rows(), found);
    progress.finish();
    expanded
}

impl Display for ExpandReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "rows", format_args!("{} × {}", self.rows, self.d))?;
        line(f, "expansion", format_args!("alpha {}, {} neighbours a row", self.expand.alpha, self.expand.num_expand))?;
        let Seconds { scan, search, write } = self.seconds;
        line(f, "seconds", format_args!("check {scan:.2}, search {search:.2}, write {write:.2}"))?;
        line(f, "written", &self.file)
    }
}
