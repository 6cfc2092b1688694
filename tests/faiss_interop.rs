//! Files exchanged with real faiss, in both directions, through `tests/python/faiss_interop.py`.
//!
//! The interpreter is the one named by `RVC_GPU_INDEX_PYTHON`, else `.venv/bin/python`. Without faiss there, every case
//! is ignored, except with `CI=true`, where it fails.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::index::{Index, IndexKind, InvertedList, InvertedLists};
use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const METRICS: [Metric; 2] = [Metric::L2, Metric::InnerProduct];
const DIM: usize = 8;

fn main() {
    let found = Faiss::find();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if let Err(reason) = &found {
        eprintln!("faiss interop: {reason}");
    }
    let trials = cases()
        .into_iter()
        .map(|(name, case)| {
            let found = found.clone();
            let ignored = found.is_err() && !ci;
            Trial::test(name, move || case(&found?).map_err(Failed::from)).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A Python interpreter that has faiss.
#[derive(Clone)]
struct Faiss {
    python: PathBuf,
}

impl Faiss {
    fn find() -> Result<Self, String> {
        let python = match std::env::var_os("RVC_GPU_INDEX_PYTHON") {
            Some(python) => python.into(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
        };
        let faiss = Self { python };
        match faiss.run(["version"]) {
            Ok(_) => Ok(faiss),
            Err(reason) => Err(format!(
                "{} cannot import faiss ({reason}); install faiss-cpu there, or set RVC_GPU_INDEX_PYTHON",
                faiss.python.display()
            )),
        }
    }

    /// Runs the helper and returns what it printed.
    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
        let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/faiss_interop.py");
        let output = Command::new(&self.python).arg(helper).args(arguments).output()?;
        if !output.status.success() {
            let report = String::from_utf8_lossy(&output.stderr);
            return Err(report.lines().last().unwrap_or("no message").into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Has faiss build and write an index; `options` are the helper's, without the file.
    fn write(&self, options: &str, file: &Path) -> Outcome {
        self.run(["write"].into_iter().chain(options.split(' ')).chain([utf8(file)?]))?;
        Ok(())
    }

    /// What faiss reads from a file, and its rows in the order of their ids.
    fn describe(&self, file: &Path) -> Outcome<(Value, Vec<f32>)> {
        let rows = file.with_extension("rows");
        let description = self.run(["describe", utf8(file)?, utf8(&rows)?])?;
        let rows = fs::read(rows)?.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok((serde_json::from_str(&description)?, rows))
    }
}

fn utf8(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "the temporary folder's name is not UTF-8".into())
}

type Case = Box<dyn FnOnce(&Faiss) -> Outcome + Send>;

fn cases() -> Vec<(String, Case)> {
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
    expect_same(faiss.describe(&theirs)?, &index)?;
    write_index(&index, &ours, Existing::Keep)?;
    same_bytes(&theirs, &ours)
}

/// A file of this crate's is read by faiss as it was meant.
fn to_faiss(faiss: &Faiss, index: &Index) -> Outcome {
    let folder = tempfile::tempdir()?;
    let ours = folder.path().join("ours.index");
    write_index(index, &ours, Existing::Keep)?;
    expect_same(faiss.describe(&ours)?, index)
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
        IndexKind::Flat { .. } => Vec::new(),
        IndexKind::IvfFlat(ivf) => ivf.lists().iter().collect(),
    }
}

/// A name for a hand-built index.
fn name_of(index: &Index) -> String {
    let sizes: Vec<_> = ivf_lists(index).iter().map(|list| list.ids.len()).collect();
    let training = if index.is_trained() { "" } else { "/untrained" };
    match index.kind() {
        IndexKind::Flat { .. } => format!("Flat/{:?}/{}", index.metric(), index.ntotal()),
        IndexKind::IvfFlat(_) => format!("IVF{},Flat/{:?}/{sizes:?}{training}", sizes.len(), index.metric()),
    }
}

/// Compares what faiss read with an index: the parameters, and every row bit for bit.
fn expect_same((description, rows): (Value, Vec<f32>), index: &Index) -> Outcome {
    let (nlist, nprobe) = match index.kind() {
        IndexKind::Flat { .. } => (None, None),
        IndexKind::IvfFlat(ivf) => (Some(ivf.lists().nlist()), Some(ivf.nprobe())),
    };
    let expected = json!({
        "d": index.dim(),
        "ntotal": index.ntotal(),
        "metric": format!("{:?}", index.metric()),
        "is_trained": index.is_trained(),
        "l2norm": index.l2norm(),
        "nlist": nlist,
        "nprobe": nprobe,
    });
    if description != expected {
        return Err(format!("faiss reads {description}, expected {expected}").into());
    }
    match rows.iter().map(|x| x.to_bits()).eq(rows_by_id(index).iter().map(|x| x.to_bits())) {
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

fn same_bytes(theirs: &Path, ours: &Path) -> Outcome {
    let (theirs, ours) = (fs::read(theirs)?, fs::read(ours)?);
    if theirs == ours {
        return Ok(());
    }
    let at = theirs.iter().zip(&ours).position(|(a, b)| a != b);
    Err(format!("{} bytes of faiss's, {} of ours, which differ first at {at:?}", theirs.len(), ours.len()).into())
}
