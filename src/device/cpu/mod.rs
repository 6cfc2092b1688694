//! The CPU engine: every stage with rayon over rows and the widest SIMD that the machine has.

mod distance;
mod product;

pub(super) mod centroid_update;
pub(super) mod exact_topk;
pub(super) mod nearest_centroid;
pub(super) mod nearest_probes;
pub(super) mod select_topk;

/// What the engine runs on, for a person to read: "x86_64 V3 (AVX2), 2 threads".
pub(super) fn describe() -> String {
    format!("{} {:?}, {} threads", std::env::consts::ARCH, pulp::Arch::new(), rayon::current_num_threads())
}
