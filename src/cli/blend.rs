//! `blend`: frames drawn towards the rows of an index, as RVC does.

use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles, for_each_batch, write_npy};
use rvc_gpu_index::index::Searcher;
use rvc_gpu_index::retrieval::{BlendParams, Blended, Blender};
use rvc_gpu_index::{Result, check_free, faiss, stale_names};
use serde::Serialize;

use super::outputs::check_no_input;
use super::progress::Progress;
use super::query_args::{BATCH_ROWS, QueryArgs, unlisted};
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index blend voice.index frames.npy -o blended.npy
  rvc-gpu-index blend voice.index frames.npy --index-rate 0.5 -k 4 --nprobe 8 -o blended.npy

A frame x with neighbours r and squared distances s becomes index_rate · Σ w·r + (1 − index_rate) · x, with weights w of
(1/s)^power that sum to 1. A row that equals the frame counts alone. Frames of NaN or infinity pass through untouched.";

/// Blend frames with their nearest rows of an index, as RVC does
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct BlendArgs {
    /// Index file of this program or of faiss. The exact rows behind RFlat are read from it as they are needed (memory
    /// mapping): while this runs, replace the file by a rename, as this program does, and do not write into it. Where it is
    /// cut short, the system ends this program with SIGBUS
    index: PathBuf,
    /// Frames: a .npy file, a row a frame
    features: PathBuf,
    /// Share of the neighbours in the blend, 0 to 1
    #[arg(long, value_name = "RATE", default_value = "0.75", allow_negative_numbers = true)]
    index_rate: f32,
    /// A neighbour at the squared distance s weighs (1/s)^POWER
    #[arg(long, value_name = "POWER", default_value = "2", allow_negative_numbers = true)]
    power: f32,
    #[command(flatten)]
    query: QueryArgs,
    /// .npy file to write the blended frames to
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Serialize)]
pub struct BlendReport {
    device: DeviceName,
    factory: String,
    rows: usize,
    d: usize,
    frames: usize,
    dropped_frames: usize,
    /// Frames of NaN or infinity.
    untouched: usize,
    without_neighbors: usize,
    k: usize,
    nprobe: Option<usize>,
    k_factor: Option<f32>,
    index_rate: f32,
    power: f32,
    seconds: Seconds,
    file: WrittenFile,
    warnings: Vec<String>,
}

#[derive(Default, Serialize)]
struct Seconds {
    /// Reading the index file.
    load: f64,
    /// Making it resident on the device.
    resident: f64,
    blend: f64,
    write: f64,
}

pub fn run(args: &BlendArgs) -> Result<BlendReport> {
    let mut frames = NpyFiles::open(&[&args.features])?;
    check_free(&args.output, args.run.existing())?;
    check_no_input(&args.output, frames.paths().chain([args.index.as_path()]))?;
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let index = faiss::map_index(&args.index)?;
    seconds.load = clock.lap();
    let nprobe = args.query.check((&args.index, &index), (&args.features, &frames))?;
    let device = Device::select(&args.run.device)?;
    let mut progress = Progress::new(args.run.quiet);
    progress.warn_all(stale_names(&args.output).into_iter().collect(), &mut warnings);
    progress.warn_all(unlisted(&args.index, &index).into_iter().collect(), &mut warnings);
    // Frames have their places in time, so that those of NaN stay unless they are to go.
    let dropped_frames = match args.run.skip_non_finite {
        true => args.run.check_finite(&mut frames, &mut progress, &mut warnings)?,
        false => 0,
    };

    clock.lap();
    let blender = Blender::new(Searcher::new(index, &device)?);
    seconds.resident = clock.lap();
    let blended = blend(args, &blender, &frames, &mut progress)?;
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    if blended.passed_through > 0 {
        let frames = frames.rows();
        let warning =
            format!("{} of {frames} frames hold NaN or infinity and are as they were", blended.passed_through);
        progress.warn_all(vec![warning], &mut warnings);
    }
    seconds.blend = clock.lap();
    let out = MemoryRows::new(&blended.frames, frames.dim())?;
    write_npy(&args.output, args.run.existing(), &out, BATCH_ROWS)?;
    seconds.write = clock.lap();

    let index = blender.searcher().index();
    Ok(BlendReport {
        device: device.info().into(),
        factory: index.spec().to_string(),
        rows: index.ntotal(),
        d: index.dim(),
        frames: out.rows(),
        dropped_frames,
        untouched: blended.passed_through,
        without_neighbors: blended.without_neighbors,
        k: args.query.k,
        nprobe,
        k_factor: args.query.k_factor(index),
        index_rate: args.index_rate,
        power: args.power,
        seconds,
        file: WrittenFile::at(&args.output)?,
        warnings,
    })
}

fn blend(args: &BlendArgs, blender: &Blender, frames: &NpyFiles, progress: &mut Progress) -> Result<Blended> {
    let mut all = Blended::default();
    let BlendArgs { index_rate, power, .. } = *args;
    let params = BlendParams { k: args.query.k, index_rate, power, search: args.query.params() };
    for_each_batch(frames, args.run.batch_rows().unwrap_or(BATCH_ROWS), |start, batch| {
        let blended = blender.blend(batch, &params)?;
        all.frames.extend(blended.frames);
        all.passed_through += blended.passed_through;
        all.without_neighbors += blended.without_neighbors;
        progress.at("blending", start + batch.len() / frames.dim(), frames.rows());
        Ok(())
    })?;
    progress.finish();
    Ok(all)
}

impl Display for BlendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "index", format_args!("{}, {} rows × {}", self.factory, self.rows, self.d))?;
        let nprobe = self.nprobe.map_or(String::new(), |nprobe| format!(", nprobe {nprobe}"));
        let k_factor = self.k_factor.map_or(String::new(), |factor| format!(", k_factor {factor}"));
        let Self { index_rate, power, .. } = self;
        line(f, "blend", format_args!("index_rate {index_rate}, k {}{nprobe}{k_factor}, power {power}", self.k))?;
        let (untouched, without) = (self.untouched, self.without_neighbors);
        line(f, "frames", format_args!("{}, {untouched} untouched, {without} without neighbours", self.frames))?;
        let Seconds { load, resident, blend, write } = self.seconds;
        let rest = format_args!("blend {blend:.3}, write {write:.3}");
        line(f, "seconds", format_args!("load {load:.3}, make resident {resident:.3}, {rest}"))?;
        line(f, "written", &self.file)
    }
}
