//! Indexes that a search cannot answer from, or not with all of their rows.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use common::{Folder, npy_f32, some_rows, text};
use fails::fails;
use runs::{json, ok};

const SEARCHES: [&str; 5] = [
    "search INDEX rows.npy -o new.npz",
    "blend INDEX rows.npy -o new.npy",
    "live INDEX rows.npy --frames 2 --calls 1",
    "eval INDEX --queries rows.npy",
    "tune INDEX --queries rows.npy --recall 0.5",
];

#[test]
fn an_index_without_rows_answers_nothing() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(256, &some_rows(100, 256)));
    folder.put("exp/3_feature256/0.npy", &npy_f32(256, &some_rows(100, 256)));
    ok(&folder, "build exp --device cpu -q");
    let trained = "exp/trained_IVF2_Flat_nprobe_1_exp_v1.index";
    std::fs::copy(folder.at(trained), folder.at("empty.index")).unwrap();
    for line in SEARCHES {
        let line = format!("{line} --device cpu");
        fails(&folder, 1, &line.replace("INDEX", trained), &[trained, "has no rows", "added_… file beside it"]);
        fails(&folder, 1, &line.replace("INDEX", "empty.index"), &["empty.index: has no rows", "added_… file"]);
    }
    assert!(folder.run(&format!("info {trained}")).status.success());
}

/// `rows.index`, IVF4,Flat over 100 rows, with one number of its header changed: its place, and the value.
fn patched(at: usize, value: u64) -> Folder {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(100, 4)));
    ok(&folder, "build rows.npy -o whole.index --nlist 4 --nprobe 4 --device cpu -q");
    let mut bytes = folder.bytes("whole.index");
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    folder.put("rows.index", &bytes);
    folder
}

#[test]
fn rows_in_no_list_are_counted() {
    // After the four letters stand d, and the number of rows.
    let folder = patched(8, 105);
    let whole = json(&folder, "search whole.index rows.npy --device cpu -q");
    for line in SEARCHES {
        let output = folder.run(&format!("{} --device cpu", line.replace("INDEX", "rows.index")));
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains("rows.index: 5 of 105 rows are in no list"), "{line}: {said}");
    }
    let found = json(&folder, "search rows.index rows.npy --device cpu -q");
    assert_eq!((&found["first"], &found["rows"]), (&whole["first"], &100.into()));
    assert_eq!(json(&folder, "info rows.index")["unlisted"], 5);
    assert!(ok(&folder, "info rows.index").contains("100 × 4, and 5 in no list"));
    // They are kept: faiss gives the next row the id 105.
    ok(&folder, "tune rows.index --recall 1 --queries rows.npy -o tuned.index --device cpu -q");
    assert_eq!(json(&folder, "info tuned.index")["unlisted"], 5);
}

#[test]
fn nprobe_0_is_overridden() {
    // Behind d, the rows, two numbers that are not used, is_trained, the metric and nlist.
    let folder = patched(4 + 4 + 8 + 16 + 1 + 4 + 8, 0);
    for line in &SEARCHES[..3] {
        let line = format!("{} --device cpu", line.replace("INDEX", "rows.index"));
        fails(&folder, 1, &line, &["rows.index: has nprobe 0", "pass --nprobe"]);
        assert!(folder.run(&format!("{line} --nprobe 4")).status.success(), "{line}");
    }
    let whole = json(&folder, "search whole.index rows.npy --device cpu -q");
    assert_eq!(json(&folder, "search rows.index rows.npy --nprobe 4 --device cpu -q")["first"], whole["first"]);
    let settings = json(&folder, "eval rows.index --queries rows.npy --device cpu")["settings"].clone();
    assert_eq!((&settings[0]["nprobe"], &settings[2]["recall"]), (&1.into(), &1.0.into()));
    assert_eq!(json(&folder, "info rows.index")["nprobe"], 0);
    ok(&folder, "tune rows.index --recall 1 --queries rows.npy --write --device cpu -q");
    assert!(json(&folder, "info rows.index")["nprobe"].as_u64().unwrap() > 0);
}
