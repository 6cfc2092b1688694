//! Product quantizers on a device: codebooks and codes.

use std::sync::Arc;

use super::buffer::{Assignment, Buffer, CentroidTable};

/// Centroids a sub-quantizer: what a code of 4 bits can name.
pub const CENTROIDS: usize = 16;

/// Codes in a word of a device's codes.
pub(crate) const CODES_A_WORD: usize = 8;

/// A coarse quantizer and the rows' places in it, whose residuals are quantized instead of the rows.
pub(crate) type ResidualsOf<'a> = (&'a CentroidTable, &'a Assignment);

/// Codebooks of a 4-bit product quantizer on one device: 16 centroids for each of M sub-vectors.
#[derive(Clone, Debug)]
pub struct Codebooks {
    /// As faiss has them on the CPU, \[M\]\[16\]\[dsub\]; \[dsub\]\[4\]\[M\]\[4\] on a GPU, where neighbouring
    /// invocations have neighbouring sub-vectors.
    pub(crate) data: Buffer<f32>,
    /// \[M\]\[dsub\]\[16\] on the CPU engine, where a SIMD lane is a centroid; empty on a GPU.
    pub(crate) columns: Arc<Vec<[f32; CENTROIDS]>>,
    pub(crate) m: usize,
    pub(crate) dsub: usize,
}

impl Codebooks {
    /// Number of sub-quantizers (M).
    pub fn m(&self) -> usize {
        self.m
    }

    /// Floats a sub-vector.
    pub fn dsub(&self) -> usize {
        self.dsub
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.m * self.dsub
    }

    /// Words of codes a row.
    pub fn words(&self) -> usize {
        self.m.div_ceil(CODES_A_WORD)
    }
}

/// faiss's flat codes, ⌈M/2⌉ bytes a row with the even sub-quantizers in the low nibbles, of codes as
/// [`Device::pq_encode`](crate::device::Device::pq_encode) packs them.
pub fn flat_codes(words: &[u32], m: usize) -> Vec<u8> {
    let row = |row: &[u32]| row.iter().flat_map(|word| word.to_le_bytes()).take(m.div_ceil(2)).collect::<Vec<_>>();
    words.chunks(m.div_ceil(CODES_A_WORD).max(1)).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_codes_leave_out_what_a_row_does_not_fill() {
        assert_eq!(flat_codes(&[0x0000_0321, 0x0000_0054], 3), [0x21, 0x03, 0x54, 0x00]);
        assert_eq!(flat_codes(&[0x8765_4321, 0x0000_0009], 9), [0x21, 0x43, 0x65, 0x87, 0x09]);
        assert_eq!(flat_codes(&[], 3), [0; 0]);
        assert_eq!(flat_codes(&[1], 0), [0; 0]);
    }
}
