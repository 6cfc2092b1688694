//! Every stage on every device, against plain float64 arithmetic: one test a (device, stage, case), so that a failing
//! driver is named. `CONFORMANCE_DEVICES` (comma-separated selectors) says which devices must be here; without it
//! every device found is tested, and stages on a GPU are listed as ignored where there is none.

mod blend;
mod bounds;
mod centroid_means;
mod centroid_table;
mod centroid_update;
mod compare;
#[path = "../common/devices.rs"]
mod devices;
mod distance_subset;
mod exact_topk;
mod fast_scan;
mod l2_normalize;
mod lookup_tables;
mod nearest_centroid;
mod nearest_probes;
mod oracle;
mod pq_encode;
mod pq_update;
mod select_topk;
mod sketch;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use rvc_gpu_index::device::Device;

/// A case of a stage: its name, and what it does on a device.
pub type Case = (String, Run);
/// What a case does on a device.
pub type Run = Box<dyn Fn(&Device) -> Result<(), Failed> + Send + Sync>;

type Stage = (&'static str, fn() -> Vec<Case>);

const STAGES: [Stage; 17] = [
    ("nearest_centroid", nearest_centroid::cases),
    ("nearest_probes", nearest_probes::cases),
    ("sketch", sketch::cases),
    ("bounds", bounds::cases),
    ("compare", compare::cases),
    ("centroid_update", centroid_update::cases),
    ("centroid_means", centroid_means::cases),
    ("centroid_table", centroid_table::cases),
    ("exact_topk", exact_topk::cases),
    ("lookup_tables", lookup_tables::cases),
    ("fast_scan", fast_scan::cases),
    ("select_topk", select_topk::cases),
    ("pq_encode", pq_encode::cases),
    ("pq_update", pq_update::cases),
    ("distance_subset", distance_subset::cases),
    ("l2_normalize", l2_normalize::cases),
    ("blend", blend::cases),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let (devices, missing) = devices::devices();
    let named = std::env::var_os(devices::DEVICES).is_some();
    if devices.iter().all(Device::is_cpu) && !named {
        trials.push(Trial::test("gpu: no GPU driver on this machine", || Ok(())).with_ignored_flag(true));
    }
    for device in devices {
        for (stage, cases) in STAGES {
            for (case, run) in cases() {
                let device = device.clone();
                let name = format!("{}::{stage}::{case}", device.info().selector);
                trials.push(Trial::test(name, move || run(&device)));
            }
        }
    }
    for reason in missing {
        trials.push(Trial::test(reason.clone(), move || Err(reason.into())).with_ignored_flag(!named));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
