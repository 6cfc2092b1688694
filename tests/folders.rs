//! The folders that hosts, and the systems they run on, leave behind.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use std::path::PathBuf;

use common::{Folder, npy_f32, some_rows, text};
use fails::fails;
use runs::{json, ok};
use serde_json::Value;

/// A file of rows of the given width.
fn rows(count: usize, dim: usize) -> Vec<u8> {
    npy_f32(dim, &some_rows(count, dim))
}

/// Files that a build adds.
fn built(folder: &Folder, input: &str) -> (Vec<PathBuf>, Value) {
    let before = folder.content();
    let report = json(folder, &format!("build {input} --device cpu"));
    (folder.content().into_keys().filter(|path| !before.contains_key(path)).collect(), report)
}

#[test]
fn what_systems_leave_is_passed_over() {
    let folder = Folder::new();
    for inner in ["plain", "exp/3_feature256"] {
        folder.put(format!("{inner}/0_0.npy"), &rows(100, 256));
        for junk in ["._0_0.npy", ".DS_Store", "desktop.ini", "Thumbs.db", "__MACOSX/._0_0.npy", ".ipynb/0_0.npy"] {
            folder.put(format!("{inner}/{junk}"), b"\0\x05\x16\x07");
        }
        folder.put(format!("{inner}/__MACOSX/0_0.npy"), &rows(1, 3));
    }
    folder.put("exp/._3_feature768", b"\0\x05\x16\x07");
    for input in ["plain", "exp"] {
        let (_, report) = built(&folder, input);
        assert_eq!((&report["rows"], report["warnings"].as_array().unwrap().len()), (&100.into(), 0), "{input}");
    }
}

#[test]
fn copies_of_all_features_and_empty_files_are_left_out() {
    let folder = Folder::new();
    for inner in ["plain", "exp/3_feature256"] {
        folder.put(format!("{inner}/0_0.npy"), &rows(100, 256));
        folder.put(format!("{inner}/0_1.npy"), b"");
        folder.put(format!("{inner}/total_fea.npy"), &rows(100, 256));
    }
    for (input, inner) in [("plain", "plain"), ("exp", "exp/3_feature256")] {
        let output = folder.run(&format!("build {input} --device cpu --json"));
        let said = text(&output.stderr);
        for (file, reason) in [("total_fea.npy", "is a copy of all the others"), ("0_1.npy", "is empty")] {
            let line = format!("warning: {}: left out, as it {reason}", PathBuf::from(inner).join(file).display());
            assert!(said.contains(&line), "{line:?} is not in {said}");
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["rows"], report["warnings"].as_array().unwrap().len()), (&100.into(), 2));
    }
    ok(&folder, "build plain/0_0.npy -o one.index --device cpu -q");
    assert!(folder.bytes("plain.index") == folder.bytes("one.index"));
    // Named, or alone, it is what was meant.
    assert_eq!(built(&folder, "plain/total_fea.npy").1["rows"], 100);
    folder.put("alone/total_fea.npy", &rows(50, 256));
    assert_eq!(built(&folder, "alone").1["rows"], 50);
}

#[test]
fn features_have_the_width_that_their_folder_tells() {
    let folder = Folder::new();
    folder.put("wide/3_feature256/0_0.npy", &rows(60, 768));
    folder.put("turned/3_feature256/0_0.npy", &rows(256, 600));
    folder.put("mixed/3_feature768/0_0.npy", &rows(60, 768));
    folder.put("mixed/3_feature768/0_1.npy", &rows(60, 256));
    folder.put("cli/v2_extracted/0_0.npy", &rows(60, 256));
    for (input, said) in [
        ("wide", &["0_0.npy: has rows of 768, where 3_feature256 has rows of 256", "move it to 3_feature768"][..]),
        ("wide/3_feature256", &["0_0.npy: has rows of 768"]),
        ("turned", &["0_0.npy: holds 256 × 600, frames in columns", "transpose"]),
        ("mixed", &["0_1.npy: has rows of 256, where 3_feature768", "3_feature256"]),
        ("cli", &["0_0.npy: has rows of 256, where v2_extracted"]),
    ] {
        fails(&folder, 1, &format!("build {input} --device cpu"), said);
        fails(&folder, 1, &format!("compress {input} -o new.npy --clusters 8 --device cpu"), said);
    }
    // The file itself is anyone's.
    assert_eq!(built(&folder, "wide/3_feature256/0_0.npy").1["d"], 768);
}

#[test]
fn an_empty_folder_is_no_conflict() {
    let folder = Folder::new();
    for (full, empty) in [("3_feature768", "3_feature256"), ("extracted", "3_feature768")] {
        folder.put(format!("{full}-voice/{full}/0_0.npy"), &rows(100, 768));
        folder.put(format!("{full}-voice/{empty}/._0_0.npy"), b"\0\x05\x16\x07");
        assert_eq!(built(&folder, &format!("{full}-voice")).1["rows"], 100, "{full}");
    }
    folder.put("both/3_feature256/0_0.npy", &rows(10, 256));
    folder.put("both/3_feature768/0_0.npy", &rows(10, 768));
    fails(&folder, 1, "build both", &["holds both 3_feature256 and 3_feature768", "name one"]);
}

#[test]
fn every_host_has_its_names() {
    let folder = Folder::new();
    for (voice, features, dim, expected) in [
        ("rvc", "3_feature256", 256, &["added_IVF10_Flat_nprobe_1_rvc_v1", "trained_IVF10_Flat_nprobe_1_rvc_v1"][..]),
        (
            "large",
            "3_feature1024",
            1024,
            &["added_IVF10_Flat_nprobe_1_large_v2", "trained_IVF10_Flat_nprobe_1_large_v2"],
        ),
        ("applio", "extracted", 768, &["applio"]),
        ("cli", "v2_extracted", 768, &["added_IVF10_Flat_nprobe_1_v2", "trained_IVF10_Flat_nprobe_1_v2"]),
        ("cli1", "v1_extracted", 256, &["added_IVF10_Flat_nprobe_1_v1", "trained_IVF10_Flat_nprobe_1_v1"]),
    ] {
        folder.put(format!("{voice}/{features}/0_0.npy"), &rows(100, dim));
        let (files, _) = built(&folder, &format!("{voice} --nlist 10"));
        let expected: Vec<_> = expected.iter().map(|name| folder.at(format!("{voice}/{name}.index"))).collect();
        assert_eq!(files, expected, "{voice}");
        let index = files[0].strip_prefix(folder.at("")).unwrap().display().to_string();
        // A live host asks one list for 8 rows.
        assert!(json(&folder, &format!("info {index}"))["list_sizes"]["min"].as_u64().unwrap() >= 8, "{voice}");
    }
}

#[test]
fn speakers_have_an_index_each() {
    let folder = Folder::new();
    for speaker in ["0", "1"] {
        folder.put(format!("exp/3_feature256/{speaker}/a.npy"), &rows(100, 256));
        folder.put(format!("plain/{speaker}/a.npy"), &rows(100, 256));
    }
    for (input, features) in [("exp", "exp/3_feature256"), ("plain", "plain")] {
        let command = |speaker| {
            let path = PathBuf::from(features).join(speaker);
            format!("rvc-gpu-index build \"{}\" -o \"{input}.{speaker}.index\" --min-list 8", path.display())
        };
        let said = ["holds 2 folders of .npy files, one a speaker", &command("0"), &command("1")];
        fails(&folder, 1, &format!("build {input}"), &said);
    }
    ok(&folder, "build exp/3_feature256/0 -o 0.index --min-list 8 --device cpu -q");
    // Beside files of their own they are named.
    folder.put("plain/0_0.npy", &rows(100, 256));
    let (_, report) = built(&folder, "plain");
    assert_eq!(report["rows"], 100);
    assert!(report["warnings"][0].as_str().unwrap().contains("left out: 0, 1"), "{report}");
    folder.put("so-vits/0.wav.soft.pt", b"PK");
    fails(&folder, 1, "build so-vits", &["so-vits: holds .soft.pt files of so-vits-svc", "numpy.save", "torch.load"]);
}
