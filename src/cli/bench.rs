//! `bench`: what a GPU does with this work, and how far it is from its limit.

use std::fmt::{self, Display};
use std::fs;
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::bench::{BenchParams, BenchResult, DeviceResult, Loaded, Report, bench, free_memory};
use rvc_gpu_index::{Error, Existing, Result, check_free, write_bytes};
use serde::Serialize;

use super::progress::Progress;
use super::report::{WrittenFile, line};
use super::selftest::select_devices;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index bench --quick
  rvc-gpu-index bench --device gpu,cpu --workload voice-40min -o results
  rvc-gpu-index bench --workload logs/my-voice

Workloads of RVC's 768 floats a frame, 50 frames a second: voice-10min, voice-40min, voice-1h, million (frames); or a .npy
file or folder of features, of which every 20th frame is a query. Written are a result file, which `report` lays beside
others, and a page about it alone. A device that computes wrong is measured with a warning; one that fails in the middle
keeps what was measured, and the exit status is 1.";

/// Measure devices: ceilings, stages, builds, live calls, searches and what they find
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Devices, separated by commas: all, auto, cpu, gpu, gpu:N, or part of a name or backend
    #[arg(long, value_name = "DEVICES", default_value = "all")]
    device: String,
    /// voice-10min, voice-40min, voice-1h, million, or a file or folder of features
    #[arg(long, value_name = "WORKLOAD", default_value = "voice-10min")]
    workload: String,
    /// A minute of the workload, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Leave the conformance cases out
    #[arg(long)]
    skip_selftest: bool,
    /// Folder for the result and its page
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print nothing but the summary
    #[arg(short, long)]
    quiet: bool,
}

/// What was written, and the result itself.
#[derive(Serialize)]
pub struct BenchReport {
    #[serde(flatten)]
    result: BenchResult,
    result_file: WrittenFile,
    page: WrittenFile,
}

pub fn run(args: &BenchArgs) -> Result<BenchReport> {
    let devices = select_devices(&args.device)?;
    fs::create_dir_all(&args.output).map_err(|source| Error::Io {
        path: args.output.clone(),
        action: "create",
        source,
    })?;
    let mut progress = Progress::new(args.quiet);
    let loaded = Loaded::new(&args.workload, args.quick, free_memory())?;
    let params = BenchParams { quick: args.quick, selftest: !args.skip_selftest };
    let result = bench(&devices, &loaded, &params, command_line(), |what| progress.note(what))?;
    let stem = format!("bench-{}", result.time.to_string().replace(':', ""));
    let [json, html] = ["json", "html"].map(|extension| args.output.join(format!("{stem}.{extension}")));
    check_free(&json, Existing::Keep)?;
    result.write(&json, Existing::Keep)?;
    write_bytes(&html, Report::read(&[&json])?.html()?.as_bytes(), Existing::Keep)?;
    Ok(BenchReport { result, result_file: WrittenFile::at(&json)?, page: WrittenFile::at(&html)? })
}

impl BenchReport {
    /// No device failed in the middle.
    pub fn is_complete(&self) -> bool {
        self.result.devices.iter().all(|device| device.error.is_none())
    }
}

/// As it would be typed again, but for the program's folder.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        if argument.contains(char::is_whitespace) { format!("\"{argument}\"") } else { argument }
    });
    std::iter::once(env!("CARGO_BIN_NAME").to_string()).chain(arguments).collect::<Vec<_>>().join(" ")
}

impl Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for device in &self.result.devices {
            describe(f, device)?;
        }
        line(f, "result", &self.result_file)?;
        line(f, "page", &self.page)
    }
}

fn describe(f: &mut fmt::Formatter<'_>, device: &DeviceResult) -> fmt::Result {
    writeln!(f, "{} ({})", device.info.name, device.info.backend)?;
    if let Some(selftest) = &device.selftest {
        let of = selftest.passed + selftest.failed;
        line(f, "  selftest", format_args!("{} of {of} cases hold", selftest.passed))?;
    }
    if let Some(ceilings) = &device.ceilings {
        let (flops, copy) = (ceilings.flops.median / 1e9, ceilings.copy.median / 1e9);
        line(f, "  ceilings", format_args!("{flops:.0} GFLOP/s, copies {copy:.1} GB/s"))?;
    }
    for build in &device.builds {
        line(f, "  built", format_args!("{} in {:.2} s", build.factory, build.seconds.median))?;
    }
    for live in &device.live {
        let [p50, p99] = [live.seconds.median, live.percentiles[99]].map(|seconds| 1e3 * seconds);
        line(
            f,
            "  live",
            format_args!("{} frames, {}: {p50:.2} ms, 1 of 100 above {p99:.2}", live.frames, live.factory),
        )?;
    }
    for search in &device.searches {
        let setting = match (search.nprobe, search.k_factor) {
            (Some(nprobe), _) => format!(", nprobe {nprobe}"),
            (None, Some(factor)) => format!(", k_factor {factor}"),
            (None, None) => String::new(),
        };
        let (recall, rate) = (search.recall, search.queries_per_second.median);
        line(f, "  searched", format_args!("{}{setting}: recall {recall:.3}, {rate:.0} queries/s", search.factory))?;
    }
    device.warnings.iter().try_for_each(|warning| line(f, "  warning", warning))?;
    device.error.iter().try_for_each(|error| line(f, "  stopped", error))?;
    writeln!(f)
}
