//! Blending and expansion by the command: what it writes, prints and refuses.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;

use common::{Folder, npy_f32, some_rows, text};
use fails::fails;
use runs::{json, ok};
use serde_json::Value;

/// Rows of a file that the command wrote.
fn rows(folder: &Folder, name: &str) -> Vec<f32> {
    folder.bytes(name)[128..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// A folder with the indexes `rows.index` of the rows (0, 0) and (0, 2), and `frames.npy`.
fn small(frames: &[f32]) -> Folder {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &[0.0, 0.0, 0.0, 2.0]));
    folder.put("frames.npy", &npy_f32(2, frames));
    ok(&folder, "build rows.npy --factory Flat --device cpu -q");
    folder
}

fn assert_near(found: &[f32], expected: &[f32]) {
    let near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near, "{found:?} is not {expected:?}");
}

#[test]
fn frames_are_blended() {
    // Squared distances 1 and 1; 4 and 8, which weigh 0.8 and 0.2; 0 and 4.
    let folder = small(&[0.0, 1.0, -2.0, 0.0, 0.0, 2.0]);
    let line = "blend rows.index frames.npy --index-rate 0.5 -o out.npy --device cpu";
    let report = json(&folder, line);
    assert_near(&rows(&folder, "out.npy"), &[0.0, 1.0, -1.0, 0.2, 0.0, 2.0]);
    assert_eq!(
        (&report["frames"], &report["untouched"], &report["without_neighbors"]),
        (&3.into(), &0.into(), &0.into())
    );
    assert_eq!((&report["index_rate"], &report["power"], &report["k"]), (&0.5.into(), &2.0.into(), &8.into()));
    assert_eq!((&report["file"]["path"], &report["file"]["bytes"]), (&"out.npy".into(), &(128 + 24).into()));
    for phase in ["load", "resident", "blend", "write"] {
        assert!(report["seconds"][phase].as_f64().unwrap() >= 0.0);
    }
    // With the power 1 the second frame's weights are 2/3 and 1/3.
    let shown = ok(&folder, &format!("{line} --power 1 --batch-rows 1 --force"));
    assert_near(&rows(&folder, "out.npy")[2..4], &[-1.0, 1.0 / 3.0]);
    assert!(shown.contains("3, 0 untouched, 0 without neighbours") && shown.contains("power 1"), "{shown}");
}

#[test]
fn frames_of_nan_pass_through() {
    let folder = small(&[f32::NAN, 1.0, 0.0, 2.0, f32::INFINITY, 0.0]);
    let output = folder.run("blend rows.index frames.npy -o out.npy --device cpu --json");
    assert!(text(&output.stderr).contains("warning: 2 of 3 frames hold NaN or infinity"), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["frames"], &report["untouched"]), (&3.into(), &2.into()));
    let out = rows(&folder, "out.npy");
    assert!(out[0].is_nan() && out[1..] == [1.0, 0.0, 2.0, f32::INFINITY, 0.0], "{out:?}");
    let report = json(&folder, "blend rows.index frames.npy -o less.npy --device cpu --skip-non-finite -q");
    assert_eq!((&report["frames"], &report["dropped_frames"], &report["untouched"]), (&1.into(), &2.into(), &0.into()));
}

#[test]
fn blends_that_cannot_be() {
    let folder = small(&[0.0, 1.0]);
    folder.put("wide.npy", &npy_f32(3, &[0.0; 3]));
    for (line, said) in [
        ("--index-rate 1.5", &["index_rate: 1.5", "choose 0 to 1"][..]),
        ("--index-rate -0.1", &["index_rate: -0.1"]),
        ("--index-rate NaN", &["index_rate: NaN"]),
        ("--power 0", &["power: 0"]),
        ("--power -2", &["power: -2"]),
        ("--power inf", &["power: inf"]),
        ("-k 0", &["1..=1024"]),
        ("--nprobe 2", &["nprobe", "Flat has no lists"]),
        ("--k-factor 2", &["k_factor: 2", "does not re-rank"]),
    ] {
        fails(&folder, 2, &format!("blend rows.index frames.npy -o new.npy --device cpu {line}"), said);
    }
    fails(&folder, 1, "blend rows.index wide.npy -o new.npy", &["wide.npy: has rows of 3", "rows.index has 2"]);
    fails(&folder, 1, "blend rows.index frames.npy -o frames.npy --force", &["is an input, too"]);
    fails(&folder, 1, "blend rows.index frames.npy -o rows.npy", &["rows.npy: already exists"]);
    fails(&folder, 2, "blend rows.index frames.npy", &["--output"]);
}

#[test]
fn rows_are_expanded() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &[10.0, 0.0, 3.0, 4.0, 0.0, 0.5, 0.0, 0.0]));
    let report = json(&folder, "expand rows.npy -o out.npy --num-expand 2 --device cpu");
    // The cosines to the power of 3 are 1 and 0.216; 1 and 0.512; 1 and 0.512.
    let sums = [[1.1296, 0.1728], [0.6, 1.312], [0.3072, 1.4096]];
    let unit = sums.map(|[x, y]: [f32; 2]| [x / x.hypot(y), y / x.hypot(y)]);
    assert_near(&rows(&folder, "out.npy"), &[unit.as_flattened(), &[0.0, 0.0]].concat());
    assert_eq!((&report["rows"], &report["expand"]["alpha"]), (&4.into(), &3.0.into()));
    assert_eq!((&report["expand"]["num_expand"], &report["file"]["path"]), (&2.into(), &"out.npy".into()));
    let shown =
        ok(&folder, "expand rows.npy -o out.npy --num-expand 1 --alpha 0.5 --batch-rows 3 --device cpu --force");
    assert_near(&rows(&folder, "out.npy"), &[1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 0.0, 0.0]);
    assert!(shown.contains("alpha 0.5, 1 neighbours a row"), "{shown}");
}

#[test]
fn an_index_is_built_over_expanded_rows() {
    let folder = Folder::new();
    let voice = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample");
    folder.put("voice/0.npy", &fs::read(voice.join("3_feature256/0_0.npy")).unwrap());
    folder.put("query.npy", &fs::read(voice.join("query256.npy")).unwrap());
    ok(&folder, "expand voice -o expanded.npy --device cpu -q");
    for factory in ["IVF8,Flat", "PQx4fs,RFlat"] {
        let line = format!("--factory {factory} --device cpu --force --save-total-fea");
        let report = json(&folder, &format!("build voice -o one.index --expand 3,3 {line}"));
        let total = folder.bytes("total_fea.npy");
        assert_eq!(report["expand"]["num_expand"], 3);
        assert!(report["seconds"]["expand"].as_f64().unwrap() > 0.0);
        assert!(json(&folder, &format!("build expanded.npy -o two.index {line}"))["expand"].is_null());
        assert!(folder.bytes("one.index") == folder.bytes("two.index"), "{factory}");
        assert!(total == folder.bytes("expanded.npy") && total == folder.bytes("total_fea.npy"), "{factory}");
    }
    assert!(
        ok(&folder, "build voice -o one.index --expand 3,3 --device cpu --force").contains("alpha 3, 3 neighbours")
    );
}

#[test]
fn queries_are_expanded_by_the_index() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &[1.0, 0.0, 0.6, 0.8, 0.0, 1.0]));
    folder.put("asked.npy", &npy_f32(2, &[8.0, 6.0]));
    ok(&folder, "build rows.npy --factory Flat --device cpu -q");
    // The nearest two have the cosines 0.96 and 0.8: the sum is (1.376, 0.768).
    let report = json(&folder, "search rows.index asked.npy --expand 1,2 -k 1 --device cpu");
    let distance = report["first"][0]["distances"][0].as_f64().unwrap();
    let length = f64::hypot(1.376, 0.768);
    let (x, y): (f64, f64) = (1.376 / length, 0.768 / length);
    let expected = ((x - 0.6).powi(2) + (y - 0.8).powi(2)).min((x - 1.0).powi(2) + y * y);
    assert!((distance - expected).abs() < 1e-5, "{distance}, {expected}");
    assert_eq!((&report["expand"]["alpha"], &report["warnings"]), (&1.0.into(), &Value::Array(Vec::new())));
    let shown = ok(&folder, "search rows.index asked.npy --expand 1,2 -k 1 --device cpu");
    assert!(shown.contains("expanded by 1,2"), "{shown}");

    // Distances of unit vectors from other rows tell little.
    folder.put("long.npy", &npy_f32(2, &[10.0, 0.0, 6.0, 8.0]));
    for (options, warned) in [("", true), ("--metric ip", false), ("--metric cosine", false)] {
        ok(&folder, &format!("build long.npy --factory Flat --device cpu -q --force {options}"));
        let report = json(&folder, "search long.index asked.npy --expand 1,2 --device cpu -q");
        assert_eq!(report["warnings"].to_string().contains("build it with --expand"), warned, "{options}");
    }
}

#[test]
fn expansions_that_cannot_be() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(20, 4)));
    folder.put("nan.npy", &npy_f32(2, &[1.0, f32::NAN]));
    ok(&folder, "build rows.npy --device cpu -q --factory Flat");
    for (line, said) in [
        ("--alpha 0", &["alpha: 0", "above 0"][..]),
        ("--alpha -1", &["alpha: -1"]),
        ("--alpha NaN", &["alpha: NaN"]),
        ("--alpha inf", &["alpha: inf"]),
        ("--num-expand 0", &["num_expand: 0", "1 to 1024"]),
        ("--num-expand 21", &["num_expand: 21 neighbours among 20 rows"]),
    ] {
        fails(&folder, 2, &format!("expand rows.npy -o new.npy --device cpu {line}"), said);
    }
    for (expand, said) in [
        ("3", &["expand", "3,3"][..]),
        ("0,3", &["alpha: 0"]),
        ("NaN,3", &["alpha: NaN"]),
        ("-1,3", &["alpha: -1"]),
        ("3,0", &["num_expand: 0"]),
        ("3,21", &["num_expand: 21 neighbours among 20 rows"]),
    ] {
        fails(&folder, 2, &format!("build rows.npy -o new.index --device cpu --expand {expand}"), said);
        fails(&folder, 2, &format!("search rows.index rows.npy -o new.npz --device cpu --expand {expand}"), said);
    }
    fails(&folder, 1, "expand nan.npy -o new.npy --num-expand 1", &["nan.npy: holds NaN", "--skip-non-finite"]);
    fails(&folder, 1, "expand rows.npy -o rows.npy --force", &["is an input, too"]);
    fails(&folder, 1, "expand rows.npy -o rows.index", &["rows.index: already exists"]);
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    for command in ["blend", "expand"] {
        assert!(ok(&folder, &format!("{command} --help")).contains("Example"), "{command}");
    }
}

#[test]
fn live_calls_are_timed() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(900, 4)));
    folder.put("frames.npy", &npy_f32(4, &some_rows(40, 4)));
    ok(&folder, "build rows.npy --factory IVF8,PQ2x4fs,RFlat --device cpu -q -o voice.index");
    let line = "live voice.index frames.npy --frames 1,40 --calls 5 --nprobe 3 --k-factor 2.5 --device cpu";
    let report = json(&folder, line);
    assert_eq!((&report["nprobe"], &report["calls"], &report["rows"]), (&3.into(), &5.into(), &900.into()));
    let times = report["times"].as_array().unwrap();
    assert_eq!(times.iter().map(|times| times["frames"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 40]);
    for times in times {
        assert_eq!(times["candidates"], 20);
        for kind in ["search", "blend"] {
            let [p50, p99] = ["p50", "p99"].map(|p| times[kind][p].as_f64().unwrap());
            assert!(p50 > 0.0 && p99 >= p50, "{times}");
        }
    }
    assert!(ok(&folder, line).contains("nprobe 3"));
    fails(
        &folder,
        1,
        "live voice.index frames.npy --frames 41 --device cpu",
        &["frames.npy: has 40 frames", "takes 41"],
    );
    fails(&folder, 1, "live voice.index none.npy", &["none.npy"]);
    fails(&folder, 2, "live voice.index frames.npy --frames 0", &["--frames"]);
}
