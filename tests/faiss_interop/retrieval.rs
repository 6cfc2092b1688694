//! What retrieval builds on: rows as faiss reconstructs them, and alpha query expansion as RVC's tuning tips write it in
//! NumPy.

use std::fs;
use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, MemoryRows, write_npy};
use rvc_gpu_index::index::{Index, IndexRows};
use rvc_gpu_index::retrieval::{ExpandParams, Expanded};

use super::Case;
use super::devices::devices;
use super::faiss::{Faiss, Outcome, utf8};

const DIM: usize = 24;

const KINDS: [&str; 10] = [
    "Flat",
    "IVF7,Flat",
    "PQ12x4fs",
    "PQ3x4fs",
    "IVF7,PQ12x4fs",
    "IVF7,PQ8x4fsr",
    "PQ12x4fs,RFlat",
    "IVF7,PQ12x4fsr,RFlat",
    "L2norm,IVF7,Flat",
    "L2norm,IVF7,PQ3x4fsr",
];

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    for kind in KINDS {
        cases.push((format!("retrieval/rows/{kind}"), Box::new(move |faiss| rows_of_an_index(faiss, kind))));
    }
    // What is missing is reported by the searches.
    for device in devices().0 {
        for (alpha, num_expand) in [(3.0, 3), (3.0, 1), (0.5, 10), (8.0, 40)] {
            let name = format!("retrieval/expand/{}/{alpha},{num_expand}", device.info().selector);
            let (device, params) = (device.clone(), ExpandParams { alpha, num_expand });
            cases.push((name, Box::new(move |faiss| expansion(faiss, &device, params))));
        }
    }
    cases
}

/// The rows of an index of ours are those that faiss reconstructs, bit for bit.
fn rows_of_an_index(faiss: &Faiss, kind: &str) -> Outcome {
    let (voice, device) = (noise(300, 5), Device::cpu());
    let source = MemoryRows::new(&voice, DIM)?;
    let mut index = Index::new(&kind.parse::<IndexSpec>()?, Metric::L2, DIM)?;
    index.train(&device, &source, &KMeansParams::default(), &mut |_| ())?;
    index.add(&device, &source, None, &mut |_| ())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.index");
    write_index(&index, &file, Existing::Keep)?;
    let (_, theirs) = faiss.describe(&file)?;
    for ours in [read_all(&IndexRows::new(index))?, read_all(&IndexRows::new(read_index(&file)?))?] {
        if !ours.iter().map(|x| x.to_bits()).eq(theirs.iter().map(|x| x.to_bits())) {
            return Err("faiss reconstructs other rows".into());
        }
    }
    Ok(())
}

/// Rows by themselves, and queries by rows, in batches and at once.
fn expansion(faiss: &Faiss, device: &Device, params: ExpandParams) -> Outcome {
    let (voice, queries, folder) = (noise(700, 6), noise(90, 7), tempfile::tempdir()?);
    let by = MemoryRows::new(&voice, DIM)?;
    for rows in [&voice, &queries] {
        let rows = MemoryRows::new(rows, DIM)?;
        let theirs = numpy_expansion(faiss, folder.path(), [&rows, &by], params)?;
        for batch_rows in [None, Some(64)] {
            let ours = read_all(&Expanded::new(device, &rows, &by, params, batch_rows, |_| ())?)?;
            let worst = ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            if ours.len() != theirs.len() || worst.is_nan() || worst > 1e-5 {
                return Err(format!("{} rows, batches of {batch_rows:?}: {worst} off", rows.rows()).into());
            }
        }
    }
    Ok(())
}

fn numpy_expansion(faiss: &Faiss, folder: &Path, rows: [&MemoryRows; 2], params: ExpandParams) -> Outcome<Vec<f64>> {
    let [asked, by, out] = ["asked.npy", "by.npy", "expanded"].map(|name| folder.join(name));
    for (path, rows) in [&asked, &by].into_iter().zip(rows) {
        write_npy(path, Existing::Replace, rows, 100)?;
    }
    let numbers = [params.alpha.to_string(), params.num_expand.to_string()];
    faiss.run(["expand", utf8(&asked)?, utf8(&by)?, &numbers[0], &numbers[1], utf8(&out)?])?;
    Ok(fs::read(out)?.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
}

fn read_all(source: &dyn FeatureSource) -> Outcome<Vec<f32>> {
    let mut rows = vec![0.0; source.rows() * source.dim()];
    source.read(0, &mut rows)?;
    Ok(rows)
}

/// Values in −0.5..1.5, so that cosines are above 0.
fn noise(rows: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 0.5
    };
    (0..rows * DIM).map(|_| next()).collect()
}
