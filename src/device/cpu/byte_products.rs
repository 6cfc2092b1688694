//! Products of sketches in bytes: one by one on any machine, and for those with AVX-512 VNNI in tiles, four multiply-adds a
//! lane and instruction.

use super::lines::Lines;
use super::scores::PANEL;

/// Rows that a panel is read once for.
pub(super) const ROWS: usize = 12;

/// What makes a score's bound of a product of bytes, for a row or a vector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    /// What a byte's unit stands for.
    pub scale: f32,
    /// Length of what the bytes lost of the shares.
    pub error: f32,
    /// Length of what the bytes stand for, and half the error: its share in the product of two errors.
    pub length: f32,
    /// Length of what is not in the shares.
    pub rest: f32,
}

impl Side {
    /// Bounds the product of what two vectors' shares, whose bytes have this product, and what is not in them stand for.
    #[inline(always)]
    pub fn bound(&self, other: &Self, product: i32) -> f32 {
        let held = self.scale * other.scale * product as f32;
        held + self.error * other.length + self.length * other.error + self.rest * other.rest
    }
}

/// Σ x·y: compilers know how to do this with the instructions of any machine.
#[inline(always)]
pub(super) fn byte_product(x: &[i8], y: &[i8]) -> i32 {
    x.iter().zip(y).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
}

/// Vectors as the products take them.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct BytePanel {
    pub scale: [f32; PANEL],
    pub error: [f32; PANEL],
    pub length: [f32; PANEL],
    pub rest: [f32; PANEL],
    /// Shares plus 128, [width / 4][PANEL][4].
    pub shares: Lines<[[u8; 64]; 2]>,
}

impl BytePanel {
    /// Up to [`PANEL`] vectors; those that are missing are zeros.
    pub fn new(shares: &[i8], sides: &[Side], width: usize) -> Self {
        let mut panel = Self::default();
        panel.shares.resize(width / 4);
        panel.shares.fill([[128; 64]; 2]);
        for (lane, (shares, side)) in shares.chunks_exact(width).zip(sides).enumerate() {
            for (out, four) in panel.shares.iter_mut().zip(shares.as_chunks::<4>().0) {
                out[lane / 16][lane % 16 * 4..][..4].copy_from_slice(&four.map(|x| (i16::from(x) + 128) as u8));
            }
            (panel.scale[lane], panel.error[lane]) = (side.scale, side.error);
            (panel.length[lane], panel.rest[lane]) = (side.length, side.rest);
        }
        panel
    }
}

/// Some rows as the products take them.
#[derive(Debug, Default)]
pub(super) struct ByteTile {
    /// Four shares a number, [width / 4][ROWS].
    shares: Vec<[i32; ROWS]>,
    /// −128 · Σ shares: takes back what was added to the vectors' shares.
    start: [i32; ROWS],
    sides: [Side; ROWS],
}

impl ByteTile {
    /// Up to [`ROWS`] rows in the memory that is there; those that are missing are zeros.
    pub fn renew(&mut self, shares: &[i8], sides: &[Side], width: usize) {
        self.shares.clear();
        self.shares.resize(width / 4, [0; ROWS]);
        (self.start, self.sides) = ([0; ROWS], [Side::default(); ROWS]);
        for (row, (shares, side)) in shares.chunks_exact(width).zip(sides).enumerate() {
            for (out, &four) in self.shares.iter_mut().zip(shares.as_chunks::<4>().0) {
                out[row] = i32::from_le_bytes(four.map(|x| x as u8));
            }
            self.start[row] = -128 * shares.iter().map(|&x| i32::from(x)).sum::<i32>();
            self.sides[row] = *side;
        }
    }
}

/// Writes the bounds of the scores of a tile's rows and a panel's vectors, whose biases are given:
/// s·s'·Σ q·q' + e·l' + l·e' + r·r' + bias with the sides' scales, errors, lengths and rests. The bounds of a row start
/// `stride` after those of the row before; as many rows are written as have room.
pub(super) type ByteBounds = fn(&ByteTile, &BytePanel, bias: &[f32; PANEL], bounds: &mut [f32], stride: usize);

/// The function for so many rows on this machine, where it has the instructions.
pub(super) fn byte_bounds(rows: usize) -> Option<ByteBounds> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the machine has what the functions are compiled for.
        return Some(match rows {
            1 => |tile, panel, bias, bounds, stride| unsafe {
                avx512::byte_bounds::<1>(tile, panel, bias, bounds, stride)
            },
            _ => |tile, panel, bias, bounds, stride| unsafe {
                avx512::byte_bounds::<ROWS>(tile, panel, bias, bounds, stride)
            },
        });
    }
    let _ = rows;
    None
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use pulp::cast;

    use super::{BytePanel, ByteTile, PANEL};

    /// Of the tile's first N rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn byte_bounds<const N: usize>(
        tile: &ByteTile,
        panel: &BytePanel,
        bias: &[f32; PANEL],
        bounds: &mut [f32],
        stride: usize,
    ) {
        let mut sums = [[_mm512_setzero_si512(); 2]; N];
        for (sums, &start) in sums.iter_mut().zip(&tile.start) {
            *sums = [_mm512_set1_epi32(start); 2];
        }
        for (rows, vectors) in tile.shares.iter().zip(&*panel.shares) {
            let vectors: [__m512i; 2] = vectors.map(cast);
            for (sums, &row) in sums.iter_mut().zip(rows) {
                let row = _mm512_set1_epi32(row);
                sums[0] = _mm512_dpbusd_epi32(sums[0], vectors[0], row);
                sums[1] = _mm512_dpbusd_epi32(sums[1], vectors[1], row);
            }
        }
        let halves = |values: &[f32; PANEL]| cast::<[f32; PANEL], [__m512; 2]>(*values);
        let [scale, error, length, rest, bias] =
            [&panel.scale, &panel.error, &panel.length, &panel.rest, bias].map(halves);
        for ((sums, side), bounds) in sums.iter().zip(&tile.sides).zip(bounds.chunks_mut(stride)) {
            let mut halves = [_mm512_setzero_ps(); 2];
            for h in 0..2 {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[h]), scale[h]);
                let mut bound = _mm512_fmadd_ps(_mm512_set1_ps(side.rest), rest[h], bias[h]);
                bound = _mm512_fmadd_ps(_mm512_set1_ps(side.error), length[h], bound);
                bound = _mm512_fmadd_ps(_mm512_set1_ps(side.length), error[h], bound);
                halves[h] = _mm512_fmadd_ps(_mm512_set1_ps(side.scale), product, bound);
            }
            bounds[..PANEL].copy_from_slice(&cast::<[__m512; 2], [f32; PANEL]>(halves));
        }
    }
}
