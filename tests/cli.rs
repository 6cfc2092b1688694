//! The command from end to end: what it writes, prints and leaves behind.
#![cfg(feature = "cli")]

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs::{self, File};
use std::path::Path;

use common::{Folder, npy_f32, some_rows, text};
use ndarray::Array2;
use ndarray_npy::NpzReader;
use runs::{json, ok};
use serde_json::Value;

const ADDED: &str = "voice/added_IVF77_Flat_nprobe_1_voice_v1.index";
const TRAINED: &str = "voice/trained_IVF77_Flat_nprobe_1_voice_v1.index";

/// A folder with a copy of a sample voice under the name `voice`.
fn with_voice(sample: &str, voice: &str) -> Folder {
    let folder = Folder::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(sample);
    for inner in ["", "3_feature256", "3_feature768"] {
        for entry in fs::read_dir(sample.join(inner)).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                let name = Path::new(voice).join(inner).join(entry.file_name());
                folder.put(name, &fs::read(entry.path()).unwrap());
            }
        }
    }
    folder
}

#[test]
fn an_experiment_gets_the_files_that_rvc_names() {
    let folder = with_voice("voice-sample", "voice");
    let before = folder.content();
    let report = json(&folder, "build voice --device cpu --save-total-fea");

    let new: Vec<_> = folder.content().into_keys().filter(|path| !before.contains_key(path)).collect();
    assert_eq!(new, [ADDED, "voice/total_fea.npy", TRAINED].map(|name| folder.at(name)));
    let written: Vec<_> = report["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(written, [TRAINED, "voice/total_fea.npy", ADDED]);
    assert_eq!(report["files"][1]["bytes"], 128 + 3003 * 256 * 4);

    assert_eq!((&report["rows"], &report["d"], &report["dropped_rows"]), (&3003.into(), &256.into(), &0.into()));
    assert_eq!((&report["factory"], &report["metric"]), (&"IVF77,Flat".into(), &"l2".into()));
    assert_eq!((&report["nlist"], &report["nprobe"]), (&77.into(), &1.into()));
    assert_eq!((&report["device"]["backend"], &report["warnings"]), (&"cpu".into(), &Value::Array(Vec::new())));
    let objective: Vec<_> = report["training"]["objective"].as_array().unwrap().iter().map(|x| x.as_f64()).collect();
    assert_eq!(objective.len(), 10);
    assert!(objective[9] < objective[0]);
    for phase in ["scan", "train", "add", "write"] {
        assert!(report["seconds"][phase].as_f64().unwrap() >= 0.0);
    }

    let (trained, added) = (json(&folder, &format!("info {TRAINED}")), json(&folder, &format!("info {ADDED}")));
    assert_eq!((&trained["ntotal"], &trained["trained"]), (&0.into(), &true.into()));
    assert_eq!((&added["ntotal"], &added["trained"]), (&3003.into(), &true.into()));
    assert_eq!(trained["list_sizes"]["empty"], 77);
    assert_eq!(added["list_sizes"]["mean"], 39.0);
    assert!(added["list_sizes"]["imbalance"].as_f64().unwrap() >= 1.0);
    assert_eq!(added["file"]["bytes"], folder.bytes(ADDED).len());
}

#[test]
fn names_follow_the_factory_and_the_version() {
    let folder = with_voice("voice-sample-v2", "声/モデル.npy");
    ok(&folder, "build 声/モデル.npy --device cpu --recipe tips --metric cosine --min-list 0");
    let name = "added_L2norm_IVF31_Flat_ip_nprobe_2_モデル.npy_v2.index";
    assert_eq!(json(&folder, &format!("info 声/モデル.npy/{name}"))["kind"], "L2norm,IVF31,Flat");
    ok(&folder, "build 声/モデル.npy --device cpu --factory Flat --metric ip");
    let info = json(&folder, "info 声/モデル.npy/added_Flat_ip_モデル.npy_v2.index");
    assert_eq!((&info["kind"], &info["metric"], &info["nlist"]), (&"Flat".into(), &"ip".into(), &Value::Null));
    assert!(!folder.at("声/モデル.npy/trained_Flat_モデル.npy_v2.index").exists());
}

#[test]
fn quality_is_measured_and_named() {
    let folder = with_voice("voice-sample", "voice");
    let report = json(&folder, "build voice --device cpu --recipe quality");
    let k_factor = report["k_factor"].as_f64().unwrap();
    let name = format!("voice/added_PQ128x4fs_RFlat_kf{k_factor}_voice_v1.index");
    assert_eq!((&report["factory"], &report["files"][0]["path"]), (&"PQ128x4fs,RFlat".into(), &name.as_str().into()));
    assert_eq!((report["files"].as_array().unwrap().len(), &report["nprobe"]), (1, &Value::Null));
    assert!(report["recall"].as_f64().unwrap() >= 0.999 && k_factor.fract() == 0.0, "{report}");
    assert_eq!((&report["queries"], &report["warnings"]), (&1000.into(), &Value::Array(Vec::new())));
    let found = json(&folder, &format!("search {name} voice/query256.npy --device cpu"));
    assert_eq!(found["k_factor"], k_factor);

    // A name that is known only after the measurement is free, or taken, all the same.
    let before = folder.content();
    let refused = folder.run("build voice --device cpu --recipe quality");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("RFlat_kf") && text(&refused.stderr).contains("already exists"));
    assert!(folder.content() == before);
    let shown = ok(&folder, "build voice --device cpu --recipe quality --force");
    assert!(shown.contains(&format!("k_factor     {k_factor}")) && shown.contains("of 1000 rows held back"), "{shown}");
    assert_eq!(folder.content().len(), before.len());
}

#[test]
fn quality_tunes_what_is_left_open() {
    let folder = with_voice("voice-sample", "voice");
    let line = "build voice --device cpu --recipe quality --factory IVF20,PQx4fs,RFlat";
    let report = json(&folder, line);
    let (nprobe, k_factor) = (report["nprobe"].as_u64().unwrap(), report["k_factor"].as_f64().unwrap());
    assert!(nprobe > 1 && report["recall"].as_f64().unwrap() >= 0.999, "{report}");
    let name = format!("IVF20_PQ128x4fs_RFlat_nprobe_{nprobe}_kf{k_factor}_voice_v1.index");
    for (stage, rows) in [("trained", 0), ("added", 3003)] {
        let info = json(&folder, &format!("info voice/{stage}_{name}"));
        assert_eq!((&info["ntotal"], &info["nprobe"]), (&rows.into(), &nprobe.into()), "{stage}");
    }
    // What is named stays, and what it costs is said.
    let report = json(&folder, &format!("{line} -o one.index --nprobe 1"));
    assert_eq!((&report["nprobe"], report["warnings"].as_array().unwrap().len()), (&1.into(), 1));
    assert!(report["recall"].as_f64().unwrap() < 0.99);
    let report = json(&folder, "build voice -o two.index --device cpu --recipe quality --k-factor 1.5");
    assert_eq!((&report["k_factor"], report["warnings"].as_array().unwrap().len()), (&1.5.into(), 1));

    ok(&folder, "build voice --device cpu --factory PQ64x4fs,RFlat --k-factor 2.5");
    let report =
        json(&folder, "search voice/added_PQ64x4fs_RFlat_kf2.5_voice_v1.index voice/query256.npy --device cpu");
    assert_eq!(report["k_factor"], 2.5);
}

#[test]
fn quality_of_short_voices() {
    let folder = Folder::new();
    for (rows, factory) in [(1, "Flat"), (15, "Flat"), (16, "PQ3x4fs,RFlat"), (40, "PQ3x4fs,RFlat")] {
        folder.put("rows.npy", &npy_f32(3, &some_rows(rows, 3)));
        let report = json(&folder, "build rows.npy --device cpu --recipe quality --force -q");
        assert_eq!(report["factory"], factory, "{rows}");
        let said = report["warnings"].to_string();
        assert_eq!(said.contains(&format!("{rows} rows are too few to train codes on")), rows < 16, "{said}");
        assert_eq!(report["recall"], if rows < 16 { Value::Null } else { 1.0.into() }, "{rows}");
    }
}

#[test]
fn other_inputs_get_an_index_beside_them() {
    let folder = Folder::new();
    folder.put("声/モデル.npy", &npy_f32(4, &some_rows(100, 4)));
    folder.put("声/empty.npy", &npy_f32(4, &[]));
    ok(&folder, "build 声/モデル.npy --device cpu");
    assert_eq!(json(&folder, "info 声/モデル.index")["kind"], "IVF2,Flat");
    ok(&folder, "build 声/ --device cpu --nlist 4sqrt --nprobe 3 --save-total-fea");
    let info = json(&folder, "info 声.index");
    assert_eq!((&info["kind"], &info["nprobe"], &info["ntotal"]), (&"IVF40,Flat".into(), &3.into(), &100.into()));
    assert!(folder.at("total_fea.npy").exists());
    // With -o, that file and no other.
    let before = folder.content().len();
    ok(&folder, "build 声 -o 名.index --device cpu --factory IVF7,Flat --nlist 7");
    assert_eq!(folder.content().len(), before + 1);
}

#[test]
#[cfg(target_os = "linux")]
fn paths_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let input = OsStr::from_bytes(b"voice-\xff.npy");
    folder.put(input, &npy_f32(4, &some_rows(100, 4)));
    folder.command([OsStr::new("build"), input, OsStr::new("--json")]).assert().success();
    assert!(folder.at(OsStr::from_bytes(b"voice-\xff.index")).exists());
}

#[test]
fn a_voice_is_built_shown_and_searched() {
    let folder = with_voice("voice-sample", "voice");
    assert!(ok(&folder, "build voice -o voice.index --device cpu --nlist 16").contains("voice.index"));
    assert!(!folder.at(TRAINED).exists());
    assert!(ok(&folder, "info voice.index").contains("IVF16,Flat, l2"));
    let line = "search voice.index voice/query256.npy --device cpu -k 5 --nprobe 99";
    let report = json(&folder, &format!("{line} -o found.npz --batch-rows 7"));
    assert_eq!((&report["queries"], &report["k"], &report["nprobe"]), (&500.into(), &5.into(), &16.into()));
    assert_eq!((&report["incomplete"], &report["incomplete_share"]), (&0.into(), &0.0.into()));
    assert!(report["queries_per_second"].as_f64().unwrap() > 0.0);

    let mut npz = NpzReader::new(File::open(folder.at("found.npz")).unwrap()).unwrap();
    let ids: Array2<i64> = npz.by_name("ids").unwrap();
    let distances: Array2<f32> = npz.by_name("distances").unwrap();
    assert_eq!((ids.dim(), distances.dim()), ((500, 5), (500, 5)));
    assert!(distances.rows().into_iter().all(|row| row.as_slice().unwrap().is_sorted()));
    assert_eq!(report["first"][0]["ids"], Value::from(ids.row(0).to_vec()));

    // All lists visited, it is what an exact search finds.
    ok(&folder, "build voice -o flat.index --device cpu --factory Flat");
    ok(&folder, "search flat.index voice/query256.npy --device cpu -k 5 -o flat.npz -q");
    let mut npz = NpzReader::new(File::open(folder.at("flat.npz")).unwrap()).unwrap();
    let exact: Array2<i64> = npz.by_name("ids").unwrap();
    assert_eq!(exact, ids);

    let table = ok(&folder, line);
    assert_eq!(table.lines().filter(|line| line.starts_with("query ")).count(), 5);
    assert!(table.contains(&ids[[0, 0]].to_string()));
}

#[test]
fn searches_that_come_up_short_are_counted() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &[0.0, 0.0, 1.0, 1.0]));
    ok(&folder, "build rows.npy --device cpu --factory Flat");
    let report = json(&folder, "search rows.index rows.npy --device cpu -k 3");
    assert_eq!((&report["incomplete"], &report["incomplete_share"]), (&2.into(), &1.0.into()));
    assert_eq!(report["first"][1]["ids"], Value::from(vec![1, 0, -1]));
    assert!(ok(&folder, "search rows.index rows.npy --device cpu -k 3").contains("2 queries (100.0%)"));
}

#[test]
fn one_seed_gives_one_file() {
    let folder = with_voice("voice-sample", "voice");
    for (name, seed) in [("a", 5), ("b", 5), ("c", 6)] {
        ok(&folder, &format!("build voice -o {name}.index --device cpu --seed {seed} --quiet"));
    }
    assert_eq!(folder.bytes("a.index"), folder.bytes("b.index"));
    assert_ne!(folder.bytes("a.index"), folder.bytes("c.index"));
}

#[test]
fn quiet_says_nothing() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &some_rows(50, 2)));
    let output = folder.run("build rows.npy --device cpu --quiet --nlist 10");
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    // Few rows a list are worth a warning, on stderr and in the report.
    let output = folder.run("build rows.npy --device cpu --force --nlist 10 --json");
    assert!(text(&output.stderr).starts_with("warning: 50 rows are few for 10 centroids"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn devices_are_listed_with_the_choice_of_auto() {
    let folder = Folder::new();
    let report = json(&folder, "devices");
    let devices = report["devices"].as_array().unwrap();
    assert_eq!(devices.last().unwrap()["selector"], "cpu");
    assert!(devices.iter().any(|device| device["selector"] == report["auto"]["selector"]));
    assert!(!report["auto"]["reason"].as_str().unwrap().is_empty());
    let list = ok(&folder, "devices");
    assert!(list.contains("--device cpu") && list.contains("auto takes"));
}

#[test]
fn help_version_and_completions() {
    let folder = Folder::new();
    assert_eq!(ok(&folder, "--version"), format!("rvc-gpu-index {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["build", "search", "compress", "completions"] {
        assert!(ok(&folder, &format!("{command} --help")).contains("Example"), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(ok(&folder, &format!("completions {shell}")).contains("rvc-gpu-index"), "{shell}");
    }
}

#[test]
#[cfg(unix)]
fn a_closed_stdout_is_no_error() {
    use std::process::Stdio;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("rvc-gpu-index"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
#[cfg(unix)]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    use std::time::Duration;
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(64, &some_rows(20_000, 64)));
    ok(&folder, "build rows.npy -o old.index --device cpu --factory Flat");
    let old = folder.bytes("old.index");
    for existing in [false, true] {
        for millis in [0, 5, 20, 50, 100, 150, 200, 300] {
            let target = folder.at("new.index");
            let _ = fs::remove_file(&target);
            if existing {
                fs::copy(folder.at("old.index"), &target).unwrap();
            }
            let mut child = build_in(&folder.at("."));
            std::thread::sleep(Duration::from_millis(millis));
            child.kill().unwrap();
            child.wait().unwrap();
            match fs::read(&target) {
                Err(_) => assert!(!existing, "{millis} ms: the old file is gone"),
                Ok(bytes) if existing && bytes == old => {}
                Ok(_) => assert_eq!(json(&folder, "info new.index")["ntotal"], 20_000, "{millis} ms"),
            }
        }
    }
}

#[cfg(unix)]
fn build_in(folder: &Path) -> std::process::Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("rvc-gpu-index"))
        .current_dir(folder)
        .args("build rows.npy -o new.index --device cpu --force -q --nlist 200".split(' '))
        .spawn()
        .unwrap()
}
