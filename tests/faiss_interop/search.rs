//! Searches: in one file, both sides find the same neighbours, on every device.

use std::path::Path;

use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, Neighbors, Searcher};
use rvc_gpu_index::{Error, Existing};

use super::Case;
use super::devices::devices;
use super::faiss::{Faiss, METRICS, Outcome};

/// A sample voice of the repository and what it is asked.
#[derive(Clone, Copy)]
struct Sample {
    folder: &'static str,
    queries: &'static str,
}

const SAMPLES: [Sample; 2] = [
    Sample { folder: "voice-sample", queries: "voice-sample/query256.npy" },
    Sample { folder: "voice-sample-v2", queries: "voice-sample-v2/query768.npy" },
];

/// Queries of a case: enough for several tiles.
const QUERIES: usize = 150;

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    let (devices, missing) = devices();
    for device in devices {
        for metric in METRICS {
            for factory in ["Flat", "IVF20,Flat", "L2norm,Flat", "L2norm,IVF20,Flat"] {
                let name = |direction| format!("{direction}/{}/{factory}/{metric}", device.info().selector);
                for sample in SAMPLES {
                    let device = device.clone();
                    cases.push((
                        format!("{}/{}", name("search_ours"), sample.folder),
                        Box::new(move |faiss| search_ours(faiss, &device, factory, metric, sample)),
                    ));
                }
                let device = device.clone();
                let case: Case = match factory {
                    "Flat" | "IVF20,Flat" => Box::new(move |faiss| search_theirs(faiss, &device, factory, metric)),
                    _ => continue,
                };
                cases.push((name("search_theirs"), case));
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
    if !index.l2norm() {
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
    let settings = [(8, 1), (8, 5), (300, 2), (1, 1000)];
    for ((k, nprobe), theirs) in settings.into_iter().zip(faiss.search(file, queries, dim, &settings)?) {
        let ours = searcher.search(queries, k, Some(nprobe))?;
        same(&ours, &theirs, queries, dim).map_err(|message| format!("k {k}, nprobe {nprobe}: {message}"))?;
    }
    Ok(())
}

/// The same distances rank by rank, and the same ids but for swaps among equal distances and at the last rank. faiss
/// finds some distances as norms less products, which rounds by the size of the norms.
fn same(ours: &Neighbors, theirs: &Neighbors, queries: &[f32], dim: usize) -> Outcome {
    let k = ours.k;
    if ours.ids.len() != theirs.ids.len() || ours.ids.len() != queries.len() / dim * k {
        return Err(format!("{} neighbours, faiss has {}", ours.ids.len(), theirs.ids.len()).into());
    }
    for (number, query) in queries.chunks(dim).enumerate() {
        let rounding = 1e-6 * query.iter().map(|x| x * x).sum::<f32>();
        let near = |a: f32, b: f32| a == b || (a - b).abs() <= 1e-4 * a.abs().max(b.abs()) + rounding;
        let at = |found: &Neighbors, rank: usize| (found.ids[number * k + rank], found.distances[number * k + rank]);
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
