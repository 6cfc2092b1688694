//! Searches: in one file, both sides find the same neighbours, on every device.

use std::path::Path;

use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, IndexKind, Neighbors, SearchParams, Searcher};
use rvc_gpu_index::{Error, Existing};

use super::Case;
use super::devices::devices;
use super::faiss::{Faiss, METRICS, Outcome, Setting};

/// A sample voice of the repository and what it is asked.
#[derive(Clone, Copy)]
struct Sample {
    folder: &'static str,
    queries: &'static str,
    /// Indexes built from it here.
    ours: &'static [&'static str],
}

const SAMPLES: [Sample; 2] = [
    Sample {
        folder: "voice-sample",
        queries: "voice-sample/query256.npy",
        ours: &[
            "Flat",
            "IVF20,Flat",
            "L2norm,Flat",
            "L2norm,IVF20,Flat,RFlat",
            "PQx4fs",
            "L2norm,PQx4fs,RFlat",
            "IVF20,PQ64x4fs,RFlat",
            "L2norm,IVF20,PQ64x4fsr",
        ],
    },
    Sample {
        folder: "voice-sample-v2",
        queries: "voice-sample-v2/query768.npy",
        ours: &["IVF20,Flat", "IVF20,PQ96x4fsr,RFlat"],
    },
];

/// Indexes built by faiss.
const THEIRS: [&str; 10] = [
    "Flat",
    "IVF20,Flat",
    "Flat,RFlat",
    "PQ3x4fs",
    "PQ11x4fs",
    "L2norm,PQ33x4fs,RFlat",
    "IVF20,PQ11x4fs",
    "IVF20,PQ33x4fsr",
    "IVF20,PQ11x4fsr,RFlat",
    "L2norm,IVF20,PQ11x4fsr",
];

/// Queries of a case: enough for several tiles.
const QUERIES: usize = 150;

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    let (devices, missing) = devices();
    for device in devices {
        for metric in METRICS {
            for sample in SAMPLES {
                for factory in sample.ours {
                    let name = format!("search_ours/{}/{factory}/{metric}", device.info().selector);
                    let device = device.clone();
                    cases.push((
                        format!("{name}/{}", sample.folder),
                        Box::new(move |faiss| search_ours(faiss, &device, factory, metric, sample)),
                    ));
                }
            }
            for factory in THEIRS {
                let (name, device) =
                    (format!("search_theirs/{}/{factory}/{metric}", device.info().selector), device.clone());
                cases.push((name, Box::new(move |faiss| search_theirs(faiss, &device, factory, metric))));
            }
        }
    }
    for reason in missing {
        cases.push((reason.clone(), Box::new(move |_| Err(reason.into()))));
    }
    cases
}

fn read_all(path: &Path) -> Result<(Vec<f32>, usize), Error> {
    let source = NpyFiles::open(&[path])?;
    let mut rows = vec![0.0; source.rows() * source.dim()];
    source.read(0, &mut rows)?;
    Ok((rows, source.dim()))
}

/// An index built here from a sample voice, searched by both sides.
fn search_ours(faiss: &Faiss, device: &Device, factory: &str, metric: Metric, sample: Sample) -> Outcome {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let voice = NpyFiles::open(&[data.join(sample.folder)])?;
    let (queries, dim) = read_all(&data.join(sample.queries))?;
    let mut index = Index::new(&factory.parse::<IndexSpec>()?, metric, dim)?;
    index.train(device, &voice, &KMeansParams { iterations: 3, ..KMeansParams::default() }, &mut |_| ())?;
    index.add(device, &voice, Some(700), &mut |_| ())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ours.index");
    write_index(&index, &file, Existing::Keep)?;
    let keeps_rows = matches!(index.kind(), IndexKind::Flat { .. } | IndexKind::IvfFlat(_)) && !index.l2norm();
    if keeps_rows || index.refine().is_some() {
        let (_, theirs) = faiss.describe(&file)?;
        let mut rows = vec![0.0; theirs.len()];
        voice.read(0, &mut rows)?;
        let same = rows.iter().map(|x| x.to_bits()).eq(theirs.iter().map(|x| x.to_bits()));
        if !same || theirs.len() != voice.rows() * dim {
            return Err("faiss reconstructs other rows than the voice has".into());
        }
    }
    compare(faiss, device, &file, &queries, dim)
}

/// An index built by faiss, searched by both sides.
fn search_theirs(faiss: &Faiss, device: &Device, factory: &str, metric: Metric) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("theirs.index");
    faiss.write(&format!("--factory {factory} --metric {metric:?} --dim 33 --ntotal 3000"), &file)?;
    let queries: Vec<f32> = (0..33 * 200).map(|i| (i as f32 * 0.37).sin()).collect();
    compare(faiss, device, &file, &queries, 33)
}

fn compare(faiss: &Faiss, device: &Device, file: &Path, queries: &[f32], dim: usize) -> Outcome {
    let searcher = Searcher::new(read_index(file)?, device)?;
    let queries = &queries[..QUERIES * dim];
    let refines = searcher.index().refine().is_some();
    let scans = matches!(searcher.index().kind(), IndexKind::PqFastScan(_) | IndexKind::IvfPqFastScan(_));
    // More lists than there are mean all of them. Not so where faiss scans codes of residuals by inner product: lists
    // that are not there spoil the scale of its tables.
    let all_lists = if scans { 20 } else { 1000 };
    // Which of many equal sums are candidates for re-ranking is open, so there are many more of them than neighbours.
    let settings = match refines {
        true => [(8, 1, 30), (8, 5, 16), (100, 2, 8), (1, all_lists, 200)],
        false => [(300, 2, 1), (8, 1, 1), (8, 5, 1), (1, all_lists, 1)],
    };
    let settings = settings.map(|(k, nprobe, k_factor)| Setting { k, nprobe, k_factor });
    for (setting, theirs) in settings.into_iter().zip(faiss.search(file, queries, dim, &settings)?) {
        let Setting { k, nprobe, k_factor } = setting;
        let params = SearchParams { nprobe: Some(nprobe), k_factor: refines.then_some(k_factor as f32) };
        let ours = searcher.search(queries, k, &params)?;
        let steps = if scans && !refines { STEPS } else { 0.0 };
        same(&ours, &theirs, queries, dim, steps).map_err(|message| format!("{setting:?}: {message}"))?;
    }
    Ok(())
}

/// Bytes of a look-up table come from floats that both sides round in their own order of operations. Where one lies
/// between two bytes they may differ by one, and so may the sum of a row: by this many steps at most, in what is tested.
const STEPS: f32 = 2.0;

/// The same distances rank by rank, and the same ids but for swaps among equal distances and at the last rank. faiss
/// finds some distances as norms less products, which rounds by the size of the norms. `steps` says how many of the
/// steps between two sums of bytes count as equal.
fn same(ours: &Neighbors, theirs: &Neighbors, queries: &[f32], dim: usize, steps: f32) -> Outcome {
    let k = ours.k;
    if ours.ids.len() != theirs.ids.len() || ours.ids.len() != queries.len() / dim * k {
        return Err(format!("{} neighbours, faiss has {}", ours.ids.len(), theirs.ids.len()).into());
    }
    for (number, query) in queries.chunks(dim).enumerate() {
        let at = |found: &Neighbors, rank: usize| (found.ids[number * k + rank], found.distances[number * k + rank]);
        let norm = query.iter().map(|x| x * x).sum::<f32>();
        let slack = 1e-6 * norm + steps * step(&theirs.distances[number * k..][..k], norm);
        let near = |a: f32, b: f32| a == b || (a - b).abs() <= 1e-4 * a.abs().max(b.abs()) + slack;
        let last = theirs.distances[number * k + k - 1];
        for rank in 0..k {
            let (our_id, our_distance) = at(ours, rank);
            let (their_id, their_distance) = at(theirs, rank);
            let same_id = our_id == their_id
                || (0..k).any(|other| at(theirs, other).0 == our_id && near(at(theirs, other).1, our_distance))
                || (our_id >= 0 && near(our_distance, last));
            if !near(our_distance, their_distance) || !same_id {
                let message = format!("({our_id}, {our_distance}), faiss has ({their_id}, {their_distance})");
                return Err(format!("query {number} rank {rank}: {message}").into());
            }
        }
    }
    Ok(())
}

/// The least difference between two of a query's distances, in order: one step of a sum of bytes, or a few where there
/// are not many distances.
fn step(distances: &[f32], norm: f32) -> f32 {
    let gaps = distances.windows(2).map(|w| (w[1] - w[0]).abs()).filter(|gap| *gap > 1e-5 * norm && *gap < f32::MAX);
    gaps.fold(f32::INFINITY, f32::min).min(0.02 * norm)
}
