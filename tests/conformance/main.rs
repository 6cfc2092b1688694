//! The cases of `selftest` as tests: one a (device, stage, case), so that a failing driver is named. `CONFORMANCE_DEVICES`
//! (comma-separated selectors) says which devices must be here; without it every device found is tested, and stages on a
//! GPU are listed as ignored where there is none.

#[path = "../common/devices.rs"]
mod devices;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::selftest;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let (devices, missing) = devices::devices();
    let named = std::env::var_os(devices::DEVICES).is_some();
    if devices.iter().all(Device::is_cpu) && !named {
        trials.push(Trial::test("gpu: no GPU driver on this machine", || Ok(())).with_ignored_flag(true));
    }
    for device in devices {
        for case in selftest::cases() {
            let device = device.clone();
            let name = format!("{}::{}", device.info().selector, case.path());
            let run = move || case.run(&device).map_err(|failed| format!("{}\non {}", failed.message, failed.values));
            trials.push(Trial::test(name, move || run().map_err(Into::into)));
        }
    }
    for reason in missing {
        trials.push(Trial::test(reason.clone(), move || Err(reason.into())).with_ignored_flag(!named));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
