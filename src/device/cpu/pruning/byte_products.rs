//! Products of sketches in bytes: one by one on any machine; for those with AVX-512 VNNI in tiles, four multiply-adds a lane
//! and instruction; and by the matrix unit of those that have AMX, 16,384 an instruction.

use std::sync::OnceLock;

use super::lines::Lines;
use crate::device::simd::scores::PANEL;
use crate::device::simd::{Level, allowed};

/// Shares of a vector come in multiples of this.
pub(crate) const SHARES: usize = 64;

/// What makes a score's bound of a product of bytes, for a row or a vector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
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
pub(crate) fn byte_product(x: &[i8], y: &[i8]) -> i32 {
    x.iter().zip(y).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
}

/// Vectors as the products take them.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct BytePanel {
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

/// Rows and what their bytes stand for.
#[derive(Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    /// [row][width].
    pub shares: &'a [i8],
    pub sides: &'a [Side],
}

impl<'a> ByteRows<'a> {
    fn width(&self) -> usize {
        self.shares.len() / self.sides.len().max(1)
    }

    /// Up to `rows` of them at a time.
    fn tiles(self, rows: usize) -> impl Iterator<Item = Self> {
        let shares = self.shares.chunks((rows * self.width()).max(1));
        shares.zip(self.sides.chunks(rows)).map(|(shares, sides)| Self { shares, sides })
    }

    /// −128 · Σ shares of each: takes back what was added to the vectors' shares.
    fn starts(&self) -> impl Iterator<Item = i32> {
        let sum = |shares: &[i8]| shares.iter().map(|&x| i32::from(x)).sum::<i32>();
        self.shares.chunks_exact(self.width().max(1)).map(move |shares| -128 * sum(shares))
    }
}

/// Writes the bounds of the scores of rows and the vectors of panels, whose biases are given, row-major:
/// s·s'·Σ q·q' + e·l' + l·e' + r·r' + bias with the sides' scales, errors, lengths and rests. Works in `room`.
pub(crate) type ByteBounds = fn(ByteRows<'_>, &[BytePanel], biases: &[f32], room: &mut Lines<i8>, bounds: &mut [f32]);

/// The fastest function for so many rows on this machine, where it has the instructions.
pub(crate) fn byte_bounds(rows: usize) -> Option<ByteBounds> {
    static FASTEST: [OnceLock<Option<ByteBounds>>; 2] = [const { OnceLock::new() }; 2];
    let [one, many] = &FASTEST;
    let fastest = if rows == 1 { one } else { many };
    *fastest.get_or_init(|| all(rows).into_iter().next())
}

/// All that this machine can run, the fastest first.
fn all(rows: usize) -> Vec<ByteBounds> {
    let mut all: Vec<ByteBounds> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    if allowed(Level::Vnni) && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the machine has what the functions are compiled for.
        #[cfg(target_os = "linux")]
        if rows > 1 && allowed(Level::Amx) && super::amx::Unit::available() {
            all.push(|rows, panels, biases, room, bounds| unsafe {
                avx512::by_amx(rows, panels, biases, room, bounds)
            });
        }
        all.push(match rows {
            1 => |rows, panels, biases, room, bounds| unsafe {
                avx512::by_vnni::<1>(rows, panels, biases, room, bounds);
            },
            _ => |rows, panels, biases, room, bounds| unsafe {
                avx512::by_vnni::<12>(rows, panels, biases, room, bounds);
            },
        });
    }
    let _ = rows;
    all
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use pulp::cast;

    use super::{BytePanel, ByteRows, Lines, PANEL, Side};

    /// A panel is read once for N rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(crate) fn by_vnni<const N: usize>(
        rows: ByteRows<'_>,
        panels: &[BytePanel],
        biases: &[f32],
        room: &mut Lines<i8>,
        bounds: &mut [f32],
    ) {
        let (stride, width) = (biases.len(), rows.width());
        room.resize(width * N);
        for (rows, bounds) in rows.tiles(N).zip(bounds.chunks_mut(N * stride)) {
            // [width / 4][N][4].
            for (row, shares) in rows.shares.chunks_exact(width).enumerate() {
                let fours = room.as_chunks_mut::<4>().0.iter_mut().skip(row).step_by(N);
                fours.zip(shares.as_chunks().0).for_each(|(out, four)| *out = *four);
            }
            let mut starts = [[_mm512_setzero_si512(); 2]; N];
            for (starts, start) in starts.iter_mut().zip(rows.starts()) {
                *starts = [_mm512_set1_epi32(start); 2];
            }
            for ((panel, bias), first) in panels.iter().zip(biases.as_chunks().0).zip((0..).step_by(PANEL)) {
                let mut sums = starts;
                for (fours, vectors) in room.as_chunks::<4>().0.as_chunks::<N>().0.iter().zip(&*panel.shares) {
                    let vectors: [__m512i; 2] = vectors.map(cast);
                    for (sums, &four) in sums.iter_mut().zip(fours) {
                        let row = _mm512_set1_epi32(cast(four));
                        sums[0] = _mm512_dpbusd_epi32(sums[0], vectors[0], row);
                        sums[1] = _mm512_dpbusd_epi32(sums[1], vectors[1], row);
                    }
                }
                let columns = Columns::of(panel, bias);
                for ((&sums, side), bounds) in sums.iter().zip(rows.sides).zip(bounds.chunks_mut(stride)) {
                    bounds[first..first + PANEL].copy_from_slice(&columns.bounds(sums, side));
                }
            }
        }
    }

    /// What makes bounds of a panel's products.
    struct Columns {
        scale: [__m512; 2],
        error: [__m512; 2],
        length: [__m512; 2],
        rest: [__m512; 2],
        bias: [__m512; 2],
    }

    impl Columns {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn of(panel: &BytePanel, bias: &[f32; PANEL]) -> Self {
            let [scale, error, length, rest, bias] =
                [&panel.scale, &panel.error, &panel.length, &panel.rest, bias].map(|values| cast(*values));
            Self { scale, error, length, rest, bias }
        }

        /// Of one row.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn bounds(&self, products: [__m512i; 2], side: &Side) -> [f32; PANEL] {
            let mut halves = [_mm512_setzero_ps(); 2];
            for h in 0..2 {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(products[h]), self.scale[h]);
                let mut bound = _mm512_fmadd_ps(_mm512_set1_ps(side.rest), self.rest[h], self.bias[h]);
                bound = _mm512_fmadd_ps(_mm512_set1_ps(side.error), self.length[h], bound);
                bound = _mm512_fmadd_ps(_mm512_set1_ps(side.length), self.error[h], bound);
                halves[h] = _mm512_fmadd_ps(_mm512_set1_ps(side.scale), product, bound);
            }
            cast(halves)
        }
    }

    /// A panel is read once for all rows.
    #[cfg(target_os = "linux")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(crate) fn by_amx(
        rows: ByteRows<'_>,
        panels: &[BytePanel],
        biases: &[f32],
        room: &mut Lines<i8>,
        bounds: &mut [f32],
    ) {
        use crate::device::cpu::pruning::amx::{self, Unit};

        /// Tiles of rows at a time.
        const TILES: usize = 3;
        let (stride, width, unit) = (biases.len(), rows.width(), Unit::claim());
        let mut products = [amx::Products::ZERO; TILES];
        for (rows, bounds) in rows.tiles(TILES * amx::ROWS).zip(bounds.chunks_mut(TILES * amx::ROWS * stride)) {
            // Whole tiles, the last one filled up with what was there.
            room.resize(rows.sides.len().next_multiple_of(amx::ROWS) * width);
            room[..rows.shares.len()].copy_from_slice(rows.shares);
            let mut starts = [0; TILES * amx::ROWS];
            starts.iter_mut().zip(rows.starts()).for_each(|(out, start)| *out = start);
            for ((panel, bias), first) in panels.iter().zip(biases.as_chunks().0).zip((0..).step_by(PANEL)) {
                for (products, tile) in products.iter_mut().zip(room.chunks_exact(amx::ROWS * width)) {
                    unit.products(tile, &panel.shares, products);
                }
                let columns = Columns::of(panel, bias);
                let each = rows.sides.iter().zip(&starts).zip(bounds.chunks_mut(stride));
                for (row, ((side, &start), bounds)) in each.enumerate() {
                    let halves: [__m512i; 2] = cast(products[row / amx::ROWS].0[row % amx::ROWS]);
                    let start = _mm512_set1_epi32(start);
                    let halves = [_mm512_add_epi32(halves[0], start), _mm512_add_epi32(halves[1], start)];
                    bounds[first..first + PANEL].copy_from_slice(&columns.bounds(halves, side));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_products_one_by_one() {
        let mut state = 7u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 as i8
        };
        let side = |i: usize| {
            let of = |factor: usize| (i * factor % 17) as f32 / 16.0;
            Side { scale: 0.01 + of(3), error: of(5), length: of(7), rest: of(11) }
        };
        for width in [64, 128, 192] {
            let (rows, vectors) = (50, 90);
            let mut some = |count: usize| (0..count * width).map(|_| next().max(-127)).collect::<Vec<i8>>();
            let (row_shares, vector_shares) = (some(rows), some(vectors));
            let (row_sides, sides): (Vec<_>, Vec<_>) =
                ((0..rows).map(side).collect(), (5..5 + vectors).map(side).collect());
            let parts = vector_shares.chunks(PANEL * width).zip(sides.chunks(PANEL));
            let panels: Vec<_> = parts.map(|(shares, sides)| BytePanel::new(shares, sides, width)).collect();
            let biases: Vec<f32> = (0..panels.len() * PANEL).map(|i| i as f32 / 8.0).collect();
            let ways = [1, 2, 16, 17, 50].map(|count| all(count).into_iter().map(move |way| (count, way)));
            for (count, byte_bounds) in ways.into_iter().flatten() {
                let rows = ByteRows { shares: &row_shares[..count * width], sides: &row_sides[..count] };
                let mut bounds = vec![f32::NAN; count * biases.len()];
                byte_bounds(rows, &panels, &biases, &mut Lines::default(), &mut bounds);
                for (r, bounds) in bounds.chunks_exact(biases.len()).enumerate() {
                    for (v, shares) in vector_shares.chunks_exact(width).enumerate() {
                        let product = byte_product(&row_shares[r * width..][..width], shares);
                        let expected = row_sides[r].bound(&sides[v], product) + biases[v];
                        let error = (bounds[v] - expected).abs();
                        assert!(error <= 1e-5 * expected.abs().max(1.0), "{count} × {width}: {} {expected}", bounds[v]);
                    }
                }
            }
        }
    }
}
