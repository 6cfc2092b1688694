//! `live`: how long calls of a few frames take, one after the other, as a voice host makes them.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rvc_gpu_index::device::{Device, RowFormat};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, Neighbors, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender, LiveParams, LiveScan, LiveVoice};
use rvc_gpu_index::{Error, Result, faiss};
use serde::Serialize;

use super::progress::Progress;
use super::query_args::{QueryArgs, unlisted};
use super::report::{DeviceName, line};
use super::run_args::Clock;

/// Calls before those that are timed.
const WARM_UP: usize = 20;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index live voice.index frames.npy
  rvc-gpu-index live voice.index frames.npy --frames 28 --nprobe 8 --device gpu

A call takes the next frames of the file, from its beginning again when they are used up. On the CPU engine the index is
searched as its nprobe and k_factor say. On a GPU the whole voice is scanned, for PQMx4fs,RFlat by its codes where that is
clearly faster, or with --k-factor in any case.";

/// Time live calls: searches and blends of a few frames at a time
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LiveArgs {
    /// Index file of this program or of faiss
    index: PathBuf,
    /// Frames: a .npy file, a row a frame
    features: PathBuf,
    /// Frames a call; each number is timed by itself
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "16,28,78",
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    frames: Vec<u16>,
    /// Calls that are timed
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    #[command(flatten)]
    query: QueryArgs,
    /// How a GPU keeps the rows
    #[arg(long, value_enum, default_value = "f32")]
    rows: Rows,
    /// Device: auto, cpu, gpu, gpu:N, or part of a name or backend; `rvc-gpu-index devices` lists them
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rows {
    /// 32-bit floats
    F32,
    /// 16-bit floats: half the memory, each value right to 2⁻¹¹ of itself
    F16,
}

#[derive(Serialize)]
pub struct LiveReport {
    device: DeviceName,
    factory: String,
    rows: usize,
    d: usize,
    k: usize,
    /// Lists that are visited; none where the whole voice is scanned.
    nprobe: Option<usize>,
    /// Reading the index file and making it resident.
    load_seconds: f64,
    calls: u32,
    times: Vec<Times>,
}

#[derive(Serialize)]
struct Times {
    frames: usize,
    /// Rows a frame that codes leave to be compared exactly; none where all are, or those of the lists.
    candidates: Option<usize>,
    search: Latency,
    /// A search, and a blend with what it found.
    blend: Latency,
}

/// Milliseconds a call.
#[derive(Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

pub fn run(args: &LiveArgs) -> Result<LiveReport> {
    let features = NpyFiles::open(&[&args.features])?;
    let mut clock = Clock::start();
    let index = faiss::read_index(&args.index)?;
    let nprobe = args.query.check((&args.index, &index), (&args.features, &features))?;
    let most = args.frames.iter().copied().max().map_or(0, usize::from);
    if features.rows() < most {
        let found = format!("has {} frames, and a call takes {most}", features.rows());
        return Err(Error::Input { path: args.features.clone(), found, remedy: "pass a longer file".into() });
    }
    let mut frames = vec![0.0; features.rows() * features.dim()];
    features.read(0, &mut frames)?;
    let device = Device::select(&args.device)?;
    let (factory, rows, d) = (index.spec().to_string(), index.ntotal(), index.dim());
    if let (false, Some(nprobe)) = (device.is_cpu(), args.query.params().nprobe) {
        let remedy = "leave it out, or choose the CPU engine".into();
        return Err(Error::Parameter { name: "nprobe", found: format!("{nprobe}, but a GPU scans all lists"), remedy });
    }
    unlisted(&args.index, &index).iter().for_each(|warning| Progress::new(false).warn(warning));
    let host = Host::new(index, &device, args)?;
    let load_seconds = clock.lap();
    let times = args.frames.iter().map(|&count| host.time(&frames, count.into(), args));
    Ok(LiveReport {
        factory,
        rows,
        d,
        k: args.query.k,
        nprobe: if device.is_cpu() { nprobe } else { None },
        load_seconds,
        calls: args.calls,
        times: times.collect::<Result<_>>()?,
        device: device.info().into(),
    })
}

/// Whoever makes the calls.
enum Host {
    Cpu(Box<Blender>),
    Gpu(LiveVoice),
}

impl Host {
    fn new(index: Index, device: &Device, args: &LiveArgs) -> Result<Self> {
        let format = match args.rows {
            Rows::F32 => RowFormat::F32,
            Rows::F16 => RowFormat::F16,
        };
        Ok(match device.is_cpu() {
            true => {
                let searcher = Searcher::new(index, device)?;
                searcher.prepare(&args.query.params());
                Self::Cpu(Box::new(Blender::new(searcher)))
            }
            false => Self::Gpu(LiveVoice::new(index, device, format)?),
        })
    }

    fn time(&self, all: &[f32], count: usize, args: &LiveArgs) -> Result<Times> {
        let k = args.query.k;
        match self {
            Self::Cpu(blender) => {
                let (dim, mut found) = (blender.searcher().index().dim(), Neighbors::default());
                let params = BlendParams { k, search: args.query.params(), ..BlendParams::default() };
                let search = |frames: &[f32]| blender.searcher().search_into(frames, k, &params.search, &mut found);
                let search = latency(all, count * dim, dim, args.calls, search)?;
                let blend = |frames: &[f32]| blender.blend(frames, &params).map(drop);
                let blend = latency(all, count * dim, dim, args.calls, blend)?;
                let candidates =
                    args.query.k_factor(blender.searcher().index()).map(|factor| (k as f32 * factor) as usize);
                Ok(Times { frames: count, candidates, search, blend })
            }
            Self::Gpu(voice) => {
                let k_factor = args.query.params().k_factor;
                let scan = if k_factor.is_some() { LiveScan::FastScan { k_factor } } else { LiveScan::Measured };
                let (dim, plan) = (voice.dim(), voice.plan(&LiveParams { k, scan, ..LiveParams::new(count) })?);
                let search = latency(all, count * dim, dim, args.calls, |frames| plan.search(frames).map(drop))?;
                let blend = latency(all, count * dim, dim, args.calls, |frames| plan.blend(frames).map(drop))?;
                Ok(Times { frames: count, candidates: plan.candidates(), search, blend })
            }
        }
    }
}

/// Times calls with `values` floats each, from row to row through all of them.
fn latency(
    all: &[f32],
    values: usize,
    dim: usize,
    calls: u32,
    mut call: impl FnMut(&[f32]) -> Result<()>,
) -> Result<Latency> {
    let starts = (all.len() - values) / dim + 1;
    let frames = |number: usize| &all[number * (values / dim) % starts * dim..][..values];
    for number in 0..WARM_UP {
        call(frames(number))?;
    }
    let mut times = Vec::with_capacity(calls as usize);
    for number in 0..calls as usize {
        let start = Instant::now();
        call(frames(number))?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let percentile = |share: f64| 1e3 * times[(share * (times.len() - 1) as f64).round() as usize].as_secs_f64();
    Ok(Latency { p50: percentile(0.50), p99: percentile(0.99) })
}

impl Display for LiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "index", format_args!("{}, {} rows × {}", self.factory, self.rows, self.d))?;
        let nprobe = self.nprobe.map_or(String::new(), |nprobe| format!(", nprobe {nprobe}"));
        line(f, "calls", format_args!("{} of each, k {}{nprobe}", self.calls, self.k))?;
        line(f, "load", format_args!("{:.3} seconds", self.load_seconds))?;
        writeln!(f, "\n{:>9} {:>23} {:>23} {:>11}", "", "search, ms", "with blend, ms", "")?;
        writeln!(f, "{:>9} {:>11} {:>11} {:>11} {:>11} {:>11}", "frames", "p50", "p99", "p50", "p99", "candidates")?;
        self.times.iter().try_for_each(|Times { frames, candidates, search, blend }| {
            let candidates = candidates.map_or("-".into(), |candidates| candidates.to_string());
            let [a, b, c, d] = [search.p50, search.p99, blend.p50, blend.p99];
            writeln!(f, "{frames:>9} {a:>11.3} {b:>11.3} {c:>11.3} {d:>11.3} {candidates:>11}")
        })
    }
}
