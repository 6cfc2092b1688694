//! Files of whole rows: what one side writes, the other reads.

use std::fs;
use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::index::{Index, IndexKind, InvertedList, InvertedLists};
use serde_json::{Value, json};

use super::Case;
use super::faiss::{Faiss, METRICS, Outcome};

const DIM: usize = 8;

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    for metric in METRICS {
        for prefix in ["", "L2norm,"] {
            for (tail, stages) in [
                ("Flat", &["added"][..]),
                ("IVF1,Flat", &["trained", "added"]),
                ("IVF5,Flat", &["untrained", "trained", "one-list", "added"]),
            ] {
                let factory = format!("{prefix}{tail}");
                for stage in stages {
                    let options = format!("--factory {factory} --metric {metric:?} --nprobe 3 --stage {stage}");
                    let name = format!("from_faiss/{factory}/{metric:?}/{stage}");
                    cases.push((name, Box::new(move |faiss| from_faiss(faiss, &options))));
                }
            }
            for index in hand_built(metric) {
                let index = if prefix.is_empty() { index } else { index.with_l2norm() };
                let name = format!("to_faiss/{prefix}{}", name_of(&index));
                cases.push((name, Box::new(move |faiss| to_faiss(faiss, &index))));
            }
        }
    }
    for map in ["Array", "Hashtable"] {
        cases.push((format!("from_faiss/direct_map/{map}"), Box::new(move |faiss| direct_map(faiss, map))));
    }
    cases
}

/// A file of faiss's is read as faiss reads it, and written again byte for byte.
fn from_faiss(faiss: &Faiss, options: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (theirs, ours) = (folder.path().join("theirs.index"), folder.path().join("ours.index"));
    faiss.write(options, &theirs)?;
    let index = read_index(&theirs)?;
    expect_same(faiss.describe(&theirs)?, &index, &rows_by_id(&index))?;
    write_index(&index, &ours, Existing::Keep)?;
    same_bytes(&theirs, &ours)
}

/// A file of this crate's is read by faiss as it was meant.
fn to_faiss(faiss: &Faiss, index: &Index) -> Outcome {
    let folder = tempfile::tempdir()?;
    let ours = folder.path().join("ours.index");
    write_index(index, &ours, Existing::Keep)?;
    expect_same(faiss.describe(&ours)?, index, &rows_by_id(index))
}

/// A direct map is the one thing that does not come back: what does is the file that faiss writes without one.
fn direct_map(faiss: &Faiss, map: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let [with, without, ours] = ["with", "without", "ours"].map(|name| folder.path().join(name));
    let options = "--factory IVF5,Flat --metric L2";
    faiss.write(&format!("{options} --direct-map {map}"), &with)?;
    faiss.write(options, &without)?;
    write_index(&read_index(&with)?, &ours, Existing::Keep)?;
    same_bytes(&without, &ours)
}

/// Indexes of every shape of file: no rows, all lists filled, half of them, one of them, no training.
fn hand_built(metric: Metric) -> Vec<Index> {
    let rows = |count: usize| (0..count * DIM).map(|i| (i as f32).sin()).collect::<Vec<_>>();
    let ivf = |sizes: &[usize], centroids| {
        let total = sizes.iter().sum();
        let lists = InvertedLists::from_parts(DIM, sizes, (0..total as i64).collect(), rows(total));
        let lists = lists.expect("a row an id");
        Index::ivf_flat(metric, rows(centroids), 2, lists).expect("a centroid a list")
    };
    let flat = |count| Index::flat(DIM, metric, rows(count)).expect("whole rows");
    vec![
        flat(0),
        flat(7),
        ivf(&[3, 1, 2], 3),
        ivf(&[0, 5, 4, 0], 4),
        ivf(&[0, 0, 6], 3),
        ivf(&[0, 0], 2),
        ivf(&[0, 0], 0),
    ]
}

fn ivf_lists(index: &Index) -> Vec<InvertedList<'_>> {
    match index.kind() {
        IndexKind::IvfFlat(ivf) => ivf.lists().iter().collect(),
        _ => Vec::new(),
    }
}

/// A name for a hand-built index.
fn name_of(index: &Index) -> String {
    let sizes: Vec<_> = ivf_lists(index).iter().map(|list| list.ids.len()).collect();
    let training = if index.is_trained() { "" } else { "/untrained" };
    match index.nlist() {
        None => format!("Flat/{:?}/{}", index.metric(), index.ntotal()),
        Some(nlist) => format!("IVF{nlist},Flat/{:?}/{sizes:?}{training}", index.metric()),
    }
}

/// Compares what faiss read with an index: the parameters, and the rows by their ids bit for bit.
pub fn expect_same((description, found): (Value, Vec<f32>), index: &Index, rows: &[f32]) -> Outcome {
    let expected = json!({
        "d": index.dim(),
        "ntotal": index.ntotal(),
        "metric": format!("{:?}", index.metric()),
        "is_trained": index.is_trained(),
        "l2norm": index.l2norm(),
        "k_factor": index.refine().map(|refine| refine.k_factor()),
        "nlist": index.nlist(),
        "nprobe": index.nprobe(),
    });
    if description != expected {
        return Err(format!("faiss reads {description}, expected {expected}").into());
    }
    match found.iter().map(|x| x.to_bits()).eq(rows.iter().map(|x| x.to_bits())) {
        true => Ok(()),
        false => Err("faiss reconstructs other rows".into()),
    }
}

/// All rows in the order of their ids.
fn rows_by_id(index: &Index) -> Vec<f32> {
    if let IndexKind::Flat { rows } = index.kind() {
        return rows.to_vec();
    }
    let lists = ivf_lists(index);
    let mut rows: Vec<_> = lists.iter().flat_map(|list| list.ids.iter().zip(list.rows.chunks(index.dim()))).collect();
    rows.sort_by_key(|(id, _)| **id);
    rows.into_iter().flat_map(|(_, row)| row.iter().copied()).collect()
}

pub fn same_bytes(theirs: &Path, ours: &Path) -> Outcome {
    let (theirs, ours) = (fs::read(theirs)?, fs::read(ours)?);
    if theirs == ours {
        return Ok(());
    }
    let at = theirs.iter().zip(&ours).position(|(a, b)| a != b);
    Err(format!("{} bytes of faiss's, {} of ours, which differ first at {at:?}", theirs.len(), ours.len()).into())
}
