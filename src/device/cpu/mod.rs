//! The CPU engine: every stage with rayon over rows and the widest SIMD that the machine has.

mod block_sums;
mod pruning;
mod smallest;
mod workspace;

pub(super) mod blend;
pub(super) mod centroid_means;
pub(super) mod centroid_table;
pub(super) mod centroid_update;
pub(super) mod codebooks;
pub(super) mod distance_subset;
pub(super) mod exact_topk;
pub(super) mod fast_scan;
pub(super) mod l2_normalize;
pub(super) mod list_ranges;
pub(super) mod lookup_tables;
pub(super) mod nearest_centroid;
pub(super) mod nearest_probes;
pub(super) mod pq_encode;
pub(super) mod pq_update;
pub(super) mod select_topk;

use super::{pool, simd};

/// What the engine runs on, for a person to read: "CPU engine (x86_64 with AVX2, 2 threads)".
pub(super) fn describe() -> String {
    let simd = format!("{:?}", simd::arch());
    let simd = match simd.split('(').next() {
        Some("V4") => "AVX-512",
        Some("V3") => "AVX2",
        Some("Scalar") => "no SIMD",
        Some(other) => other,
        None => "",
    };
    let threads = pool::ready().map_or(1, |()| rayon::current_num_threads());
    format!("CPU engine ({} with {simd}, {threads} threads)", std::env::consts::ARCH)
}
