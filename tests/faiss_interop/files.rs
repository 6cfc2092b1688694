//! Files of whole rows: what one side writes, the other reads.

use std::fs;
use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, IndexKind, InvertedList, InvertedLists, SearchParams, Searcher};
use serde_json::{Value, json};

use super::Case;
use super::faiss::{Faiss, METRICS, Outcome, Setting, utf8};

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
    for factory in ["IVF5,Flat", "IVF5,PQ4x4fs", "L2norm,IVF5,Flat"] {
        cases.push((format!("rows_in_no_list/{factory}"), Box::new(move |faiss| rows_in_no_list(faiss, factory))));
    }
    for (factory, metric) in [
        ("HNSW8,Flat", "L2"),
        ("SQ8", "L2"),
        ("PQ4x4", "L2"),
        ("PCA4,Flat", "L2"),
        ("IVF5,SQ8", "L2"),
        ("IVF5_HNSW8,Flat", "L2"),
        ("IVF5,PQ4x4", "L2"),
        ("PQ4x4fs_64", "L2"),
        ("IVF5,Flat", "L1"),
        ("Flat", "L1"),
    ] {
        let name = format!("not_read/{factory}/{metric}");
        cases.push((name, Box::new(move |faiss| not_read(faiss, factory, metric))));
    }
    cases
}

/// faiss counts rows of NaN, and puts them into no list. What is found is what faiss finds, and the file stays as it is.
fn rows_in_no_list(faiss: &Faiss, factory: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (theirs, ours) = (folder.path().join("theirs.index"), folder.path().join("ours.index"));
    faiss.write(&format!("--factory {factory} --metric L2 --nan 7"), &theirs)?;
    let index = read_index(&theirs)?;
    if (index.ntotal(), index.unlisted()) != (93, 7) {
        return Err(format!("{} rows, {} in no list", index.ntotal(), index.unlisted()).into());
    }
    write_index(&index, &ours, Existing::Keep)?;
    same_bytes(&theirs, &ours)?;
    let queries: Vec<f32> = (0..20 * DIM).map(|i| (i as f32 * 0.7).sin()).collect();
    let setting = Setting { k: 8, nprobe: 3, k_factor: 1 };
    let expected = faiss.search(&theirs, &queries, DIM, &[setting])?.remove(0);
    let searcher = Searcher::new(index, &Device::cpu())?;
    let found = searcher.search(&queries, 8, &SearchParams { nprobe: Some(3), k_factor: None })?;
    // Sums of codes are equal now and then, also at the last place: then either row may be found.
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs();
    let same = if factory.contains("PQ") {
        found.ids.iter().all(|id| (0..100).contains(id)) && found.distances.iter().zip(&expected.distances).all(close)
    } else {
        found.ids == expected.ids
    };
    if same { Ok(()) } else { Err(format!("{:?} are found, {:?} by faiss", found.ids, expected.ids).into()) }
}

/// A sound file of another kind is not called damaged, and what is said brings its rows.
fn not_read(faiss: &Faiss, factory: &str, metric: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (file, rows) = (folder.path().join("other.index"), folder.path().join("rows.npy"));
    faiss.write(&format!("--factory {factory} --metric {metric}"), &file)?;
    let said = read_index(&file).map(|index| index.spec().to_string()).expect_err("a refusal").to_string();
    let call = format!("numpy.save(\"rows.npy\", faiss.read_index(r\"{}\").reconstruct_n())", utf8(&file)?);
    if said.contains("damaged") || !said.contains("does not read") || !said.contains(&call) {
        return Err(said.into());
    }
    faiss.run(["rows", utf8(&file)?, utf8(&rows)?])?;
    let rows = NpyFiles::open(&[rows])?;
    if (rows.rows(), rows.dim()) == (100, DIM) { Ok(()) } else { Err("other rows".into()) }
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
