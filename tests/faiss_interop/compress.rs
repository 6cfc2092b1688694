//! Rows that stand for a voice lie no farther from it than those of scikit-learn, called as RVC calls it.

use std::fs;
use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::cluster::{CompressParams, Method, compress};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, NpyFiles, write_npy};

use super::Case;
use super::devices::devices;
use super::faiss::{Faiss, Outcome, utf8};

/// Errors move by about a hundredth from seed to seed, and are averaged over these.
const SEEDS: [u64; 3] = [1, 2, 3];

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    // What is missing is reported by the searches.
    for device in devices().0 {
        for (method, iterations) in [(Method::MiniBatch, 10), (Method::Lloyd, 5)] {
            let name = format!("compress/{}/{method}", device.info().selector);
            let (device, params) = (device.clone(), CompressParams { method, iterations, ..Default::default() });
            cases.push((name, Box::new(move |faiss| no_farther(faiss, &device, &params))));
        }
    }
    cases
}

fn no_farther(faiss: &Faiss, device: &Device, params: &CompressParams) -> Outcome {
    let voice = NpyFiles::open(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample")])?;
    let mut rows = vec![0.0; voice.rows() * voice.dim()];
    voice.read(0, &mut rows)?;
    let folder = tempfile::tempdir()?;
    let [file, out] = ["voice.npy", "centroids"].map(|name| folder.path().join(name));
    write_npy(&file, Existing::Keep, &voice, 1000)?;
    // As many as leave the rows a centroid that RVC's rule leaves of 375,000.
    let clusters = (voice.rows() / 37).to_string();
    let (mut ours, mut theirs) = (0.0, 0.0);
    for seed in SEEDS {
        let params = CompressParams { seed, ..params.clone() };
        let compressed = compress(device, &voice, clusters.parse()?, &params, |_, _| ())?;
        ours += error(&rows, &compressed.centroids, voice.dim());
        faiss.run(["mini-batch", utf8(&file)?, &clusters, &seed.to_string(), utf8(&out)?])?;
        let centroids: Vec<f32> =
            fs::read(&out)?.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        theirs += error(&rows, &centroids, voice.dim());
    }
    // No farther, and not so near that the measure must be wrong.
    if (0.9 * theirs..=theirs).contains(&ours) { Ok(()) } else { Err(format!("{ours} beside {theirs}").into()) }
}

/// Squared distances of all rows to their nearest centroids, in float64.
fn error(rows: &[f32], centroids: &[f32], dim: usize) -> f64 {
    let squared = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let nearest = |row: &[f32]| {
        let distances = centroids.chunks_exact(dim).map(|centroid| row.iter().zip(centroid).map(squared).sum::<f64>());
        distances.fold(f64::INFINITY, f64::min)
    };
    rows.chunks_exact(dim).map(nearest).sum()
}
