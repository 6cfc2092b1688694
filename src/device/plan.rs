//! How many rows go to a device at a time.

use super::DeviceType;
use super::data::method::Tile;
use super::gpu::{UPDATE_BLOCK, stride_of};
use crate::memory::free_memory;

/// Bytes of rows a batch where nothing else bounds it: enough to keep a device busy, little beside a voice.
const BATCH_BYTES: u64 = 32 << 20;
/// Where memory is short, a batch takes one part in so many of what may stay, for there are several at a time.
const BATCHES_RESIDENT: u64 = 8;
/// Smaller batches would cost more time than they save memory.
const LEAST_BATCH_BYTES: u64 = 1 << 20;
/// Rows that stay on a GPU across passes take at most this much of it, which no API tells the free memory of.
const RESIDENT_BYTES: u64 = 1 << 30;
/// The same with memory of its own.
const RESIDENT_BYTES_DISCRETE: u64 = 2 << 30;
/// On the CPU engine they take at most one part in so many of the free memory: an index of the rows comes after them and
/// takes as much, and their sketches take up to a third of it.
const SHARE_OF_FREE: u64 = 2;
/// Workgroups in one dimension of a dispatch, by WebGPU's defaults.
const MAX_WORKGROUPS: u64 = 65_535;

/// Rows a batch, and whether the batches stay on the device between passes over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    /// Rows a batch; the last one may have fewer.
    pub batch_rows: usize,
    /// True where all batches together stay on the device.
    pub resident: bool,
}

impl BatchPlan {
    /// Plans passes over `rows` × `dim` that assign to `nlist` centroids on a device whose largest binding is
    /// `max_binding` bytes and where rows of `max_resident` bytes may stay. `requested` rows are taken where they fit; a
    /// caller who asks bounds the memory, so nothing stays resident.
    pub fn new(
        rows: usize,
        dim: usize,
        nlist: usize,
        requested: Option<usize>,
        max_binding: u64,
        max_resident: u64,
    ) -> Self {
        let row_bytes = 4 * stride_of(dim) as u64;
        let batch_bytes = (max_resident / BATCHES_RESIDENT).clamp(LEAST_BATCH_BYTES, BATCH_BYTES);
        let wanted = requested.map_or(batch_bytes.div_ceil(row_bytes), |rows| rows as u64);
        let by_rows = max_binding / row_bytes;
        // The counting sort of centroid_update keeps a histogram a block beside the starts and the sorted rows.
        let words = (max_binding / 4).saturating_sub(nlist as u64 + 1);
        let by_histogram =
            words / (1 + (nlist as u64).div_ceil(UPDATE_BLOCK as u64)) / UPDATE_BLOCK as u64 * UPDATE_BLOCK as u64;
        let fits = by_rows.min(by_histogram).min(MAX_WORKGROUPS * Tile::LEAST_ROWS as u64);
        let batch_rows = wanted.min(fits).clamp(1, rows.max(1) as u64) as usize;
        let resident = requested.is_none() && rows as u64 * row_bytes <= max_resident;
        Self { batch_rows, resident }
    }
}

/// Bytes of rows that may stay on a device of this type.
pub(super) fn max_resident(device_type: DeviceType) -> u64 {
    match device_type {
        DeviceType::DiscreteGpu => RESIDENT_BYTES_DISCRETE,
        DeviceType::Cpu => cpu_resident(free_memory()),
        _ => RESIDENT_BYTES,
    }
}

/// The same on the CPU engine where `free` bytes are free; 0 where the system does not tell.
fn cpu_resident(free: u64) -> u64 {
    if free == 0 { RESIDENT_BYTES } else { free / SHARE_OF_FREE }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_BINDING: u64 = 128 << 20;

    fn plan(rows: usize, dim: usize, nlist: usize, requested: Option<usize>) -> BatchPlan {
        BatchPlan::new(rows, dim, nlist, requested, DEFAULT_BINDING, RESIDENT_BYTES)
    }

    #[test]
    fn batches_of_32_mib() {
        let plan = BatchPlan::new(1_000_000, 768, 3000, None, u64::MAX, RESIDENT_BYTES);
        assert_eq!(plan, BatchPlan { batch_rows: (32 << 20) / (768 * 4) + 1, resident: false });
    }

    #[test]
    fn batches_shrink_with_the_memory() {
        let rows = |max_resident| BatchPlan::new(1_000_000, 256, 100, None, u64::MAX, max_resident).batch_rows;
        assert_eq!([1 << 30, 256 << 20, 40 << 20, 0].map(rows), [32 << 10, 32 << 10, 5 << 10, 1 << 10]);
    }

    #[test]
    fn a_voice_stays_on_the_device_and_a_long_one_does_not() {
        assert!(plan(125_000, 768, 3205, None).resident);
        assert!(!plan(4_000_000, 768, 9000, None).resident);
        assert!(!plan(1000, 768, 20, Some(100)).resident);
    }

    #[test]
    fn the_cpu_engine_keeps_what_the_free_memory_allows() {
        // Half of what is free, however little that is.
        assert_eq!([90 << 20, 8 << 30, 0].map(cpu_resident), [45 << 20, 4 << 30, 1 << 30]);
        assert!(max_resident(DeviceType::Cpu) <= 1 << 50);
        let row_bytes = 4 * 768;
        for (rows, resident) in [(1000, true), (1001, false)] {
            let plan = BatchPlan::new(rows, 768, 20, None, u64::MAX, 1000 * row_bytes);
            assert_eq!(plan.resident, resident, "{rows}");
        }
    }

    #[test]
    fn a_batch_fits_every_binding() {
        for (dim, nlist, requested) in [(1, 1, None), (768, 10_000, Some(1 << 30)), (257, 1_000_000, Some(1 << 20))] {
            let plan = plan(1 << 30, dim, nlist, requested);
            let rows = plan.batch_rows;
            assert!(rows >= 1 && rows * stride_of(dim) * 4 <= 128 << 20, "{plan:?}");
            assert!((rows.div_ceil(UPDATE_BLOCK) * nlist + nlist + 1 + rows) * 4 <= 128 << 20, "{plan:?}");
        }
    }

    #[test]
    fn small_inputs_are_one_batch() {
        assert_eq!(plan(10, 4, 2, None).batch_rows, 10);
        assert_eq!(plan(0, 4, 2, None).batch_rows, 1);
        assert_eq!(plan(10, 4, 2, Some(3)).batch_rows, 3);
    }
}
