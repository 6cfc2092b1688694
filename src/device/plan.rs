//! How many rows go to a device at a time.

use super::gpu::{BLOCK, Tile, stride_of};

/// Bytes of rows a batch where nothing else bounds it: enough to keep a device busy, little beside a voice.
const BATCH_BYTES: u64 = 32 << 20;
/// Rows that stay on a device across passes take at most this much of it.
const RESIDENT_BYTES: u64 = 1 << 30;
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
    /// `max_binding` bytes. `requested` rows are taken where they fit; a caller who asks bounds the memory, so nothing
    /// stays resident.
    pub fn new(rows: usize, dim: usize, nlist: usize, requested: Option<usize>, max_binding: u64) -> Self {
        let row_bytes = 4 * stride_of(dim) as u64;
        let wanted = requested.map_or(BATCH_BYTES.div_ceil(row_bytes), |rows| rows as u64);
        let by_rows = max_binding / row_bytes;
        // The counting sort of centroid_update keeps a histogram a block beside the starts and the sorted rows.
        let words = (max_binding / 4).saturating_sub(nlist as u64 + 1);
        let by_histogram = words / (1 + (nlist as u64).div_ceil(BLOCK as u64)) / BLOCK as u64 * BLOCK as u64;
        let fits = by_rows.min(by_histogram).min(MAX_WORKGROUPS * Tile::LEAST_ROWS as u64);
        let batch_rows = wanted.min(fits).clamp(1, rows.max(1) as u64) as usize;
        let resident = requested.is_none() && rows as u64 * row_bytes <= RESIDENT_BYTES;
        Self { batch_rows, resident }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_BINDING: u64 = 128 << 20;

    #[test]
    fn batches_of_32_mib() {
        let plan = BatchPlan::new(1_000_000, 768, 3000, None, u64::MAX);
        assert_eq!(plan, BatchPlan { batch_rows: (32 << 20) / (768 * 4) + 1, resident: false });
    }

    #[test]
    fn a_voice_stays_on_the_device_and_a_long_one_does_not() {
        assert!(BatchPlan::new(125_000, 768, 3205, None, DEFAULT_BINDING).resident);
        assert!(!BatchPlan::new(4_000_000, 768, 9000, None, DEFAULT_BINDING).resident);
        assert!(!BatchPlan::new(1000, 768, 20, Some(100), DEFAULT_BINDING).resident);
    }

    #[test]
    fn a_batch_fits_every_binding() {
        for (dim, nlist, requested) in [(1, 1, None), (768, 10_000, Some(1 << 30)), (257, 1_000_000, Some(1 << 20))] {
            let plan = BatchPlan::new(1 << 30, dim, nlist, requested, DEFAULT_BINDING);
            let rows = plan.batch_rows;
            assert!(rows >= 1 && rows * stride_of(dim) * 4 <= 128 << 20, "{plan:?}");
            assert!((rows.div_ceil(BLOCK) * nlist + nlist + 1 + rows) * 4 <= 128 << 20, "{plan:?}");
        }
    }

    #[test]
    fn small_inputs_are_one_batch() {
        assert_eq!(BatchPlan::new(10, 4, 2, None, u64::MAX).batch_rows, 10);
        assert_eq!(BatchPlan::new(0, 4, 2, None, u64::MAX).batch_rows, 1);
        assert_eq!(BatchPlan::new(10, 4, 2, Some(3), DEFAULT_BINDING).batch_rows, 3);
    }
}
