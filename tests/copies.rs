//! A voice of near copies: what a tuning chooses by it has to do for another speaker's frames, too.

#[path = "common/random.rs"]
mod random;

use std::path::Path;

use random::random;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles};
use rvc_gpu_index::index::{GroundTruth, Index, SearchParams, Searcher};

const DIM: usize = 256;
const COPIES: usize = 12;

/// The rows of the sample voice again and again, with noise of this standard deviation.
fn copies(noise: f32) -> Vec<f32> {
    let voice = NpyFiles::open(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample")]).unwrap();
    let mut once = vec![0.0; voice.rows() * DIM];
    voice.read(0, &mut once).unwrap();
    // Of −5 to 5, whose deviation is 10/√12.
    let shaken =
        |copy| once.iter().zip(random(once.len(), copy)).map(move |(x, r)| x + noise * r * 12f32.sqrt() / 10.0);
    (0..COPIES as u64).flat_map(shaken).collect()
}

fn queries() -> NpyFiles {
    NpyFiles::open(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample/query256.npy")]).unwrap()
}

fn built(factory: &str, rows: &MemoryRows) -> Index {
    let (spec, device) = (factory.parse::<IndexSpec>().unwrap(), Device::cpu());
    let mut index = Index::new(&spec, Metric::L2, DIM).unwrap();
    index.train(&device, rows, &KMeansParams { iterations: 4, ..KMeansParams::default() }, &mut |_| ()).unwrap();
    index.add(&device, rows, None, &mut |_| ()).unwrap();
    index
}

#[test]
fn near_copies_do_not_make_a_search_look_good() {
    for noise in [0.1, 0.5] {
        let values = copies(noise);
        let rows = MemoryRows::new(&values, DIM).unwrap();
        for factory in ["IVF90,Flat,RFlat", "IVF90,PQ128x4fs,RFlat"] {
            let mut index = built(factory, &rows);
            let tuned = index.tune(&Device::cpu(), &SearchParams::default(), 1234, None, |_| ()).unwrap();
            assert!(tuned.queries >= 500, "{tuned:?}");
            let searcher = Searcher::new(index, &Device::cpu()).unwrap();
            let truth = GroundTruth::new(&searcher, &queries(), None, 8, None, |_| ()).unwrap();
            let other = searcher.evaluate(truth.queries(), &truth, &SearchParams::default()).unwrap();
            assert!(other.quality.recall >= 0.97, "{factory} with noise of {noise}: {tuned:?} {other:?}");
        }
        // By an index file alone, with other targets.
        let searcher = Searcher::new(built("IVF90,Flat", &rows), &Device::cpu()).unwrap();
        let held_back = GroundTruth::held_back(&searcher, None, 8, 1234, None, |_| ()).unwrap();
        let nprobe = searcher.cheapest(&held_back, 0.99).unwrap().chosen.nprobe;
        let truth = GroundTruth::new(&searcher, &queries(), None, 8, None, |_| ()).unwrap();
        let other = searcher.evaluate(truth.queries(), &truth, &SearchParams { nprobe, k_factor: None }).unwrap();
        assert!(other.quality.recall >= 0.93, "noise of {noise}: {other:?}");
    }
}
