//! `compress`, and `build --compress`: what they write and say, and whom they refuse.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use common::{Folder, npy_f32, some_rows};
use fails::fails;
use runs::{json, ok};
use serde_json::Value;

/// The floats of a file that this program wrote.
fn floats(folder: &Folder, name: &str) -> Vec<f32> {
    folder.bytes(name)[128..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Mean squared distance of rows to their nearest centroids, the plain way.
fn error(rows: &[f32], centroids: &[f32], dim: usize) -> f64 {
    let squared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let nearest = |row| centroids.chunks(dim).map(|c| squared(row, c)).fold(f64::INFINITY, f64::min);
    rows.chunks(dim).map(nearest).sum::<f64>() / (rows.len() / dim) as f64
}

#[test]
fn a_voice_is_compressed() {
    let folder = Folder::new();
    let rows = some_rows(500, 4);
    folder.put("声.npy", &npy_f32(4, &rows));
    for method in ["mini-batch", "lloyd"] {
        let report =
            json(&folder, &format!("compress 声.npy -o {method}.npy --clusters 40 --method {method} --device cpu"));
        assert_eq!(folder.bytes(format!("{method}.npy")).len(), 128 + 40 * 4 * 4);
        let left = floats(&folder, &format!("{method}.npy"));
        let (exact, said) = (error(&rows, &left, 4), report["error_per_row"].as_f64().unwrap());
        assert!((said - exact).abs() < 1e-4 * exact, "{said} {exact}");
        // Better than the rows that it may have begun with.
        assert!(exact < 0.9 * error(&rows, &rows[..40 * 4], 4), "{method}: {exact}");

        assert_eq!((&report["rows"], &report["d"], &report["clusters"]), (&500.into(), &4.into(), &40.into()));
        assert_eq!((&report["method"], &report["measured_rows"]), (&method.into(), &500.into()));
        assert_eq!(report["files"][0]["path"], format!("{method}.npy"));
        assert!(report["iterations"].as_f64().unwrap() >= 1.0 && report["warnings"].as_array().unwrap().is_empty());
        for phase in ["scan", "compress", "measure", "write"] {
            assert!(report["seconds"][phase].as_f64().unwrap() >= 0.0);
        }
    }
    let line = "compress 声.npy -o again.npy --clusters 40 --device cpu";
    let shown = ok(&folder, &format!("{line} --iterations 3"));
    assert!(shown.contains("40, by mini-batch, ") && shown.contains("again.npy (768 bytes)"), "{shown}");
    ok(&folder, &format!("{line} --force -q"));
    assert_eq!(folder.bytes("again.npy"), folder.bytes("mini-batch.npy"));
    ok(&folder, &format!("{line} --force -q --seed 5"));
    assert_ne!(folder.bytes("again.npy"), folder.bytes("mini-batch.npy"));
}

#[test]
fn an_index_holds_what_is_left() {
    let folder = Folder::new();
    folder.put("exp/3_feature256/0.npy", &npy_f32(256, &some_rows(400, 256)));
    let report = json(&folder, "build exp --compress 120 --save-total-fea --device cpu");
    let compressed = &report["compressed"];
    assert_eq!((&report["rows"], &compressed["clusters"], &report["nlist"]), (&400.into(), &120.into(), &3.into()));
    assert!(compressed["iterations"].as_f64().unwrap() > 0.0 && report["seconds"]["compress"].as_f64().unwrap() > 0.0);
    let info = json(&folder, "info exp/added_IVF3_Flat_nprobe_1_exp_v1.index");
    assert_eq!((&info["ntotal"], &info["kind"]), (&120.into(), &"IVF3,Flat".into()));

    // Both commands one after the other give the same files.
    ok(&folder, "compress exp -o left.npy --clusters 120 --device cpu");
    assert_eq!(folder.bytes("left.npy"), folder.bytes("exp/total_fea.npy"));
    ok(&folder, "build left.npy --device cpu");
    assert!(folder.bytes("left.index") == folder.bytes("exp/added_IVF3_Flat_nprobe_1_exp_v1.index"));
    // Rows are expanded by those that are left.
    ok(&folder, "build exp -o expanded.index --compress 120 --expand 3,3 --device cpu");
    ok(&folder, "build left.npy -o left.index --expand 3,3 --device cpu --force");
    assert!(folder.bytes("left.index") == folder.bytes("expanded.index"));
    let shown = ok(&folder, "build exp -o shown.index --compress 120 --device cpu");
    assert!(shown.contains("compressed   to 120 rows, in ") && shown.contains(", compress "), "{shown}");
}

#[test]
fn short_voices_stay_whole_by_the_rule_of_rvc() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(300, 4)));
    for (name, options) in [("auto", "--compress auto"), ("off", "--compress off"), ("default", "")] {
        let report = json(&folder, &format!("build rows.npy -o {name}.index --device cpu {options}"));
        assert_eq!((&report["compressed"], &report["seconds"]["compress"].is_number()), (&Value::Null, &true));
    }
    assert!(folder.bytes("auto.index") == folder.bytes("off.index"));
    assert!(folder.bytes("auto.index") == folder.bytes("default.index"));
}

#[test]
fn long_voices_become_10_000_rows_by_the_rule_of_rvc() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(1, &some_rows(200_001, 1)));
    let report = json(&folder, "build rows.npy --compress auto --device cpu -q");
    assert_eq!((&report["rows"], &report["compressed"]["clusters"]), (&200_001.into(), &10_000.into()));
    assert_eq!(report["nlist"], 256);
    assert_eq!(json(&folder, "info rows.index")["ntotal"], 10_000);
}

#[test]
fn equal_rows_and_few_rows() {
    let folder = Folder::new();
    folder.put("equal.npy", &npy_f32(3, &[0.25; 300]));
    folder.put("two.npy", &npy_f32(2, &[0.0, 0.0, 2.0, 4.0]));
    for method in ["mini-batch", "lloyd"] {
        let line = format!("compress equal.npy -o {method}.npy --clusters 30 --method {method} --device cpu");
        let report = json(&folder, &line);
        assert!(report["error_per_row"].as_f64().unwrap() < 1e-5, "{report}");
        let left = floats(&folder, &format!("{method}.npy"));
        assert!(left.iter().all(|x| (x - 0.25).abs() < 1e-2), "{left:?}");
        // One row for two is their mean.
        ok(&folder, &format!("compress two.npy -o one.npy --clusters 1 --method {method} --device cpu --force"));
        assert_eq!(floats(&folder, "one.npy"), [1.0, 2.0], "{method}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(100, 4)));
    folder.put("one.npy", &npy_f32(4, &some_rows(1, 4)));
    let mut rows = some_rows(100, 4);
    rows[4 * 41 + 2] = f32::NAN;
    folder.put("nan.npy", &npy_f32(4, &rows));
    folder.put("large.npy", &npy_f32(2, &[3e38; 200]));
    let said = "fewer clusters than rows";
    for (code, line, words) in [
        (2, "rows.npy -o new.npy --clusters 0", &["--clusters"][..]),
        (2, "rows.npy -o new.npy --clusters 100", &["clusters: 100 clusters for 100 rows", said]),
        (2, "rows.npy -o new.npy", &["clusters: 10000 clusters for 100 rows", said]),
        (2, "one.npy -o new.npy --clusters 1", &["clusters: 1 clusters for 1 rows", said]),
        (2, "rows.npy -o new.npy --method soup", &["method", "choose mini-batch or lloyd"]),
        (2, "rows.npy -o new.npy --iterations 0", &["--iterations"]),
        (2, "rows.npy --clusters 5", &["--output"]),
        (2, "large.npy -o new.npy --clusters 5", &["rows: their sums overflow float32"]),
        (1, "nan.npy -o new.npy --clusters 5", &["nan.npy: holds NaN or infinity in row 41"]),
        (2, "nan.npy -o new.npy --clusters 99 --skip-non-finite", &["clusters: 99 clusters for 99 rows"]),
        (1, "missing -o new.npy", &["missing", "cannot read"]),
        (1, "rows.npy -o one.npy --clusters 5", &["one.npy: already exists; pass --force"]),
        (1, "rows.npy -o rows.npy --clusters 5 --force", &["rows.npy: is an input, too"]),
        (1, "rows.npy -o nowhere/new.npy --clusters 5", &["nowhere: is no folder"]),
    ] {
        fails(&folder, code, &format!("compress {line} --device cpu"), words);
    }
    for (value, words) in [
        ("0", &["compress", "off, auto or a number"][..]),
        ("some", &["compress", "off, auto or a number"]),
        ("100", &["clusters: 100 clusters for 100 rows", said]),
    ] {
        fails(&folder, 2, &format!("build rows.npy --compress {value} --device cpu"), words);
    }
    // Batches may be larger than the voice, or of one row.
    for batch_rows in [1, 5000] {
        let line = format!("compress rows.npy -o {batch_rows}.npy --clusters 9 --batch-rows {batch_rows} --device cpu");
        ok(&folder, &line);
    }
    assert_eq!(folder.bytes("1.npy"), folder.bytes("5000.npy"));
}
