//! What is said about an index that a voice host would stumble over.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use common::{Folder, npy_f32, some_rows};
use fails::fails;
use runs::json;

fn experiment(name: &str) -> Folder {
    let folder = Folder::new();
    folder.put(format!("logs/{name}/3_feature256/0.npy"), &npy_f32(256, &some_rows(200, 256)));
    fs::create_dir_all(folder.at("assets/indices")).unwrap();
    folder
}

fn warnings(folder: &Folder, line: &str) -> String {
    json(folder, &format!("{line} --device cpu --nlist 4"))["warnings"].to_string()
}

#[test]
fn codes_in_lists_without_rows_are_kept_from_rvc() {
    let folder = experiment("voice");
    for factory in ["IVF4,PQ64x4fs", "IVF4,PQx4fsr", "L2norm,IVF4,PQ64x4fs"] {
        for output in ["", "-o logs/voice/x.index", "-o assets/indices/x.index"] {
            let line = format!("build logs/voice --device cpu --factory {factory} {output}");
            fails(&folder, 2, &line, &["factory: faiss 1.9 and later crash", &format!("{factory},RFlat")]);
        }
        // Elsewhere it may be meant for something else.
        let said = warnings(&folder, &format!("build logs/voice -o x.index --force --factory {factory}"));
        assert!(said.contains("faiss 1.9 and later crash") && said.contains("put ,RFlat behind it"), "{said}");
    }
    let said = warnings(&folder, "build logs/voice --factory IVF4,PQ64x4fs,RFlat");
    assert!(!said.contains("crash"), "{said}");
}

#[test]
fn what_hosts_make_of_other_metrics_is_said() {
    let (weights, length) = ("(1 / inner product)²", "rows of this index have unit length");
    let folder = experiment("voice");
    for (line, said) in [
        ("--metric l2", [false, false]),
        ("--metric ip", [true, false]),
        ("--metric cosine", [true, true]),
        ("--factory L2norm,IVF4,Flat", [false, true]),
        ("--factory L2norm,IVF4,Flat,RFlat", [false, false]),
        ("--expand 3,3 -o assets/indices/x.index", [false, true]),
    ] {
        let found = warnings(&folder, &format!("build logs/voice {line}"));
        assert_eq!([weights, length].map(|warning| found.contains(warning)), said, "{line}: {found}");
    }
    // Nothing is said where no host looks.
    let found = warnings(&folder, "build logs/voice --metric cosine -o x.index");
    assert!(!found.contains(weights) && !found.contains(length), "{found}");
    // Each has a name of its own, so that none takes the place of RVC's.
    for name in
        ["IVF4_Flat_nprobe_1", "IVF4_Flat_ip_nprobe_1", "L2norm_IVF4_Flat_ip_nprobe_1", "L2norm_IVF4_Flat_nprobe_1"]
    {
        assert!(!folder.bytes(format!("logs/voice/added_{name}_voice_v1.index")).is_empty(), "{name}");
    }
}

#[test]
fn voices_that_rvc_would_hide_are_named() {
    for (name, hidden) in [("trained_bob", true), ("untrained", true), ("Trained", false), ("train", false)] {
        let folder = experiment(name);
        let said = warnings(&folder, &format!("build logs/{name}"));
        assert_eq!(said.contains("RVC lists no index that has"), hidden, "{name}: {said}");
    }
    let folder = experiment("voice");
    assert!(warnings(&folder, "build logs/voice -o trained_bob.index").contains("RVC lists no index"));
}
