//! u8 look-up tables. A SIMD lane is a centroid: the sixteen of a sub-quantizer lie side by side.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::device::data::buffer::{Matrix, TopK};
use crate::device::data::lookup_tables::{Entries, Entry, LookupTables, Probes, Shape};
use crate::device::data::pq::{CENTROIDS, Codebooks};
use crate::device::simd::arch;
use crate::device::simd::distance::distance;
use crate::error::{Error, Result};
use crate::factory::Metric;

/// One value of each of a sub-quantizer's centroids.
type Column = [f32; CENTROIDS];

pub(crate) fn lookup_tables(
    queries: &Matrix,
    codebooks: &Codebooks,
    probes: Option<&Probes<'_>>,
    shape: Shape,
    made: &mut LookupTables,
) -> Result<()> {
    let name = "lookup_tables";
    let data = queries.data.host(name)?;
    let coarse = match probes {
        Some(probes) => Some((probes.table.centroids.data.host(name)?, probes.lists.host(name)?)),
        None => None,
    };
    let (dsub, pairs) = (codebooks.dsub, codebooks.m.div_ceil(2));
    let query_bytes = shape.tables * pairs * 2 * CENTROIDS;
    made.renew(queries.rows, shape, pairs);
    let LookupTables { entries: Entries::Bytes(entries), biases, scales, .. } = made else {
        return Err(Error::ForeignBuffer { stage: name });
    };
    let entries = entries.renew(queries.rows * query_bytes, 0);
    let biases = biases.renew(queries.rows * shape.lists, 0);
    let scales = scales.renew(queries.rows * 2, 0.0);
    let arch = arch();
    data.par_chunks_exact(queries.dim)
        .zip(entries.par_chunks_exact_mut(query_bytes))
        .zip(biases.par_chunks_exact_mut(shape.lists))
        .zip(scales.par_chunks_exact_mut(2))
        .enumerate()
        .for_each(|(number, (((x, entries), biases), scale))| {
            let lists = coarse.map(|(centroids, lists)| (centroids, &lists[number * shape.lists..][..shape.lists]));
            let query = Query { x, lists, codebooks: &codebooks.columns, dsub, shape };
            SCRATCH.with_borrow_mut(|scratch| arch.dispatch(MakeTables { query, scratch, entries, biases, scale }));
        });
    Ok(())
}

thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());

/// A query, and what its tables are made from.
struct Query<'a> {
    x: &'a [f32],
    /// The coarse quantizer's centroids, and the lists that are visited.
    lists: Option<(&'a [f32], &'a [u32])>,
    /// [M][dsub].
    codebooks: &'a [Column],
    dsub: usize,
    shape: Shape,
}

/// What a thread makes a query's tables in, kept from call to call.
#[derive(Default)]
struct Scratch {
    residual: Vec<f32>,
    /// Entries as floats, [table][M].
    entries: Vec<Column>,
    tables: Vec<Span>,
    lists: Vec<Option<f32>>,
}

/// Where the entries of a table lie.
#[derive(Clone, Copy, Default)]
struct Span {
    /// The sum of the sub-quantizers' least entries.
    least: f32,
    /// Greatest span of a sub-quantizer.
    widest: f32,
    /// Sum of the spans.
    total: f32,
}

impl Query<'_> {
    /// The centroid of the list at a place; `None` where no list was found.
    #[inline(always)]
    fn centroid(&self, place: usize) -> Option<&[f32]> {
        let (centroids, lists) = self.lists?;
        (lists[place] != TopK::NONE).then(|| &centroids[lists[place] as usize * self.x.len()..][..self.x.len()])
    }

    /// What the list at a place adds to every distance; `None` where no list was found.
    #[inline(always)]
    fn bias<S: Simd>(&self, simd: S, place: usize) -> Option<f32> {
        match (self.lists, self.shape.biased) {
            (None, _) => Some(0.0),
            (Some(_), false) => self.centroid(place).map(|_| 0.0),
            (Some(_), true) => {
                let metric = if self.shape.entry == Entry::Product { Metric::InnerProduct } else { Metric::L2 };
                self.centroid(place).map(|c| distance(simd, metric, self.x, c))
            }
        }
    }

    /// Writes the entries of one table as floats, those of residuals for the list at `place`, and returns where they lie.
    #[inline(always)]
    fn fill<S: Simd>(&self, simd: S, place: usize, residual: &mut Vec<f32>, entries: &mut [Column]) -> Span {
        match self.shape.entry {
            Entry::Distance => self.fill_with(simd, self.x, entries, |x, r, sum| {
                let difference = simd.sub_f32s(x, r);
                simd.mul_add_e_f32s(difference, difference, sum)
            }),
            Entry::Product => self.fill_with(simd, self.x, entries, |x, r, sum| simd.mul_add_e_f32s(x, r, sum)),
            Entry::Residual => {
                residual.clear();
                let centroid = self.centroid(place).unwrap_or(self.x);
                residual.extend(self.x.iter().zip(centroid).map(|(x, c)| x - c));
                self.fill_with(simd, residual, entries, |y, r, sum| {
                    simd.mul_add_e_f32s(r, simd.sub_f32s(r, simd.add_f32s(y, y)), sum)
                })
            }
        }
    }

    #[inline(always)]
    fn fill_with<S: Simd>(
        &self,
        simd: S,
        x: &[f32],
        entries: &mut [Column],
        add_term: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
    ) -> Span {
        let mut span = Span::default();
        let columns = self.codebooks.chunks_exact(self.dsub);
        for ((out, x), columns) in entries.iter_mut().zip(x.chunks_exact(self.dsub)).zip(columns) {
            let out = S::as_mut_simd_f32s(out).0;
            let (mut least, mut greatest) = (simd.splat_f32s(f32::INFINITY), simd.splat_f32s(f32::NEG_INFINITY));
            for (vector, out) in out.iter_mut().enumerate() {
                let mut sum = simd.splat_f32s(0.0);
                for (&x, column) in x.iter().zip(columns) {
                    sum = add_term(simd.splat_f32s(x), S::as_simd_f32s(column).0[vector], sum);
                }
                (least, greatest) = (simd.min_f32s(sum, least), simd.max_f32s(sum, greatest));
                *out = sum;
            }
            let (least, greatest) = (simd.reduce_min_f32s(least), simd.reduce_max_f32s(greatest));
            span.least += least;
            span.total += greatest - least;
            span.widest = if greatest - least > span.widest { greatest - least } else { span.widest };
        }
        span
    }
}

#[inline(always)]
fn least_of<S: Simd>(simd: S, column: &Column) -> f32 {
    let vectors = S::as_simd_f32s(column).0;
    simd.reduce_min_f32s(vectors.iter().fold(vectors[0], |least, &vector| simd.min_f32s(least, vector)))
}

struct MakeTables<'a> {
    query: Query<'a>,
    scratch: &'a mut Scratch,
    entries: &'a mut [u8],
    biases: &'a mut [u32],
    scale: &'a mut [f32],
}

impl WithSimd for MakeTables<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { query, scratch, .. } = self;
        let Shape { lists, tables, bounded, .. } = query.shape;
        let m = query.codebooks.len() / query.dsub;
        scratch.entries.resize(tables * m, [0.0; CENTROIDS]);
        scratch.tables.clear();
        scratch.lists.clear();
        for (place, entries) in scratch.entries.chunks_exact_mut(m).enumerate() {
            scratch.tables.push(query.fill(simd, place, &mut scratch.residual, entries));
        }
        scratch.lists.extend((0..lists).map(|place| query.bias(simd, place)));
        let span = |place: usize| scratch.tables[if tables == 1 { 0 } else { place }];
        let found = || scratch.lists.iter().enumerate().filter_map(|(place, &bias)| Some((span(place), bias?)));

        let least_bias = found().map(|(_, bias)| bias).fold(f32::INFINITY, f32::min);
        let widest = found().map(|(span, _)| span.widest).fold(0.0, f32::max);
        let total = found().map(|(span, bias)| bias - least_bias + span.total).fold(0.0, f32::max);
        let offset = found().map(|(span, bias)| bias + span.least).fold(f32::INFINITY, f32::min);
        let mut scale = 255.0 / widest;
        if bounded {
            scale = scale.min(65535.0 / total);
        }
        if !scale.is_finite() {
            scale = 0.0; // nothing differs from anything
        }
        self.scale.copy_from_slice(&[offset, if scale > 0.0 { 1.0 / scale } else { 0.0 }]);
        for (place, (out, &bias)) in self.biases.iter_mut().zip(&scratch.lists).enumerate() {
            *out = bias.map_or(0, |bias| match tables {
                1 => rounded(bias, least_bias, scale),
                // A table's least sum is part of a list's bias only where each list has its own table.
                _ => rounded(bias + span(place).least, offset, scale),
            });
        }
        let table_bytes = self.entries.len() / tables;
        for (out, entries) in self.entries.chunks_exact_mut(table_bytes).zip(scratch.entries.chunks_exact(m)) {
            for (out, column) in out.as_chunks_mut::<CENTROIDS>().0.iter_mut().zip(entries) {
                let least = least_of(simd, column);
                for (out, &entry) in out.iter_mut().zip(column) {
                    *out = rounded_entry(entry, least, scale);
                }
            }
        }
    }
}

/// The whole number next to (value − least) · scale, which is not negative; of two the greater one. It is below 2³¹, so
/// that entries can be added to it.
#[inline(always)]
fn rounded(value: f32, least: f32, scale: f32) -> u32 {
    ((value - least) * scale + 0.5) as i32 as u32
}

/// The same of an entry, which is at most 255. Nothing is cast: a cast looks for NaN, which keeps a compiler from doing
/// many at once.
#[inline(always)]
fn rounded_entry(entry: f32, least: f32, scale: f32) -> u8 {
    // Floats from here to twice as much are whole numbers, and their last bits count them.
    const WHOLE: f32 = (1u32 << 23) as f32;
    let above = (entry - least) * scale + 0.5;
    let whole = above + WHOLE;
    let is_greater = whole - WHOLE > above;
    whole.to_bits().wrapping_sub(u32::from(is_greater)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    /// One query of zeros against centroids of one float.
    fn tables(centroids: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let (device, m) = (Device::cpu(), centroids.len() / CENTROIDS);
        let codebooks = device.codebooks(centroids, m).unwrap();
        let queries = device.upload(&vec![0.0; m], m).unwrap();
        let tables = device.lookup_tables(&queries, &codebooks, Metric::L2, None).unwrap();
        (device.download_tables(&tables).unwrap(), device.download(tables.scales()).unwrap())
    }

    #[test]
    fn a_table_worked_out_by_hand() {
        // Squares 1 to 16 (span 15) and 10, 10.5 .. 17.5 (span 7.5), so a = 255 / 15 = 17.
        let squares = (0..16).map(|i| 1.0 + i as f32).chain((0..16).map(|i| 10.0 + 0.5 * i as f32));
        let (entries, scales) = tables(&squares.map(f32::sqrt).collect::<Vec<_>>());
        let expected: Vec<u8> = (0..16).map(|i| 17 * i).chain((0..16u32).map(|i| (17 * i).div_ceil(2) as u8)).collect();
        assert_eq!(entries.iter().zip(&expected).filter(|(a, b)| a.abs_diff(**b) > 1).count(), 0, "{entries:?}");
        assert!((scales[0] - 11.0).abs() < 1e-5 && (scales[1] - 1.0 / 17.0).abs() < 1e-6, "{scales:?}");
    }

    #[test]
    fn entries_are_rounded_as_other_numbers_are() {
        let parts = (0..255 << 10).map(|i| i as f32 / 1024.0);
        for entry in parts.chain([0.49999997, 0.50000006, 254.49998, 254.50002, 255.0, f32::NAN]) {
            assert_eq!(u32::from(rounded_entry(entry, 0.0, 1.0)), rounded(entry, 0.0, 1.0), "{entry}");
        }
    }

    #[test]
    fn entries_that_are_all_equal_leave_the_offset() {
        assert_eq!(tables(&[2.0; 32]), (vec![0; 32], vec![8.0, 0.0]));
    }
}
