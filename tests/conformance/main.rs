//! Every stage on every device, against plain float64 arithmetic: one test a (device, stage, case), so that a failing
//! driver is named. `CONFORMANCE_DEVICES` (comma-separated selectors) says which devices must be here; without it
//! every device found is tested, and stages on a GPU are listed as ignored where there is none.

mod centroid_update;
mod exact_topk;
mod nearest_centroid;
mod nearest_probes;
mod oracle;
mod select_topk;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use rvc_gpu_index::device::{self, Device};

/// A case of a stage: its name, and what it does on a device.
pub type Case = (String, fn_box::Run);

mod fn_box {
    use super::{Device, Failed};
    pub type Run = Box<dyn Fn(&Device) -> Result<(), Failed> + Send + Sync>;
}

type Stage = (&'static str, fn() -> Vec<Case>);

const STAGES: [Stage; 5] = [
    ("nearest_centroid", nearest_centroid::cases),
    ("nearest_probes", nearest_probes::cases),
    ("centroid_update", centroid_update::cases),
    ("exact_topk", exact_topk::cases),
    ("select_topk", select_topk::cases),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let (devices, missing) = devices();
    for device in devices {
        for (stage, cases) in STAGES {
            for (case, run) in cases() {
                let device = device.clone();
                let name = format!("{}::{stage}::{case}", device.info().selector);
                trials.push(Trial::test(name, move || run(&device)));
            }
        }
    }
    for (name, required) in missing {
        let reason = name.clone();
        trials.push(Trial::test(name, move || Err(reason.into())).with_ignored_flag(!required));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Devices to test, and a line for each that should be here and is not, with whether that is a failure.
fn devices() -> (Vec<Device>, Vec<(String, bool)>) {
    let mut missing = Vec::new();
    let selectors: Vec<String> = match std::env::var("CONFORMANCE_DEVICES") {
        Ok(named) => named.split(',').map(|selector| selector.trim().to_string()).collect(),
        Err(_) => device::list().0.into_iter().map(|info| info.selector).collect(),
    };
    let required = std::env::var_os("CONFORMANCE_DEVICES").is_some();
    let mut devices = Vec::new();
    for selector in selectors {
        match Device::select(&selector) {
            Ok(device) => devices.push(device),
            Err(error) => missing.push((format!("{selector}: {error}").replace('\n', " "), required)),
        }
    }
    if devices.iter().all(Device::is_cpu) && !required {
        missing.push(("gpu: no GPU driver on this machine".into(), false));
    }
    (devices, missing)
}
