//! Whatever comes in: one error that names what is wrong and what to do, the right exit code, nothing left behind.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;

use common::{Folder, npy, npy_f32, some_rows, text};
use fails::fails;

const USAGE: i32 = 2;
const FAILURE: i32 = 1;

/// A folder with `rows.npy`, 100 × 4, and `rows.index` over it.
fn small() -> Folder {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(100, 4)));
    assert!(folder.run("build rows.npy --device cpu -q").status.success());
    folder
}

#[test]
fn inputs_that_are_not_there() {
    let folder = Folder::new();
    folder.put("other/notes.txt", b"no features");
    std::fs::create_dir(folder.at("empty")).unwrap();
    std::fs::create_dir_all(folder.at("exp/3_feature256")).unwrap();
    fails(&folder, FAILURE, "build missing", &["missing", "cannot read"]);
    fails(&folder, FAILURE, "build empty", &["empty: holds no .npy files", "name an RVC experiment folder"]);
    fails(&folder, FAILURE, "build other", &["other: holds no .npy files"]);
    fails(&folder, FAILURE, "build exp", &["3_feature256: holds no .npy files"]);
    fails(&folder, FAILURE, "build other/notes.txt", &["notes.txt: does not begin like a .npy file"]);
    fails(&folder, USAGE, "build", &["INPUT"]);
}

#[test]
fn npy_files_that_cannot_be_used() {
    let whole = npy_f32(4, &some_rows(10, 4));
    for (bytes, said) in [
        (&whole[..0], "is empty"),
        (&whole[..50], "ends inside its header"),
        (&whole[..whole.len() - 1], "too few for the 10 × 4 floats"),
        (&npy("'<f4'", "(9999999999, 4)", &[0; 16]), "too few"),
        (&npy("'<f4'", "(9223372036854775807, 9223372036854775807)", &[]), "too few"),
        (&npy("'<f4'", "(99999999999999999999999, 4)", &[]), "has a header"),
        (&npy("'<i8'", "(1, 2)", &[0; 16]), "holds elements of type \"<i8\""),
        (&npy("'<c8'", "(1, 2)", &[0; 16]), "holds elements of type \"<c8\""),
        (&npy("[('a', '<f4')]", "(4,)", &[0; 16]), "structured array"),
        (&npy("'<f4'", "(4,)", &[0; 16]), "holds a 1-D array"),
        (&npy("'<f4'", "(1, 2, 2)", &[0; 16]), "holds a 3-D array"),
        (&npy("'<f4'", "(4, 0)", &[]), "rows of no columns"),
        (&npy("'<f4'", "(0, 4)", &[]), "has no rows"),
    ] {
        let folder = small();
        folder.put("bad/0_0.npy", bytes);
        fails(&folder, FAILURE, "build bad --device cpu", &["0_0.npy", said, "; "]);
        fails(&folder, FAILURE, "search rows.index bad/0_0.npy --device cpu", &["0_0.npy", said, "; "]);
    }
}

#[test]
fn features_that_do_not_fit() {
    let folder = small();
    folder.put("mixed/0.npy", &npy_f32(4, &some_rows(5, 4)));
    folder.put("mixed/1.npy", &npy_f32(6, &some_rows(5, 6)));
    folder.put("wide.npy", &npy_f32(8, &some_rows(5, 8)));
    fails(&folder, FAILURE, "build mixed", &["0.npy", "1.npy", "rows of 6", "has 4"]);
    fails(&folder, FAILURE, "search rows.index wide.npy", &["wide.npy: has rows of 8", "rows.index has 4"]);
}

#[test]
fn rows_that_are_no_numbers() {
    let folder = small();
    let mut rows = some_rows(100, 4);
    rows[4 * 41 + 2] = f32::NAN;
    rows[4 * 77] = f32::INFINITY;
    folder.put("nan/0.npy", &npy_f32(4, &some_rows(10, 4)));
    folder.put("nan/1.npy", &npy_f32(4, &rows));
    let said = ["1.npy: holds NaN or infinity in row 41", "--skip-non-finite"];
    fails(&folder, FAILURE, "build nan --device cpu", &said);
    fails(&folder, FAILURE, "search rows.index nan/1.npy --device cpu", &said);

    let output = folder.run("build nan --device cpu --skip-non-finite --json");
    assert!(text(&output.stderr).contains("2 of 110 rows hold NaN or infinity and were left out"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["rows"], &report["dropped_rows"]), (&108.into(), &2.into()));
    folder.put("all.npy", &npy_f32(1, &[f32::NAN]));
    fails(&folder, FAILURE, "build all.npy --skip-non-finite --device cpu", &["all.npy", "every row"]);
}

#[test]
fn parameters_that_cannot_be() {
    let folder = small();
    for (line, said) in [
        ("--nlist 0", &["nlist"][..]),
        ("--nprobe 0", &["nprobe"]),
        ("--iterations 0", &["iterations"]),
        ("--batch-rows 0", &["batch-rows"]),
        ("--nlist many", &["nlist", "4sqrt"]),
        ("--metric L1", &["metric", "choose l2, ip or cosine"]),
        ("--recipe soup", &["recipe", "choose rvc, tips or quality"]),
        ("--recipe quality --factory PQ2x4fs", &["factory", "PQ2x4fs,RFlat"]),
        ("--recipe quality --nprobe 3", &["nprobe", "PQx4fs,RFlat has no lists"]),
        ("--k-factor 2", &["k_factor: 2", "does not re-rank"]),
        ("--factory Flat,RFlat --k-factor 0.5", &["k_factor: 0.5", "1 to 1000"]),
        ("--factory Flat,RFlat --k-factor NaN", &["k_factor: NaN", "1 to 1000"]),
        ("--nlist 101", &["nlist: 101 lists for 100 rows", "at most one list a row"]),
        ("--factory IVF101,Flat", &["nlist: 101 lists for 100 rows"]),
        ("--factory IVF18446744073709551615,Flat", &["nlist", "fewer than 2³²"]),
        ("--factory IVF8,Flat --nlist 9", &["nlist", "--nlist asks for 9", "IVF8,Flat for 8"]),
        ("--factory Flat --nlist 9", &["nlist", "Flat has no lists"]),
        ("--factory Flat --nprobe 9", &["nprobe", "Flat has no lists"]),
        ("--factory PQ3x4fs", &["factory: PQ3x4fs", "M = 3", "d = 4", "choose an M"]),
        ("--factory IVF2,PQ8x4fsr,RFlat", &["factory: PQ8x4fsr", "M = 8", "d = 4", "choose an M"]),
        ("--factory PQ2x4fsr", &["factory", "residuals"]),
        ("--factory Garbage", &["factory", "Garbage", "expected Flat, IVF or PQ"]),
        ("--device toaster", &["\"toaster\"", "choose one of", "cpu  the CPU engine"]),
        ("--device gpu:999", &["\"gpu:999\"", "choose one of"]),
    ] {
        fails(&folder, USAGE, &format!("build rows.npy -o new.index {line}"), said);
    }
    for (line, said) in [
        ("-k 0", &["-k", "1..=1024"][..]),
        ("-k 1025", &["-k", "1..=1024"]),
        ("--nprobe 0", &["nprobe"]),
        ("--k-factor 2", &["k_factor: 2", "leave it out", "does not re-rank"]),
        ("--device toaster", &["\"toaster\"", "choose one of"]),
    ] {
        fails(&folder, USAGE, &format!("search rows.index rows.npy -o new.npz {line}"), said);
    }
}

#[test]
fn too_few_rows_for_codes() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(15, 4)));
    let said = ["rows: 15 to train the 16 centroids of each sub-quantizer", "add features, or choose an index without"];
    for factory in ["PQ2x4fs", "IVF2,PQ2x4fsr", "PQ4x4fs,RFlat"] {
        fails(&folder, USAGE, &format!("build rows.npy --factory {factory} --device cpu"), &said);
    }
}

#[test]
fn k_factors_that_cannot_be() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(100, 4)));
    assert!(folder.run("build rows.npy --factory IVF4,PQ2x4fs,RFlat --device cpu -q").status.success());
    for (line, said) in [
        ("--k-factor 0.5", &["k_factor: 0.5", "choose 1 to 1000"][..]),
        ("--k-factor -2", &["k_factor: -2", "choose 1 to 1000"]),
        ("--k-factor NaN", &["k_factor: NaN", "choose 1 to 1000"]),
        ("--k-factor inf", &["k_factor: inf", "choose 1 to 1000"]),
        ("--k-factor 1e9", &["k_factor: 1000000000", "choose 1 to 1000"]),
        ("-k 8 --k-factor 200", &["k_factor: 200 for k = 8 asks for 1600 candidates", "1024 candidates at most"]),
        ("--k-factor many", &["k-factor", "many"]),
    ] {
        fails(&folder, USAGE, &format!("search rows.index rows.npy -o new.npz --device cpu {line}"), said);
    }
    // More lists and more candidates than there are.
    let found = folder.run("search rows.index rows.npy -k 120 --k-factor 8 --nprobe 99 --device cpu --json");
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let ids = report["first"][0]["ids"].as_array().unwrap();
    assert_eq!((&report["nprobe"], ids.len()), (&4.into(), 120));
    assert!(ids[..100].iter().all(|id| *id != -1) && ids[100..].iter().all(|id| *id == -1), "{ids:?}");
    assert_eq!((&ids[0], &report["incomplete"]), (&0.into(), &100.into()));

    // The k factor is the last number of the file, before it stand the exact rows: 4 floats each.
    let whole = folder.bytes("rows.index");
    let end = whole.len();
    let cut = [&whole[..end - 20], &whole[end - 4..]].concat();
    let mut small_factor = whole.clone();
    small_factor[end - 4..].copy_from_slice(&0.5_f32.to_le_bytes());
    let mut other_count = whole.clone();
    let count = end - 4 - 100 * 16 - 8;
    other_count[count..count + 8].copy_from_slice(&396_u64.to_le_bytes());
    for (bytes, said) in [
        (small_factor, "k_factor of IxRF is 0.5, where 1 to 1000 belongs"),
        (cut, "ends inside the refine index"),
        (other_count, "but 396 floats"),
    ] {
        folder.put("bad.index", &bytes);
        fails(&folder, FAILURE, "info bad.index", &["bad.index", said, "damaged"]);
        fails(&folder, FAILURE, "search bad.index rows.npy -o new.npz", &["bad.index", said, "damaged"]);
    }
}

#[test]
fn fewer_rows_than_lists_after_dropping_some() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(1, &[1.0, 2.0, f32::NAN]));
    let line = "build rows.npy --nlist 3 --device cpu --skip-non-finite --quiet";
    fails(&folder, USAGE, line, &["nlist: 3 lists for 2 rows"]);
}

#[test]
fn index_files_that_cannot_be_read() {
    let folder = small();
    let whole = folder.bytes("rows.index");
    // After the four letters stand d, and the number of rows.
    let with_rows = |rows: u64| {
        let mut bytes = whole.clone();
        bytes[8..16].copy_from_slice(&rows.to_le_bytes());
        bytes
    };
    let longer = [&whole[..], b"more"].concat();
    for (bytes, said) in [
        (&b""[..], "ends inside the index type"),
        (b"no index at all", "is no type of faiss's"),
        (b"IxPQ is one that is not read", "does not read; build it again from its rows"),
        (&whole[..60], "damaged"),
        (&whole[..whole.len() - 1], "damaged"),
        (&with_rows(99), "the lists have 100 rows, the index has 99"),
        (&with_rows(1 << 60), "the index has 1152921504606846976"),
        (&longer, "goes on after the end of the index"),
    ] {
        folder.put("bad.index", bytes);
        fails(&folder, FAILURE, "info bad.index", &["bad.index", said, "; "]);
        fails(&folder, FAILURE, "search bad.index rows.npy -o new.npz", &["bad.index", said, "; "]);
    }
    fails(&folder, FAILURE, "info missing.index", &["missing.index: cannot read"]);
    fails(&folder, FAILURE, "info .", &[".: is not a regular file"]);
}

#[cfg(unix)]
#[test]
fn pipes_are_not_waited_for() {
    let folder = small();
    let made = std::process::Command::new("mkfifo").arg(folder.at("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    for line in ["info pipe", "search pipe rows.npy", "search rows.index pipe", "build pipe"] {
        // The folder cannot be compared: reading the pipe would wait, too.
        let output = folder.command(line.split(' ')).timeout(std::time::Duration::from_secs(20)).output().unwrap();
        assert_eq!(output.status.code(), Some(FAILURE), "{line}");
        assert!(text(&output.stderr).contains("pipe: is not a regular file"), "{}", text(&output.stderr));
    }
}

#[test]
fn sums_too_large_for_a_float() {
    let folder = Folder::new();
    folder.put("large.npy", &npy_f32(2, &[3e38; 200]));
    fails(&folder, USAGE, "build large.npy --device cpu", &["rows: their sums overflow float32", "scale the features"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = small();
    std::fs::create_dir(folder.at("there")).unwrap();
    for (output, said) in [
        ("rows.index", "rows.index: already exists; pass --force"),
        ("there", "there: is a folder"),
        ("there/", "is a folder"),
        ("nowhere/", "is a folder"),
        ("nowhere/new.index", "nowhere: is no folder"),
        ("rows.npy/new.index", "rows.npy: is no folder"),
    ] {
        fails(&folder, FAILURE, &format!("build rows.npy -o {output}"), &[said]);
        fails(&folder, FAILURE, &format!("search rows.index rows.npy -o {output}"), &[said]);
    }
    fails(&folder, FAILURE, "build rows.npy", &["rows.index: already exists; pass --force"]);
    fails(&folder, FAILURE, "build rows.npy -o rows.npy --force", &["rows.npy: is an input, too"]);
    for output in ["total_fea.npy", "there/../total_fea.npy"] {
        let line = format!("build rows.npy -o {output} --save-total-fea");
        fails(&folder, FAILURE, &line, &["total_fea.npy: is to hold the index, too"]);
    }
    for input in ["rows.npy", "rows.index", "there/../rows.npy"] {
        fails(&folder, FAILURE, &format!("search rows.index rows.npy -o {input} --force"), &["is an input, too"]);
    }
    folder.put("total_fea.npy", b"of another day");
    fails(&folder, FAILURE, "build rows.npy -o new.index --save-total-fea", &["total_fea.npy: already exists"]);
}

#[test]
fn force_replaces_what_is_there() {
    let folder = small();
    folder.put("rows.index", b"old");
    assert!(folder.run("build rows.npy --device cpu --force").status.success());
    assert!(folder.run("info rows.index").status.success());
}
