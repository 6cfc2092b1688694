//! The command `bench`: a quick run on the CPU engine, and what it refuses.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "common/fails.rs"]
mod fails;

use std::path::PathBuf;

use common::{Folder, text};
use fails::fails;
use rvc_gpu_index::bench::BenchResult;

fn sample() -> String {
    format!("{}/tests/data/voice-sample", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_quick_run_measures_everything_once() {
    let folder = Folder::new();
    let output = folder.run(&format!("bench --quick --device cpu --skip-selftest --workload {} -o results", sample()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written: Vec<PathBuf> = folder.content().into_keys().filter(|path| path.is_file()).collect();
    let [page, file] = &written[..] else { panic!("{written:?}") };
    let pair = [page, file].map(|path| path.extension().and_then(|extension| extension.to_str()));
    assert_eq!(pair, [Some("html"), Some("json")]);
    let result = BenchResult::read(file).unwrap();
    assert!(result.quick && result.command.starts_with("rvc-gpu-index bench --quick"), "{}", result.command);
    let [device] = &result.devices[..] else { panic!("one was asked for") };
    assert!(device.selftest.is_none() && device.error.is_none(), "{:?}", device.error);
    let ceilings = device.ceilings.unwrap();
    assert!(ceilings.flops.median > 1e8 && ceilings.copy.median > 1e8 && ceilings.upload.is_none(), "{ceilings:?}");
    let stages: Vec<&str> = device.stages.iter().map(|stage| &*stage.stage).collect();
    let expected =
        ["nearest_centroid", "centroid_update", "exact_topk", "pq_encode", "lookup_tables", "fast_scan", "select_topk"];
    assert_eq!(stages, expected);
    assert_eq!(device.builds.len(), 3);
    for build in &device.builds {
        let phases: f64 = build.phases.iter().map(|phase| phase.seconds.min).sum();
        assert!(build.seconds.max >= phases, "{build:?}");
    }
    assert_eq!(device.live.iter().map(|live| live.frames).collect::<Vec<_>>(), [16, 28, 78].repeat(3));
    // More lists and more candidates find more, and an exact search finds all.
    for kind in device.searches.chunk_by(|a, b| a.factory == b.factory) {
        assert!(kind.is_sorted_by(|a, b| a.recall <= b.recall + 1e-9), "{kind:?}");
    }
    assert_eq!(device.searches.last().map(|search| (&*search.factory, search.recall)), Some(("Flat", 1.0)));
    let said = text(&output.stdout);
    assert!(said.contains("GFLOP/s") && said.contains("recall 1.000") && said.contains("page"), "{said}");
}

#[test]
fn what_cannot_be_measured() {
    let folder = Folder::new();
    fails(&folder, 2, "bench --workload voice-2min --device cpu", &["voice-2min", "voice-10min"]);
    fails(&folder, 2, "bench --device no-such-gpu", &["no-such-gpu"]);
}
