//! The sums of a block of 4-bit codes under several queries' u8 tables, by the widest byte look-up of the machine: 64
//! look-ups an instruction with AVX-512, 32 with AVX2, 16 with NEON, else one.

use std::sync::OnceLock;

use crate::device::data::codes::BLOCK_ROWS;
use crate::device::simd::{Level, allowed};

/// Queries for which a block is read once.
pub(super) const QUERIES: usize = 8;

/// What is asked of a block.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    /// As long as the block: [pair of sub-quantizers][2][16].
    pub table: &'a [u8],
    /// Added to every sum.
    pub bias: u32,
    /// Keys above this one are of no interest.
    pub bound: u32,
}

/// Keys of a block's rows; the smallest is the best.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub keys: [u32; BLOCK_ROWS],
    /// Bit i is set where key i is within the bound.
    pub within: u32,
}

impl Keys {
    pub const NONE: Self = Self { keys: [0; BLOCK_ROWS], within: 0 };

    #[inline(always)]
    fn of(sums: [u32; BLOCK_ROWS], ask: &Ask, flip: u32) -> Self {
        let keys = sums.map(|sum| (sum + ask.bias) ^ flip);
        let within = keys.iter().enumerate().fold(0, |within, (i, &key)| within | u32::from(key <= ask.bound) << i);
        Self { keys, within }
    }
}

/// Finds the keys of a block for up to [`QUERIES`] queries. A key is sum + bias with the bits of `flip` turned over: all
/// of them where the largest sum is the best.
pub(super) type BlockSums = fn(block: &[u8], asks: &[Ask], flip: u32, keys: &mut [Keys]);

/// The fastest one of this machine.
pub(super) fn block_sums() -> BlockSums {
    static FASTEST: OnceLock<BlockSums> = OnceLock::new();
    *FASTEST.get_or_init(|| all().swap_remove(0))
}

/// All that this machine can run, the fastest first.
fn all() -> Vec<BlockSums> {
    let mut all: Vec<BlockSums> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if allowed(Level::Vnni)
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni")
        {
            // SAFETY: the machine has what the function is compiled for.
            all.push(|block, asks, flip, keys| unsafe { avx512::block_sums(block, asks, flip, keys) });
        }
        if allowed(Level::V3) && is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has what the function is compiled for.
            all.push(|block, asks, flip, keys| unsafe { avx2::block_sums(block, asks, flip, keys) });
        }
    }
    #[cfg(target_arch = "aarch64")]
    if allowed(Level::V3) && std::arch::is_aarch64_feature_detected!("neon") {
        // SAFETY: the machine has what the function is compiled for.
        all.push(|block, asks, flip, keys| unsafe { neon::block_sums(block, asks, flip, keys) });
    }
    all.push(scalar);
    all
}

/// Splits queries into groups of 8, 4, 2 and 1, for each of which a function is compiled.
macro_rules! in_groups {
    ($asks:ident, $keys:ident, |$some:ident, $out:ident| $sums:expr, [$($size:literal),+]) => {
        let mut at = 0;
        $(while let (Some($some), Some($out)) =
            ($asks[at..].first_chunk::<$size>(), $keys[at..].first_chunk_mut::<$size>())
        {
            $sums;
            at += $size;
        })+
    };
}

/// The place among the 16 bytes of a half-pair that holds row `row` of a half-block.
const fn place_of(row: usize) -> usize {
    row % 8 * 2 + row / 8
}

fn scalar(block: &[u8], asks: &[Ask], flip: u32, keys: &mut [Keys]) {
    for (ask, keys) in asks.iter().zip(keys) {
        let mut sums = [0; BLOCK_ROWS];
        for (codes, table) in block.chunks_exact(16).zip(ask.table.chunks_exact(16)) {
            for row in 0..16 {
                let code = codes[place_of(row)];
                sums[row] += u32::from(table[usize::from(code & 15)]);
                sums[16 + row] += u32::from(table[usize::from(code >> 4)]);
            }
        }
        *keys = Keys::of(sums, ask, flip);
    }
}

/// A look-up among 64 bytes serves four sub-quantizers. Their codes are brought side by side, row by row, once for all
/// queries; then one instruction adds the four entries of each of 16 rows to a 32-bit sum.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use pulp::cast;

    use super::{Ask, BLOCK_ROWS, Keys, place_of};

    /// Byte 4 · row + s is that of sub-quantizer s.
    const BY_ROW: [u8; 64] = {
        let mut order = [0; 64];
        let mut i = 0;
        while i < 64 {
            order[i] = (16 * (i % 4) + place_of(i / 4)) as u8;
            i += 1;
        }
        order
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
    pub(super) fn block_sums(block: &[u8], asks: &[Ask], flip: u32, keys: &mut [Keys]) {
        in_groups!(asks, keys, |some, out| group(block, some, flip, out), [8, 4, 2, 1]);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
    fn group<const Q: usize>(block: &[u8], asks: &[Ask; Q], flip: u32, keys: &mut [Keys; Q]) {
        let mut low = [_mm512_setzero_si512(); Q];
        let mut high = low;
        let (codes, codes_rest) = block.as_chunks::<64>();
        let tables = asks.map(|ask| &ask.table.as_chunks::<64>().0[..codes.len()]);
        for (i, &codes) in codes.iter().enumerate() {
            add(codes, &tables.map(|table| table[i]), &mut low, &mut high);
        }
        if !codes_rest.is_empty() {
            // Half of a chunk: what is missing has entries of 0.
            let padded = |bytes: &[u8]| {
                let mut chunk = [0; 64];
                chunk[..32].copy_from_slice(&bytes[bytes.len() - 32..]);
                chunk
            };
            add(padded(block), &asks.map(|ask| padded(ask.table)), &mut low, &mut high);
        }
        let flip = _mm512_set1_epi32(flip as i32);
        for (((ask, keys), low), high) in asks.iter().zip(keys).zip(low).zip(high) {
            let [bias, bound] = [ask.bias, ask.bound].map(|x| _mm512_set1_epi32(x as i32));
            let [low, high] = [low, high].map(|sums| _mm512_xor_si512(_mm512_add_epi32(sums, bias), flip));
            let within = [low, high].map(|keys| u32::from(_mm512_cmple_epu32_mask(keys, bound)));
            keys.within = within[0] | within[1] << 16;
            if keys.within != 0 {
                keys.keys = cast::<[__m512i; 2], [u32; BLOCK_ROWS]>([low, high]);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
    fn add<const Q: usize>(codes: [u8; 64], tables: &[[u8; 64]; Q], low: &mut [__m512i; Q], high: &mut [__m512i; Q]) {
        const AND_OR: i32 = 0xea;
        let (nibble, ones) = (_mm512_set1_epi8(15), _mm512_set1_epi8(1));
        // Sub-quantizer s looks up among bytes 16 · s to 16 · s + 15.
        let part = _mm512_set1_epi32(0x3020_1000);
        let codes = _mm512_permutexvar_epi8(cast(BY_ROW), cast(codes));
        let low_codes = _mm512_ternarylogic_epi32::<AND_OR>(codes, nibble, part);
        let high_codes = _mm512_ternarylogic_epi32::<AND_OR>(_mm512_srli_epi32::<4>(codes), nibble, part);
        for q in 0..Q {
            let table: __m512i = cast(tables[q]);
            low[q] = _mm512_dpbusd_epi32(low[q], _mm512_permutexvar_epi8(low_codes, table), ones);
            high[q] = _mm512_dpbusd_epi32(high[q], _mm512_permutexvar_epi8(high_codes, table), ones);
        }
    }
}

/// A register holds the 16 bytes of an even sub-quantizer and the 16 of an odd one, another their tables, so that one
/// shuffle looks up 32 entries. They are added up in 16 bits: words, whose low bytes carry into the high ones, and the
/// high bytes by themselves, from which both are known in the end.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use pulp::cast;

    use super::{Ask, BLOCK_ROWS, Keys};

    /// Bytes of codes that are added up in 16 bits: 256 entries of at most 255 a lane stay below 2¹⁶.
    const CHUNK: usize = 256 * 32;

    #[target_feature(enable = "avx2")]
    pub(super) fn block_sums(block: &[u8], asks: &[Ask], flip: u32, keys: &mut [Keys]) {
        in_groups!(asks, keys, |some, out| group(block, some, flip, out), [2, 1]);
    }

    #[target_feature(enable = "avx2")]
    fn group<const Q: usize>(block: &[u8], asks: &[Ask; Q], flip: u32, keys: &mut [Keys; Q]) {
        let mut sums = [[0; BLOCK_ROWS]; Q];
        for (number, codes) in block.chunks(CHUNK).enumerate() {
            let tables = asks.map(|ask| &ask.table[number * CHUNK..][..codes.len()]);
            add_chunk(codes, tables, &mut sums);
        }
        for ((ask, keys), sums) in asks.iter().zip(keys).zip(sums) {
            *keys = Keys::of(sums, ask, flip);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_chunk<const Q: usize>(codes: &[u8], tables: [&[u8]; Q], sums: &mut [[u32; BLOCK_ROWS]; Q]) {
        let nibble = _mm256_set1_epi8(15);
        // Words and high bytes, of the low nibbles and of the high ones.
        let mut parts = [[[_mm256_setzero_si256(); 2]; 2]; Q];
        let codes = codes.as_chunks::<32>().0;
        let tables = tables.map(|table| &table.as_chunks::<32>().0[..codes.len()]);
        for (i, &codes) in codes.iter().enumerate() {
            let codes: __m256i = cast(codes);
            let low = _mm256_and_si256(codes, nibble);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
            for (parts, table) in parts.iter_mut().zip(tables) {
                let table: __m256i = cast(table[i]);
                for (codes, [words, high_bytes]) in [low, high].into_iter().zip(parts) {
                    let entries = _mm256_shuffle_epi8(table, codes);
                    *words = _mm256_add_epi16(*words, entries);
                    *high_bytes = _mm256_add_epi16(*high_bytes, _mm256_srli_epi16::<8>(entries));
                }
            }
        }
        for (sums, parts) in sums.iter_mut().zip(parts) {
            for (half, [words, high_bytes]) in sums.as_chunks_mut::<16>().0.iter_mut().zip(parts) {
                let low_bytes = _mm256_sub_epi16(words, _mm256_slli_epi16::<8>(high_bytes));
                for (sums, part) in half.as_chunks_mut::<8>().0.iter_mut().zip([low_bytes, high_bytes]) {
                    // Even sub-quantizers lie in the lower half, odd ones in the upper half.
                    let even = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(part));
                    let odd = _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(part));
                    *sums = cast(_mm256_add_epi32(cast(*sums), _mm256_add_epi32(even, odd)));
                }
            }
        }
    }
}

/// A shuffle looks up the 16 entries of a half-pair, which are added up in 16 bits.
#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use pulp::cast;

    use super::{Ask, BLOCK_ROWS, Keys, place_of};

    /// Bytes of codes that are added up in 16 bits: 256 entries of at most 255 a lane stay below 2¹⁶.
    const CHUNK: usize = 256 * 16;

    #[target_feature(enable = "neon")]
    pub(super) fn block_sums(block: &[u8], asks: &[Ask], flip: u32, keys: &mut [Keys]) {
        in_groups!(asks, keys, |some, out| group(block, some, flip, out), [4, 2, 1]);
    }

    #[target_feature(enable = "neon")]
    fn group<const Q: usize>(block: &[u8], asks: &[Ask; Q], flip: u32, keys: &mut [Keys; Q]) {
        let mut sums = [[0; BLOCK_ROWS]; Q];
        for (number, codes) in block.chunks(CHUNK).enumerate() {
            let tables = asks.map(|ask| &ask.table[number * CHUNK..][..codes.len()]);
            add_chunk(codes, tables, &mut sums);
        }
        for ((ask, keys), sums) in asks.iter().zip(keys).zip(sums) {
            *keys = Keys::of(sums, ask, flip);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn add_chunk<const Q: usize>(codes: &[u8], tables: [&[u8]; Q], sums: &mut [[u32; BLOCK_ROWS]; Q]) {
        // The first 8 places and the others, of the low nibbles and of the high ones.
        let mut parts = [[[vdupq_n_u16(0); 2]; 2]; Q];
        let codes = codes.as_chunks::<16>().0;
        let tables = tables.map(|table| &table.as_chunks::<16>().0[..codes.len()]);
        for (i, &codes) in codes.iter().enumerate() {
            let codes: uint8x16_t = cast(codes);
            let nibbles = [vandq_u8(codes, vdupq_n_u8(15)), vshrq_n_u8::<4>(codes)];
            for (parts, table) in parts.iter_mut().zip(tables) {
                let table: uint8x16_t = cast(table[i]);
                for (codes, [first, second]) in nibbles.into_iter().zip(parts) {
                    let entries = vqtbl1q_u8(table, codes);
                    *first = vaddw_u8(*first, vget_low_u8(entries));
                    *second = vaddw_high_u8(*second, entries);
                }
            }
        }
        for (sums, parts) in sums.iter_mut().zip(parts) {
            for (half, parts) in sums.as_chunks_mut::<16>().0.iter_mut().zip(parts) {
                let by_place: [u16; 16] = cast(parts);
                for (row, sum) in half.iter_mut().enumerate() {
                    *sum += u32::from(by_place[place_of(row)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_adds_up_the_same() {
        for pairs in [1, 2, 3, 64, 127, 128, 129, 255, 256, 257, 600] {
            let block: Vec<u8> = (0..pairs * 32).map(|i| (i * 37 + i / 7) as u8).collect();
            let tables: Vec<Vec<u8>> =
                (0..QUERIES).map(|q| (0..pairs * 32).map(|i| 255 - (i * q % 7) as u8).collect()).collect();
            for queries in 1..=QUERIES {
                for (flip, bound) in [(0, u32::MAX), (u32::MAX, !(pairs as u32 * 2 * 254))] {
                    let asks: Vec<_> =
                        tables[..queries].iter().zip(7..).map(|(table, bias)| Ask { table, bias, bound }).collect();
                    let mut expected = [Keys::NONE; QUERIES];
                    scalar(&block, &asks, flip, &mut expected);
                    for (path, block_sums) in all().into_iter().enumerate() {
                        let mut found = [Keys::NONE; QUERIES];
                        block_sums(&block, &asks, flip, &mut found);
                        for (found, expected) in found.iter().zip(&expected).take(queries) {
                            assert_eq!(found.within, expected.within, "path {path}, {pairs} pairs, {queries} queries");
                            assert!(found.within == 0 || found.keys == expected.keys, "path {path}, {pairs} pairs");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_worked_out_by_hand() {
        // Row 3 has code 5 of sub-quantizer 0 and 9 of sub-quantizer 1; row 19 has 2 and 14; the others 0 and 0.
        let (mut block, mut table) = ([0u8; 32], [0u8; 32]);
        block[6] = 2 << 4 | 5;
        block[16 + 6] = 14 << 4 | 9;
        table[5] = 100;
        table[16 + 9] = 7;
        table[2] = 50;
        table[16 + 14] = 200;
        for block_sums in all() {
            let mut keys = [Keys::NONE];
            block_sums(&block, &[Ask { table: &table, bias: 1000, bound: 1200 }], 0, &mut keys);
            assert_eq!((keys[0].keys[3], keys[0].keys[19], keys[0].keys[0]), (1107, 1250, 1000));
            assert_eq!(keys[0].within, !(1 << 19));
        }
    }
}
