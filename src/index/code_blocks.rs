//! 4-bit codes in the order that faiss scans them in.

use std::ops::Range;
use std::sync::Arc;

use crate::device::BLOCK_ROWS;
use crate::error::{Error, Result};
use crate::memory;

/// Codes of M × 4 bits in blocks of 32 rows. A block holds 32 bytes for each pair of sub-quantizers: 16 for the even
/// one, then 16 for the odd one, and in a byte one row's code below that of the 16th row after it. An odd M has an empty
/// sub-quantizer behind it.
///
/// A row is at a place: the number of its block times 32, plus its number in the block.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeBlocks {
    m: usize,
    /// Shared with a searcher on the CPU engine.
    bytes: Arc<Vec<u8>>,
}

const CODES: &str = "the codes of the index";

impl CodeBlocks {
    /// Blocks as they lie in a faiss file.
    ///
    /// # Errors
    /// [`Error::Parameter`] where M is 0 or the last block is not whole.
    pub fn new(m: usize, bytes: Vec<u8>) -> Result<Self> {
        check_m(m)?;
        let blocks = Self { m, bytes: Arc::new(bytes) };
        if !blocks.bytes.len().is_multiple_of(blocks.block_bytes()) {
            let found = format!("{} bytes for blocks of {}", blocks.bytes.len(), blocks.block_bytes());
            return Err(Error::parameter("blocks", found, "pass whole blocks"));
        }
        Ok(blocks)
    }

    /// Blocks of nothing but zeros; M is not 0.
    pub(super) fn zeroed(m: usize, blocks: usize) -> Result<Self> {
        let bytes = memory::zeros(blocks.saturating_mul(BLOCK_ROWS * m.div_ceil(2)), CODES)?;
        Ok(Self { m, bytes: Arc::new(bytes) })
    }

    /// Number of sub-quantizers, M.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Bytes of a row's flat code: the low nibble of a byte is for the even sub-quantizer.
    pub fn code_size(&self) -> usize {
        self.m.div_ceil(2)
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        BLOCK_ROWS * self.code_size()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.bytes.len() / self.block_bytes()
    }

    /// The blocks, one behind the other.
    pub fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// The flat codes of the rows at the given places.
    pub fn unpack(&self, places: Range<usize>) -> Vec<u8> {
        let mut codes = Vec::with_capacity(places.len() * self.code_size());
        for place in places {
            let (at, shift) = lane(place);
            let block = self.bytes.chunks_exact(self.block_bytes()).nth(place / BLOCK_ROWS).unwrap_or_default();
            let nibbles = block.chunks_exact(BLOCK_ROWS).map(|pair| [pair[at], pair[at + 16]]);
            codes.extend(nibbles.map(|[even, odd]| (even >> shift & 15) | (odd >> shift & 15) << 4));
        }
        codes
    }

    /// Packs one flat code after the other to the given places, over what is there.
    pub(super) fn pack(&mut self, places: impl Iterator<Item = usize>, codes: &[u8]) {
        let (code_size, block_bytes) = (self.code_size(), self.block_bytes());
        let bytes = Arc::<Vec<u8>>::make_mut(&mut self.bytes);
        for (code, place) in codes.chunks_exact(code_size).zip(places) {
            let (at, shift) = lane(place);
            let block = &mut bytes[place / BLOCK_ROWS * block_bytes..][..block_bytes];
            for (pair, code) in block.chunks_exact_mut(BLOCK_ROWS).zip(code) {
                for (byte, nibble) in [(at, code & 15), (at + 16, code >> 4)] {
                    pair[byte] = pair[byte] & !(15 << shift) | nibble << shift;
                }
            }
        }
    }

    /// Makes room for so many blocks in all. The new ones are zeros.
    pub(super) fn grow(&mut self, blocks: usize) -> Result<()> {
        let len = blocks * self.block_bytes();
        let bytes = Arc::<Vec<u8>>::make_mut(&mut self.bytes);
        memory::reserve(bytes, len.saturating_sub(bytes.len()), CODES)?;
        bytes.resize(len, 0);
        Ok(())
    }

    /// Copies whole blocks from the start of `from` on to the block `to`.
    pub(super) fn copy_blocks(&mut self, to: usize, from: &[u8]) {
        let start = to * self.block_bytes();
        Arc::<Vec<u8>>::make_mut(&mut self.bytes)[start..start + from.len()].copy_from_slice(from);
    }
}

/// Fails for flat codes that are no whole codes of M sub-quantizers; returns how many they are.
pub(super) fn count_codes(m: usize, codes: &[u8]) -> Result<usize> {
    check_m(m)?;
    let code_size = m.div_ceil(2);
    if !codes.len().is_multiple_of(code_size) {
        let found = format!("{} bytes for M = {m}", codes.len());
        return Err(Error::parameter("codes", found, format!("pass {code_size} bytes a row")));
    }
    Ok(codes.len() / code_size)
}

fn check_m(m: usize) -> Result<()> {
    if m == 0 { Err(Error::parameter("M", 0, "cut a row into at least one part")) } else { Ok(()) }
}

/// Where a place has its code among the 16 bytes of a sub-quantizer, and how far up in the byte. Rows 0 to 7 and 8 to 15
/// alternate, as faiss's 16-bit sums of even and odd bytes want them.
fn lane(place: usize) -> (usize, u32) {
    let row = place % 16;
    (row % 8 * 2 + row / 8, if place % BLOCK_ROWS < 16 { 0 } else { 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row v has the codes v and 15 − v (both up to 15, then the other way round) and v / 16, as far as M goes.
    fn codes(m: usize, rows: u8) -> Vec<u8> {
        let flat = |v: u8| {
            let (up, down) = (v % 16, 15 - v % 16);
            let first = if v < 16 { up | down << 4 } else { down | up << 4 };
            [first, v / 16].into_iter().take(m.div_ceil(2))
        };
        (0..rows).flat_map(flat).collect()
    }

    fn packed(m: usize, rows: u8) -> CodeBlocks {
        let rows_before = usize::from(rows / 2);
        let codes = codes(m, rows);
        let (before, behind) = codes.split_at(rows_before * m.div_ceil(2));
        let mut blocks = CodeBlocks::zeroed(m, rows_before.div_ceil(BLOCK_ROWS)).unwrap();
        blocks.pack(0.., before);
        blocks.grow(usize::from(rows).div_ceil(BLOCK_ROWS)).unwrap();
        blocks.pack(rows_before.., behind);
        blocks
    }

    /// Rows 0, 8, 1, 9, … 7, 15 in the low nibbles and 16, 24, 17, 25, … 23, 31 in the high ones.
    const FIRST: [u8; 16] =
        [0xf0, 0x78, 0xe1, 0x69, 0xd2, 0x5a, 0xc3, 0x4b, 0xb4, 0x3c, 0xa5, 0x2d, 0x96, 0x1e, 0x87, 0x0f];
    const SECOND: [u8; 16] =
        [0x0f, 0x87, 0x1e, 0x96, 0x2d, 0xa5, 0x3c, 0xb4, 0x4b, 0xc3, 0x5a, 0xd2, 0x69, 0xe1, 0x78, 0xf0];

    #[test]
    fn a_block_has_the_layout_of_faiss() {
        assert_eq!(***packed(2, 32).bytes(), [FIRST, SECOND].concat());
        assert_eq!(***packed(3, 32).bytes(), [FIRST, SECOND, [0x10; 16], [0; 16]].concat());
    }

    #[test]
    fn an_unfilled_block_ends_in_zeros() {
        // Row 31 is the high nibble of the last byte; row 32 opens the next block.
        let (mut first, mut second) = (FIRST, SECOND);
        (first[15], second[15]) = (0x0f, 0x00);
        assert_eq!(***packed(2, 31).bytes(), [first, second].concat());
        let mut third = [0; 64];
        (third[0], third[16], third[32]) = (0x0f, 0x00, 0x02);
        assert_eq!(packed(3, 33).bytes()[64..], third);
        assert!(packed(3, 0).bytes().is_empty());
    }

    #[test]
    fn codes_come_back() {
        for m in [1, 2, 3, 4] {
            for rows in [0, 1, 2, 31, 32, 33, 63, 64, 65, 100] {
                let codes = codes(m, rows);
                let blocks = packed(m, rows);
                assert_eq!(blocks.unpack(0..rows.into()), codes, "M = {m}, {rows} rows");
                assert_eq!(CodeBlocks::new(m, blocks.bytes().to_vec()).unwrap(), blocks, "M = {m}, {rows} rows");
            }
        }
    }

    #[test]
    fn packing_replaces_what_was_there() {
        let mut blocks = CodeBlocks::new(3, vec![0xff; 64]).unwrap();
        blocks.pack(0.., &codes(3, 32));
        assert_eq!(blocks, packed(3, 32));
    }

    #[test]
    fn blocks_are_whole() {
        for (m, bytes) in [(0, 0), (3, 63), (4, 32)] {
            assert!(CodeBlocks::new(m, vec![0; bytes]).unwrap_err().is_usage(), "M = {m}, {bytes} bytes");
        }
    }
}
