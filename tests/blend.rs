//! RVC's blend over every kind of index, on every device, against RVC's own formula in float64.

#[path = "common/devices.rs"]
mod devices;
#[path = "common/random.rs"]
mod random;

use random::random;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::{FeatureSource, MemoryRows};
use rvc_gpu_index::index::{Index, InvertedLists, SearchParams, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender};

const DIM: usize = 16;
const ROWS: usize = 420;
/// So many rows are there twice.
const TWICE: usize = 20;

const KINDS: [&str; 10] = [
    "Flat",
    "IVF6,Flat",
    "PQ8x4fs",
    "IVF6,PQ8x4fs",
    "IVF6,PQ8x4fsr",
    "PQ8x4fs,RFlat",
    "IVF6,Flat,RFlat",
    "L2norm,IVF6,Flat",
    "L2norm,PQ4x4fs,RFlat",
    "L2norm,IVF6,PQ8x4fsr",
];

fn voice() -> Vec<f32> {
    let rows = random((ROWS - TWICE) * DIM, 1);
    [&rows[..], &rows[..TWICE * DIM]].concat()
}

fn built(factory: &str, metric: Metric) -> Index {
    let (voice, device) = (voice(), Device::cpu());
    let rows = MemoryRows::new(&voice, DIM).unwrap();
    let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    index
}

fn all_devices() -> Vec<Device> {
    let (devices, missing) = devices::devices();
    assert!(missing.is_empty() || std::env::var_os(devices::DEVICES).is_none(), "{missing:?}");
    devices
}

/// The rows that a host gets from the index: those of the voice where it has them, else what its codes stand for.
fn stored(searcher: &Searcher) -> Vec<f64> {
    let index = searcher.index();
    let wide = |rows: Vec<f32>| rows.into_iter().map(f64::from).collect::<Vec<_>>();
    if index.refine().is_some() || index.spec().to_string().ends_with(",Flat") || index.spec().to_string() == "Flat" {
        let mut rows = wide(voice());
        if index.l2norm() && index.refine().is_none() {
            for row in rows.chunks_exact_mut(DIM) {
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
        return rows;
    }
    let mut rows = vec![0.0; ROWS * DIM];
    searcher.rows().read(0, &mut rows).unwrap();
    wide(rows)
}

/// `(1 / score)²`, normalised, times the rows: what RVC computes, in float64.
fn rvc(frame: &[f64], rows: &[&[f64]], scores: &[f64], rate: f64) -> Vec<f64> {
    let weights: Vec<f64> = scores.iter().map(|score| (1.0 / score).powi(2)).collect();
    let sum: f64 = weights.iter().sum();
    let drawn = |i: usize| rows.iter().zip(&weights).map(|(row, weight)| weight / sum * row[i]).sum::<f64>();
    (0..DIM).map(|i| drawn(i) * rate + (1.0 - rate) * frame[i]).collect()
}

fn check(blender: &Blender, frames: &[f32], params: BlendParams, what: &str) {
    let searcher = blender.searcher();
    let (index, rows) = (searcher.index(), stored(searcher));
    let blended = blender.blend(frames, &params).unwrap();
    assert!(blended.frames.len() == frames.len() && blended.frames.iter().all(|x| x.is_finite()), "{what}");
    assert_eq!(blended.passed_through, 0, "{what}");
    let found = searcher.search(frames, params.k, &params.search).unwrap();
    let mut alone = 0;
    for (number, frame) in frames.chunks_exact(DIM).enumerate() {
        let frame: Vec<f64> = frame.iter().copied().map(f64::from).collect();
        let places = (number * params.k..(number + 1) * params.k).filter(|&place| found.ids[place] >= 0);
        let row = |place: usize| &rows[found.ids[place] as usize * DIM..][..DIM];
        let squared = |row: &[f64]| row.iter().zip(&frame).map(|(r, x)| (r - x) * (r - x)).sum::<f64>();
        let (near, scores): (Vec<&[f64]>, Vec<f64>) = places
            .map(|place| match index.metric() == Metric::L2 && !index.l2norm() {
                true => (row(place), f64::from(found.distances[place])),
                false => (row(place), squared(row(place))),
            })
            .unzip();
        alone += usize::from(near.is_empty());
        let expected =
            if near.is_empty() { frame.clone() } else { rvc(&frame, &near, &scores, params.index_rate.into()) };
        for (i, &expected) in expected.iter().enumerate().filter(|(_, x)| x.is_finite()) {
            let x = f64::from(blended.frames[number * DIM + i]);
            assert!((x - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{what} frame {number}: {x}, {expected}");
        }
    }
    assert_eq!(blended.without_neighbors, alone, "{what}");
}

#[test]
fn every_kind_of_index_blends_as_rvc() {
    let frames = random(60 * DIM, 2);
    let devices = all_devices();
    for (factory, metric) in KINDS.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
        let index = built(factory, metric);
        for device in &devices {
            let blender = Blender::new(Searcher::new(index.clone(), device).unwrap());
            for (k, nprobe, index_rate) in [(8, 1, 0.75), (3, 6, 1.0), (100, 1, 0.3), (1, 1, 0.0)] {
                let search = SearchParams { nprobe: index.nlist().map(|_| nprobe), k_factor: None };
                let params = BlendParams { k, index_rate, search, ..BlendParams::default() };
                let what = format!("{} {factory} {metric} k {k}", device.info().selector);
                check(&blender, &frames, params, &what);
            }
        }
    }
}

#[test]
fn frames_of_the_voice_stay_what_they_are() {
    let frames = &voice()[..50 * DIM];
    for device in all_devices() {
        for factory in ["Flat", "IVF6,Flat", "PQ8x4fs,RFlat", "L2norm,PQ4x4fs,RFlat"] {
            let blender = Blender::new(Searcher::new(built(factory, Metric::L2), &device).unwrap());
            check(&blender, frames, BlendParams::default(), factory);
            // RVC divides by zero here. Some of these rows are there twice, and one list or few candidates may miss one.
            let blended = blender.blend(frames, &BlendParams::default()).unwrap();
            let exact = blended.frames.iter().zip(frames).filter(|(x, y)| (*x - *y).abs() <= 1e-5 * y.abs()).count();
            let least = if factory.contains("PQ") { 40 * DIM } else { 50 * DIM };
            assert!(exact >= least, "{} {factory}: {exact}", device.info().selector);
        }
    }
}

#[test]
fn lists_that_are_short_or_empty() {
    // Centroids at 0, 100 and 200; the list of the second is empty, that of the third has two rows.
    let centroids: Vec<f32> = [0.0, 100.0, 200.0].iter().flat_map(|&x| [x; DIM]).collect();
    let rows = [random(30 * DIM, 3), vec![199.0; DIM], vec![202.0; DIM]].concat();
    let lists = || InvertedLists::from_parts(DIM, &[30, 0, 2], (0..32).collect(), rows.clone()).unwrap();
    let frames = [vec![99.0; DIM], vec![200.0; DIM], vec![0.0; DIM]].concat();
    for device in all_devices() {
        let index = Index::ivf_flat(Metric::L2, centroids.clone(), 1, lists()).unwrap();
        let blended = Blender::new(Searcher::new(index, &device).unwrap()).blend(&frames, &BlendParams::default());
        let blended = blended.unwrap();
        assert_eq!((blended.without_neighbors, blended.passed_through), (1, 0));
        assert_eq!(blended.frames[..DIM], [99.0; DIM]);
        // Distances 1 and 2 a dimension: weights 16/17 and 1/17.
        let expected = 0.75 * (199.0 * 16.0 + 202.0) / 17.0 + 0.25 * 200.0;
        assert!(blended.frames[DIM..2 * DIM].iter().all(|x| (x - expected).abs() < 1e-3), "{:?}", blended.frames);
        assert!(blended.frames[2 * DIM..].iter().all(|x| x.is_finite() && x.abs() < 5.0));
    }
}
