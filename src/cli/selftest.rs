//! `selftest`: whether devices compute right.

use std::fmt::{self, Display};
use std::time::Instant;

use clap::Args;
use rvc_gpu_index::device::{self, Device, DeviceInfo};
use rvc_gpu_index::selftest::{self, Case, FailedCase, Verdict};
use rvc_gpu_index::{Error, Result};
use serde::Serialize;

use super::devices::describe;
use super::progress::Progress;

/// Check that devices compute right: every stage on many shapes, against plain float64 arithmetic
///
/// Exit status: 0 where all cases hold on all devices, 1 where one does not, 2 where a device is not here.
#[derive(Args)]
pub struct SelftestArgs {
    /// Devices, separated by commas: all, auto, cpu, gpu, gpu:N, or part of a name or backend
    #[arg(long, value_name = "DEVICES", default_value = "all")]
    device: String,
    /// Run only the cases whose path has this in it, such as nearest_centroid::l2_129x128
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print nothing but the report
    #[arg(short, long)]
    quiet: bool,
}

/// Devices by selectors between commas.
///
/// # Errors
/// As [`Device::select`].
pub fn select_devices(selectors: &str) -> Result<Vec<Device>> {
    let named: Vec<String> = match selectors.trim() {
        "all" => device::list().0.into_iter().map(|info| info.selector).collect(),
        several => several.split(',').map(|selector| selector.trim().to_string()).collect(),
    };
    named.iter().map(|selector| Device::select(selector)).collect()
}

pub fn run(args: &SelftestArgs) -> Result<SelftestReport> {
    let devices = select_devices(&args.device)?;
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|text| case.path().contains(text.as_str()));
    let cases: Vec<Case> = selftest::cases().into_iter().filter(wanted).collect();
    if let (Some(text), true) = (&args.only, cases.is_empty()) {
        let remedy = "no case has that in its path; leave it out to run all".into();
        return Err(Error::Parameter { name: "only", found: text.clone(), remedy });
    }
    let mut progress = Progress::of("cases", args.quiet);
    let results: Vec<DeviceVerdict> =
        devices.iter().map(|device| DeviceVerdict::new(device, &cases, &mut progress)).collect();
    Ok(SelftestReport { passed: results.iter().all(DeviceVerdict::passed), devices: results })
}

#[derive(Serialize)]
pub struct SelftestReport {
    /// All cases hold on all devices.
    pub passed: bool,
    devices: Vec<DeviceVerdict>,
}

#[derive(Serialize)]
struct DeviceVerdict {
    device: DeviceInfo,
    stages: Vec<Verdict>,
    seconds: f64,
}

impl DeviceVerdict {
    fn new(device: &Device, cases: &[Case], progress: &mut Progress) -> Self {
        let info = device.info().clone();
        progress.note(&format!("{} ({})", info.name, info.backend));
        let begun = Instant::now();
        let stages = selftest::selftest(device, cases, |done| progress.at("testing", done, cases.len()));
        progress.finish();
        Self { device: info, stages, seconds: begun.elapsed().as_secs_f64() }
    }

    fn passed(&self) -> bool {
        self.stages.iter().all(|stage| stage.failed == 0)
    }
}

impl Display for SelftestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for DeviceVerdict { device, stages, seconds } in &self.devices {
            writeln!(f, "--device {}", device.selector)?;
            describe(f, device)?;
            for Verdict { stage, passed, failed, first_failure } in stages {
                match first_failure {
                    None => writeln!(f, "  ok      {stage:<18} {passed} cases")?,
                    Some(failure) => {
                        writeln!(f, "  FAILED  {stage:<18} {failed} of {} cases", passed + failed)?;
                        explain(f, &device.selector, failure)?;
                    }
                }
            }
            writeln!(f, "  in {seconds:.1} s\n")?;
        }
        match self.passed {
            true => writeln!(f, "All cases hold."),
            false => writeln!(f, "Some cases fail: what this program computes there is not to be trusted."),
        }
    }
}

fn explain(f: &mut fmt::Formatter<'_>, selector: &str, failure: &FailedCase) -> fmt::Result {
    let FailedCase { stage, case, values, message } = failure;
    writeln!(f, "          first {case}: {message}")?;
    if !values.is_empty() {
        writeln!(f, "          on {values}")?;
    }
    writeln!(f, "          again: rvc-gpu-index selftest --device \"{selector}\" --only {stage}::{case}")
}
