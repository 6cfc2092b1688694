//! Bytes of an index file. What is read of them is written back, and finds and blends rows as its numbers say.
#![no_main]
#![deny(missing_docs)]

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::Path;
use std::sync::LazyLock;
use std::{fs, iter};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::index::{Index, SearchParams, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender};
use rvc_gpu_index::{Error, Existing, faiss};
use rvc_gpu_index_fuzz::neighbors::Expected;
use rvc_gpu_index_fuzz::{count, index_file, with_file};

const QUERIES: usize = 6;
/// An index without rows may claim any width.
const MAX_DIM: usize = 1 << 14;

static CPU: LazyLock<Device> = LazyLock::new(|| {
    // No other threads: one input takes the same way each time.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("the first pool");
    Device::cpu()
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    index_file::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    let seed = hasher.finish();
    count(with_file(data, |path| match (faiss::read_index(path), faiss::map_index(path)) {
        (Ok(index), Ok(mapped)) => {
            assert!(index == mapped);
            write_back(&index, path);
            if mapped.refine().is_some() {
                search(mapped, seed);
            }
            search(index, seed);
            true
        }
        // Rows that stay in the file are not looked at.
        (Err(error), Ok(mapped)) => {
            assert!(error.to_string().contains("NaN or infinity"), "{error}");
            search(mapped, seed);
            true
        }
        (Err(error), Err(_)) => {
            assert!(!error.to_string().is_empty());
            false
        }
        (Ok(_), Err(error)) => panic!("only mapping it fails: {error}"),
    }));
});

/// What is written reads as the same index, and is written the same again.
fn write_back(index: &Index, path: &Path) {
    let copies = ["copy", "copy of the copy"].map(|name| path.with_file_name(name));
    faiss::write_index(index, &copies[0], Existing::Keep).expect("a copy");
    let copy = faiss::read_index(&copies[0]).expect("the copy is read");
    assert!(copy == *index);
    faiss::write_index(&copy, &copies[1], Existing::Keep).expect("a copy of the copy");
    let [first, second] = copies.map(|path| fs::read(path).expect("a file that was written"));
    assert!(first == second);
}

fn search(index: Index, seed: u64) {
    let (trained, d) = (index.is_trained(), index.dim());
    assert_eq!(index.spread().is_some(), index.nlist().is_some());
    index.spec().to_string().parse::<rvc_gpu_index::factory::IndexSpec>().expect("a spec that can be read");
    let searcher = match Searcher::new(index, &CPU) {
        Ok(searcher) => searcher,
        Err(error) => return assert!(!trained, "{error}"),
    };
    if d > MAX_DIM {
        return;
    }
    let expected = Expected::new(searcher.index());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let queries: Vec<f32> = (0..QUERIES).flat_map(|kind| query(kind, &expected, &mut rng)).collect();
    let k = rng.random_range(1..40);
    for params in settings(searcher.index(), &mut rng) {
        if rng.random_bool(0.5) {
            searcher.prepare(&params);
        }
        match searcher.search(&queries, k, &params) {
            Ok(found) => {
                expected.check(&queries, &found, &params);
                let one = rng.random_range(0..QUERIES);
                let alone = searcher.search(&queries[one * d..][..d], k, &params).expect("a search as before");
                assert_eq!(alone.ids, found.ids[one * k..][..k]);
                assert!(alone.distances.iter().zip(&found.distances[one * k..]).all(|(a, b)| a == b));
            }
            Err(error) => check_refusal(&error, searcher.index()),
        }
    }
    blend(searcher, &queries, d);
}

/// One query of each kind: zero, small, huge, any bits, a row, and close to a row.
fn query(kind: usize, expected: &Expected, rng: &mut impl Rng) -> Vec<f32> {
    let mut query = expected.some_row(rng);
    for x in &mut query {
        *x = match kind {
            0 => 0.0,
            1 => rng.random_range(-2.0..2.0),
            2 => rng.random_range(-1e30..1e30),
            3 => f32::from_bits(rng.random()),
            4 => *x,
            _ => *x + rng.random_range(-0.1..0.1),
        };
    }
    query
}

fn settings(index: &Index, rng: &mut impl Rng) -> Vec<SearchParams> {
    let own = SearchParams::default();
    let lists = index.nlist().map(|nlist| [nlist, rng.random_range(1..=nlist)].map(Some));
    let lists = lists.into_iter().flatten().map(|nprobe| SearchParams { nprobe, ..own });
    let factor = index.refine().map(|_| SearchParams { k_factor: Some(3.0), ..own });
    iter::once(own).chain(lists).chain(factor).collect()
}

fn blend(searcher: Searcher, frames: &[f32], d: usize) {
    let blender = Blender::new(searcher);
    match blender.blend(frames, &BlendParams::default()) {
        Ok(blended) => {
            assert_eq!(blended.frames.len(), frames.len());
            let unusual = frames.chunks(d).filter(|frame| !frame.iter().all(|x| x.is_finite())).count();
            assert_eq!(blended.passed_through, unusual);
        }
        Err(error) => check_refusal(&error, blender.searcher().index()),
    }
}

/// An index says nprobe and k_factor itself: no list to visit is refused, and so are too many candidates.
fn check_refusal(error: &Error, index: &Index) {
    let (said, visits_none) = (error.to_string(), index.nprobe() == Some(0));
    assert!(said.starts_with("k_factor: ") || visits_none && said.starts_with("nprobe: 0"), "{said}");
}
