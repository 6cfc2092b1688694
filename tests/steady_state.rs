//! A search that comes again and again allocates nothing on the host.

use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::MemoryRows;
use rvc_gpu_index::index::{Index, Neighbors, SearchParams, Searcher};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const DIM: usize = 16;
const KINDS: [&str; 8] = [
    "Flat",
    "IVF9,Flat",
    "PQ8x4fs",
    "IVF9,PQ8x4fs",
    "IVF9,PQ8x4fsr",
    "PQ8x4fs,RFlat",
    "IVF9,PQ8x4fsr,RFlat",
    "L2norm,IVF9,Flat",
];
/// Calls that are looked at together.
const CALLS: usize = 20;
/// Every thread has made its working memory after so many rounds of calls, though it may not get work in each.
const ROUNDS: usize = 500;
/// Rounds in a row without an allocation.
const STEADY: usize = 10;

fn searcher(factory: &str, metric: Metric) -> Searcher {
    let values: Vec<f32> = (0..2000 * DIM).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0).collect();
    let (rows, device) = (MemoryRows::new(&values, DIM).unwrap(), Device::cpu());
    let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    Searcher::new(index, &device).unwrap()
}

/// Allocations of all threads while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    dhat::HeapStats::get().total_blocks - before
}

/// One test, because allocations of all threads are counted.
#[test]
fn calls_allocate_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let frames: Vec<f32> = (0..28 * DIM).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
    for (factory, metric) in KINDS.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
        let searcher = searcher(factory, metric);
        let params = SearchParams { nprobe: searcher.index().nlist().map(|_| 3), k_factor: None };
        let mut found = Neighbors::default();
        let mut calls = || (0..CALLS).for_each(|_| searcher.search_into(&frames, 8, &params, &mut found).unwrap());
        // From a thread of rayon's, as a call from any other now and then allocates a block of rayon's queue.
        rayon::scope(|_| {
            let mut quiet = 0;
            for _ in 0..ROUNDS {
                quiet = if allocations(&mut calls) == 0 { quiet + 1 } else { 0 };
                if quiet == STEADY {
                    return;
                }
            }
            panic!("{factory} {metric}: {} allocations in {CALLS} calls", allocations(&mut calls));
        });
        // From this thread: less than one allocation in 20 calls.
        let outside = allocations(|| (0..20).for_each(|_| calls()));
        assert!(outside < CALLS as u64, "{factory} {metric}: {outside} in 400 calls");
        assert_eq!(found, searcher.search(&frames, 8, &params).unwrap(), "{factory} {metric}");
    }
}
