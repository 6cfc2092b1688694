//! Look-up tables: what each of a sub-quantizer's 16 codewords adds to a query's distance, as floats and as bytes.
//!
//! Bytes are faiss's (`faiss/utils/quantize_lut.cpp`): a byte is floor((entry − min of its sub-quantizer) · a + ½), and
//! a distance is b + sum / a. One scale serves all tables and biases of a query, so its sums can be compared.

use super::ProductQuantizer;
use super::product_quantizer::CODEWORDS;
use crate::factory::Metric;

/// The tables of one query, as bytes.
pub(super) struct ByteTables {
    /// [table][M · 16].
    pub tables: Vec<Vec<u8>>,
    /// Added to the sums of each list visited.
    pub biases: Vec<u16>,
    scale: f32,
    offset: f32,
}

/// How a scale is bounded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ScaleBound {
    /// Entries fit a byte (faiss without lists).
    Entries,
    /// Entries fit a byte, and sums with their biases 16 bits (faiss with lists).
    Sums,
}

/// Entries ‖x − r‖² (L2) or x · r (inner product) for each codeword r, [M][16].
pub(super) fn float_table(pq: &ProductQuantizer, metric: Metric, x: &[f32]) -> Vec<f32> {
    entries(pq, x, |x, r| match metric {
        Metric::L2 => x.iter().zip(r).map(|(x, r)| (x - r) * (x - r)).sum(),
        Metric::InnerProduct => x.iter().zip(r).map(|(x, r)| x * r).sum(),
    })
}

/// Entries ‖r‖² − 2 y · r for a residual y = x − c: with ‖y‖² they add up to ‖x − (c + r)‖².
pub(super) fn residual_table(pq: &ProductQuantizer, y: &[f32]) -> Vec<f32> {
    entries(pq, y, |y, r| y.iter().zip(r).map(|(y, r)| r * (r - 2.0 * y)).sum())
}

fn entries(pq: &ProductQuantizer, x: &[f32], entry: impl Fn(&[f32], &[f32]) -> f32) -> Vec<f32> {
    let dsub = pq.dsub();
    let codewords = pq.codebooks().chunks_exact(dsub);
    codewords.enumerate().map(|(i, codeword)| entry(&x[i / CODEWORDS * dsub..][..dsub], codeword)).collect()
}

impl ByteTables {
    /// Quantises float tables: one for all lists, or one for each. `biases` are those of the lists; none means 0.
    pub fn new(tables: &[Vec<f32>], biases: &[f32], bound: ScaleBound) -> Self {
        let spans: Vec<Spans> = tables.iter().map(|table| Spans::of(table)).collect();
        let lists = biases.len().max(spans.len());
        let bias = |list: usize| biases.get(list).copied().unwrap_or(0.0);
        let span = |list: usize| &spans[if spans.len() == 1 { 0 } else { list }];
        let least_bias = (0..lists).map(bias).fold(f32::INFINITY, f32::min);
        let widest = spans.iter().map(|spans| spans.widest).fold(0.0, f32::max);
        let total = (0..lists).map(|list| bias(list) - least_bias + span(list).total).fold(0.0, f32::max);

        let mut scale = if widest > 0.0 { 255.0 / widest } else { f32::INFINITY };
        if bound == ScaleBound::Sums && total > 0.0 {
            scale = scale.min(65535.0 / total);
        }
        if !scale.is_finite() {
            scale = 0.0; // nothing differs from anything
        }
        let offset = (0..lists).map(|list| bias(list) + span(list).least).fold(f32::INFINITY, f32::min);
        // A table's least sum is part of a list's bias only where each list has its own table.
        let (biases, least): (Vec<f32>, f32) = match spans.len() {
            1 => ((0..lists).map(bias).collect(), least_bias),
            _ => ((0..lists).map(|list| bias(list) + span(list).least).collect(), offset),
        };
        let bytes = |(table, spans): (&Vec<f32>, &Spans)| -> Vec<u8> {
            let entries = table.iter().enumerate();
            entries.map(|(i, &entry)| round(entry, spans.minima[i / CODEWORDS], scale) as u8).collect()
        };
        Self {
            tables: tables.iter().zip(&spans).map(bytes).collect(),
            biases: biases.iter().map(|&bias| round(bias, least, scale) as u16).collect(),
            scale,
            offset,
        }
    }

    /// The distance that a sum stands for.
    pub fn distance(&self, sum: u32) -> f32 {
        if self.scale > 0.0 { self.offset + sum as f32 * (1.0 / self.scale) } else { self.offset }
    }
}

/// As faiss rounds: the half is added in double precision.
fn round(entry: f32, least: f32, scale: f32) -> f32 {
    ((f64::from((entry - least) * scale) + 0.5) as f32).floor()
}

/// Where the entries of a table lie.
struct Spans {
    /// Least entry of each sub-quantizer.
    minima: Vec<f32>,
    /// Their sum.
    least: f32,
    /// Greatest span of a sub-quantizer.
    widest: f32,
    /// Sum of the spans.
    total: f32,
}

impl Spans {
    fn of(table: &[f32]) -> Self {
        let mut spans = Self { minima: Vec::new(), least: 0.0, widest: 0.0, total: 0.0 };
        for entries in table.chunks_exact(CODEWORDS) {
            let least = entries.iter().copied().fold(f32::INFINITY, f32::min);
            let span = entries.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
            spans.minima.push(least);
            spans.least += least;
            spans.widest = spans.widest.max(span);
            spans.total += span;
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_worked_out_by_hand() {
        // Two sub-quantizers: entries 1 to 16 (span 15) and 10, 10.5 .. 17.5 (span 7.5), so a = 255 / 15 = 17.
        let table: Vec<f32> = (0..16).map(|i| 1.0 + i as f32).chain((0..16).map(|i| 10.0 + 0.5 * i as f32)).collect();
        let bytes = ByteTables::new(&[table], &[], ScaleBound::Entries);
        let expected: Vec<u8> = (0..16).map(|i| 17 * i).chain((0..16u32).map(|i| (17 * i).div_ceil(2) as u8)).collect();
        assert_eq!((bytes.tables, bytes.biases), (vec![expected], vec![0]));
        let bytes = ByteTables::new(&[vec![3.0; 16], vec![5.0; 16]], &[0.5, 0.25], ScaleBound::Sums);
        assert_eq!((bytes.biases, bytes.tables[1][0]), (vec![0, 65535], 0)); // 3.5 and 5.25, no spans
    }

    #[test]
    fn biases_keep_their_digits_beside_large_entries() {
        // Floats beyond 10⁷ are whole numbers. The span is 15, so a = 17, and 0.4 · 17 = 6.8, 7.6 · 17 = 129.2.
        let table = (0..16).map(|i| 1e7 + i as f32).collect();
        let bytes = ByteTables::new(&[table], &[0.4, 0.0, 7.6], ScaleBound::Sums);
        assert_eq!((bytes.biases, bytes.offset), (vec![7, 0, 129], 1e7));
    }

    #[test]
    fn entries_that_are_all_equal_leave_the_offset() {
        let bytes = ByteTables::new(&[vec![2.0; 32]], &[], ScaleBound::Entries);
        assert_eq!((bytes.distance(0), bytes.distance(7)), (4.0, 4.0));
    }
}
