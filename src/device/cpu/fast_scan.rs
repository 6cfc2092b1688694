//! Sums of u8 look-up tables over 4-bit codes: 16 look-ups an instruction where the machine has a byte shuffle.

use rayon::prelude::*;

use super::select_topk::Smallest;
use crate::device::codes::{BLOCK_ROWS, CodeParts, CodeSet, ScanRequest, ScanTopK, key_of};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// Queries that one thread takes at a time.
const QUERIES: usize = 16;

pub(crate) fn fast_scan(codes: &CodeSet, request: &ScanRequest, metric: Metric, k: usize) -> Result<ScanTopK> {
    let CodeParts::Host(data) = &codes.parts else { return Err(Error::ForeignBuffer { stage: "fast_scan" }) };
    let data = data.host("fast_scan")?;
    let queries = request.ranges.queries();
    let (mut slots, mut keys) = (vec![0u32; queries * k], vec![0.0f32; queries * k]);
    let block_sums = block_sums();
    // Few queries are spread over the cores one by one.
    let share = queries.div_ceil(rayon::current_num_threads()).clamp(1, QUERIES);
    slots.par_chunks_mut(share * k).zip(keys.par_chunks_mut(share * k)).enumerate().for_each(
        |(chunk, (slots, keys))| {
            let first = chunk * share;
            let mut best = vec![Smallest::new(k); slots.len() / k];
            for group in request.ranges.groups(first..first + best.len()) {
                for start in group.rows.clone().step_by(BLOCK_ROWS) {
                    let block_bytes = request.pairs * BLOCK_ROWS;
                    let block = &data[start as usize / BLOCK_ROWS * block_bytes..][..block_bytes];
                    let rows = (group.rows.end - start).min(BLOCK_ROWS as u32);
                    for visit in &group.visits {
                        let (table, bias) = request.visits[visit.number];
                        let table = &request.tables[table as usize * block_bytes..][..block_bytes];
                        let sums = block_sums(block, table);
                        let best = &mut best[visit.query as usize - first];
                        for (sum, slot) in sums.iter().zip(start..start + rows) {
                            best.offer(key_of(metric, sum + u32::from(bias)), slot);
                        }
                    }
                }
            }
            let out = slots.chunks_exact_mut(k).zip(keys.chunks_exact_mut(k));
            for (best, (slots, keys)) in best.into_iter().zip(out) {
                best.write(Some(keys), slots);
            }
        },
    );
    Ok(ScanTopK::from_keys(slots, &keys))
}

/// Sums for the 32 rows of a block: `block` and `table` are both [pair][32] bytes.
type BlockSums = fn(&[u8], &[u8]) -> [u32; BLOCK_ROWS];

fn block_sums() -> BlockSums {
    #[cfg(target_arch = "x86_64")]
    if pulp::x86::V3::try_new().is_some() {
        return x86::block_sums;
    }
    scalar_block_sums
}

/// The row whose code is nibble `high` of byte `place` of a half-pair.
fn row_of(place: usize, high: usize) -> usize {
    16 * high + place / 2 + 8 * (place % 2)
}

fn scalar_block_sums(block: &[u8], table: &[u8]) -> [u32; BLOCK_ROWS] {
    let mut sums = [0; BLOCK_ROWS];
    for (codes, table) in block.chunks_exact(16).zip(table.chunks_exact(16)) {
        for (place, &code) in codes.iter().enumerate() {
            sums[row_of(place, 0)] += u32::from(table[usize::from(code & 15)]);
            sums[row_of(place, 1)] += u32::from(table[usize::from(code >> 4)]);
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::__m256i;

    use pulp::x86::V3;
    use pulp::{NullaryFnOnce, cast};

    use super::{BLOCK_ROWS, row_of};

    /// Pairs that are added up in 16 bits: 256 entries of at most 255 a lane stay below 2¹⁶.
    const CHUNK: usize = 256;

    struct Scan<'a> {
        simd: V3,
        block: &'a [u8],
        table: &'a [u8],
    }

    pub(super) fn block_sums(block: &[u8], table: &[u8]) -> [u32; BLOCK_ROWS] {
        match V3::try_new() {
            Some(simd) => simd.vectorize(Scan { simd, block, table }),
            None => super::scalar_block_sums(block, table),
        }
    }

    impl NullaryFnOnce for Scan<'_> {
        type Output = [u32; BLOCK_ROWS];

        #[inline(always)]
        fn call(self) -> Self::Output {
            let mut sums = [0; BLOCK_ROWS];
            for (block, table) in self.block.chunks(32 * CHUNK).zip(self.table.chunks(32 * CHUNK)) {
                add_chunk(self.simd, block, table, &mut sums);
            }
            sums
        }
    }

    /// A register holds the 16 bytes of an even sub-quantizer and the 16 of an odd one, the other their tables, so one
    /// shuffle looks up 32 entries. Bytes are added up in 16 bits, even and odd places apart.
    #[inline(always)]
    fn add_chunk(simd: V3, block: &[u8], table: &[u8], sums: &mut [u32; BLOCK_ROWS]) {
        let avx2 = simd.avx2;
        let nibble: __m256i = cast([0x0fu8; 32]);
        let low_byte: __m256i = cast([0x00ffu16; 16]);
        let mut parts: [__m256i; 4] = [cast([0u16; 16]); 4];
        for (codes, table) in block.as_chunks::<32>().0.iter().zip(table.as_chunks::<32>().0) {
            let (codes, table): (__m256i, __m256i) = (cast(*codes), cast(*table));
            let low = avx2._mm256_shuffle_epi8(table, avx2._mm256_and_si256(codes, nibble));
            let high_codes = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(codes), nibble);
            let high = avx2._mm256_shuffle_epi8(table, high_codes);
            for (half, entries) in [low, high].into_iter().enumerate() {
                let even = avx2._mm256_and_si256(entries, low_byte);
                let odd = avx2._mm256_srli_epi16::<8>(entries);
                parts[2 * half] = avx2._mm256_add_epi16(parts[2 * half], even);
                parts[2 * half + 1] = avx2._mm256_add_epi16(parts[2 * half + 1], odd);
            }
        }
        for (part, lanes) in parts.into_iter().enumerate() {
            let lanes: [u16; 16] = cast(lanes);
            for (i, lane) in lanes.into_iter().enumerate() {
                sums[row_of(2 * (i % 8) + part % 2, part / 2)] += u32::from(lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_adds_up_the_same() {
        for pairs in [1, 2, 3, 64, 255, 256, 257, 600] {
            let block: Vec<u8> = (0..pairs * 32).map(|i| (i * 37 + i / 7) as u8).collect();
            let table: Vec<u8> = (0..pairs * 32).map(|i| 255 - (i % 5) as u8).collect();
            assert_eq!(block_sums()(&block, &table), scalar_block_sums(&block, &table), "{pairs} pairs");
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
        let sums = block_sums()(&block, &table);
        assert_eq!((sums[3], sums[19]), (107, 250));
        assert_eq!(sums.iter().sum::<u32>(), 357);
    }
}
