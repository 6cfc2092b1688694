//! The CPU engine: every stage with rayon over rows and the widest SIMD that the machine has.

mod distance;
mod product;

pub(super) mod centroid_update;
pub(super) mod exact_topk;
pub(super) mod nearest_centroid;
pub(super) mod nearest_probes;
pub(super) mod select_topk;

/// What the engine runs on, for a person to read: "CPU x86_64 V3, 2 threads".
pub(super) fn describe() -> String {
    let simd = format!("{:?}", pulp::Arch::new());
    // Behind the level stand all the instruction sets in it.
    let level = simd.split('(').next().unwrap_or_default();
    format!("CPU {} {level}, {} threads", std::env::consts::ARCH, rayon::current_num_threads())
}
