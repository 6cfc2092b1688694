//! This crate against real faiss, in both directions, and scikit-learn, through `tests/python/faiss_interop.py`.
//!
//! The interpreter is the one named by `RVC_GPU_INDEX_PYTHON`, else `.venv/bin/python`. Without faiss and scikit-learn
//! there, every case is ignored, except with `CI=true`, where it fails.

mod byte_tables;
mod compress;
#[path = "../common/devices.rs"]
mod devices;
mod faiss;
mod fast_scan_files;
mod files;
mod quality;
mod ranks;
mod retrieval;
mod search;

use libtest_mimic::{Arguments, Failed, Trial};

use faiss::{Faiss, Outcome};

type Case = Box<dyn FnOnce(&Faiss) -> Outcome + Send>;

fn main() {
    let found = Faiss::find();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if let Err(reason) = &found {
        eprintln!("faiss interop: {reason}");
    }
    let cases = files::cases()
        .into_iter()
        .chain(fast_scan_files::cases())
        .chain(search::cases())
        .chain(quality::cases())
        .chain(retrieval::cases())
        .chain(compress::cases());
    let trials = cases
        .map(|(name, case)| {
            let found = found.clone();
            let ignored = found.is_err() && !ci;
            Trial::test(name, move || case(&found?).map_err(Failed::from)).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
