//! The command `selftest`.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "common/fails.rs"]
mod fails;

use common::{Folder, text};
use fails::fails;
use serde_json::Value;

fn json(line: &str) -> Value {
    let output = Folder::new().run(&format!("selftest --json --quiet {line}"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

#[test]
fn one_stage_on_the_cpu_engine() {
    let output = Folder::new().run("selftest --device cpu --only l2_normalize::");
    assert!(output.status.success());
    let said = text(&output.stdout);
    assert!(said.contains("--device cpu") && said.contains("ok      l2_normalize"), "{said}");
    let json = json("--device cpu --only l2_normalize::");
    assert_eq!(json["passed"], true);
    assert_eq!(json["devices"][0]["device"]["selector"], "cpu");
    let stages = json["devices"][0]["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 1);
    assert_eq!((&stages[0]["stage"], &stages[0]["failed"]), (&"l2_normalize".into(), &0.into()));
    assert!(stages[0]["passed"].as_u64() > Some(5), "{stages:?}");
}

#[test]
fn devices_between_commas_are_tested_one_by_one() {
    let json = json("--device cpu,cpu --only select_topk::");
    assert_eq!(json["devices"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_is_not_there() {
    let folder = Folder::new();
    fails(&folder, 2, "selftest --only no_such_case", &["no_such_case", "leave it out"]);
    fails(&folder, 2, "selftest --device cpu,no-such-gpu", &["no-such-gpu"]);
}
