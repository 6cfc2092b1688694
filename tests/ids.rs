//! Indexes whose ids do not count their rows: `eval`, `tune` and `blend` go by rows.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use common::{Folder, npy_f32, some_rows};
use fails::fails;
use runs::{json, ok};
use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::index::{Index, IndexKind, InvertedLists};
use serde_json::Value;

const DIM: usize = 8;
const ROWS: usize = 600;

/// Writes `name` with the lists of `plain.index`, each row with another id; rows without one are removed.
fn renumber(folder: &Folder, name: &str, id: impl Fn(i64) -> Option<i64>) {
    let plain = read_index(folder.at("plain.index")).unwrap();
    let IndexKind::IvfFlat(ivf) = plain.kind() else { panic!("{:?}", plain.kind()) };
    let (mut sizes, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for list in ivf.lists().iter() {
        let before = ids.len();
        for (&old, row) in list.ids.iter().zip(list.rows.chunks_exact(DIM)) {
            let Some(new) = id(old) else { continue };
            ids.push(new);
            rows.extend_from_slice(row);
        }
        sizes.push(ids.len() - before);
    }
    let lists = InvertedLists::from_parts(DIM, &sizes, ids, rows).unwrap();
    let index = Index::ivf_flat(Metric::L2, ivf.centroids().to_vec(), 1, lists).unwrap();
    write_index(&index, folder.at(name), Existing::Replace).unwrap();
}

/// `rows.npy` with `plain.index` over it, and `queries.npy`.
fn folder() -> Folder {
    let folder = Folder::new();
    let all = some_rows(ROWS + 50, DIM);
    let (rows, queries) = all.split_at(ROWS * DIM);
    folder.put("rows.npy", &npy_f32(DIM, rows));
    folder.put("queries.npy", &npy_f32(DIM, queries));
    ok(&folder, "build rows.npy -o plain.index --nlist 20 --device cpu -q");
    folder
}

/// What each setting finds, without the time it takes.
fn found(folder: &Folder, line: &str) -> Vec<[Value; 4]> {
    let report = json(folder, &format!("{line} --device cpu -q"));
    let settings = report["settings"].as_array().or(report["considered"].as_array()).unwrap();
    let fields = |at: &Value| ["nprobe", "recall", "missing", "distance_ratio"].map(|name| at[name].clone());
    settings.iter().map(fields).collect()
}

#[test]
fn ids_may_occur_twice_or_start_anywhere() {
    let folder = folder();
    let half = ROWS as i64 / 2;
    // As faiss's merge_from leaves them without add_id; as add_with_ids does.
    renumber(&folder, "twice.index", |id| Some(id % half));
    renumber(&folder, "same.index", |_| Some(7));
    renumber(&folder, "custom.index", |id| Some(1_000_000 - 3 * id));
    let (eval, tune) = ("--queries queries.npy --nprobe 1,3,20", "--recall 0.8 --queries queries.npy");
    let expected = found(&folder, &format!("eval plain.index {eval}"));
    assert_eq!(expected[2][1], 1.0, "{expected:?}");
    let least = found(&folder, &format!("tune plain.index {tune}"))[0].clone();
    let held_back = found(&folder, "tune plain.index --recall 0.5")[0].clone();
    ok(&folder, "blend plain.index queries.npy -o plain.npy --nprobe 3 --device cpu -q");
    for name in ["twice", "same", "custom"] {
        assert_eq!(found(&folder, &format!("eval {name}.index {eval}")), expected, "{name}");
        assert_eq!(found(&folder, &format!("tune {name}.index {tune}"))[0], least, "{name}");
        let other = found(&folder, &format!("tune {name}.index --recall 0.5"))[0].clone();
        // Rows in another order are other stretches, where ids do not tell the order.
        assert!(name != "custom" || other[0].is_u64() && held_back[0].is_u64(), "{other:?}");
        ok(&folder, &format!("blend {name}.index queries.npy -o {name}.npy --nprobe 3 --device cpu -q"));
        assert!(folder.bytes(format!("{name}.npy")) == folder.bytes("plain.npy"), "{name}");
    }
}

#[test]
fn rows_that_were_removed_are_not_looked_for() {
    let folder = folder();
    renumber(&folder, "fewer.index", |id| (id % 3 != 1).then_some(id));
    // By a count of rows, not by ids: the rows that are left, from 0 on.
    renumber(&folder, "again.index", |id| (id % 3 != 1).then_some(id / 3 * 2 + i64::from(id % 3 == 2)));
    let line = "--queries queries.npy --nprobe 1,3,20";
    let expected = found(&folder, &format!("eval again.index {line}"));
    assert_eq!((&expected[2][1], expected.len()), (&1.0.into(), 3));
    assert_eq!(found(&folder, &format!("eval fewer.index {line}")), expected);
    // The file that all of them came from has a row for each id.
    assert_eq!(found(&folder, &format!("eval fewer.index {line} --base rows.npy")), expected);
}

#[test]
fn rows_of_another_file_are_told_by_their_ids() {
    let folder = folder();
    renumber(&folder, "twice.index", |id| Some(id % 300));
    renumber(&folder, "beyond.index", |id| Some(id + 1));
    for command in ["eval", "tune --recall 0.5"] {
        let fails = |index: &str, said: &[&str]| {
            fails(
                &folder,
                2,
                &format!("{command} {index}.index --queries queries.npy --base rows.npy --device cpu"),
                said,
            )
        };
        fails("twice", &["base: ", "the index has the id 0 twice", "leave it out"]);
        fails("beyond", &["base: 600 × 8", "go up to 600"]);
    }
}
