//! Bounds that spare exact comparisons: most vectors are told not to be the nearest from sketches alone.
//!
//! Only vectors whose bound reaches the best score known are compared exactly, and those are few where sketches hold much
//! of what tells vectors apart, as with features of speech. What is found is what comparing all would find.

use std::ops::Range;
use std::slice;

use super::compare::{Compare, CompareNear, Counts, Reached};
use super::sketch::Sketches;
use super::table::{SketchTable, UpperBounds};
use crate::device::cpu::smallest::Smallest;
use crate::device::data::ranges::RowRanges;
use crate::device::simd::arch;
use crate::device::simd::scores::PANEL;

/// Bounds that are kept at a time: they stay in a core's cache.
const BOUNDS: usize = 1 << 17;
impl SketchTable {
    /// Puts the vectors nearest to each row into its pool, which is empty, by exact distance. Inner products are
    /// negated.
    pub(crate) fn nearest(&self, vectors: &[f32], rows: &[f32], sketches: &Sketches, work: Work<'_>) -> Counts {
        let Work { pools, among, near, bounding } = work;
        let (arch, dim) = (arch(), self.basis().dim);
        let at_a_time = (BOUNDS / pools.len().max(1)).next_multiple_of(PANEL).min(self.bias.len());
        let mut counts = Counts::default();
        if let Some(near) = near {
            let near = &near[..pools.len()];
            arch.dispatch(CompareNear { metric: self.metric, rows, vectors, dim, near, nearest: &mut *pools });
            counts = Counts { reached: near.len(), compared: near.len() };
        }
        for first in (0..self.bias.len()).step_by(at_a_time) {
            let end = self.bias.len().min(first + at_a_time);
            self.bound(first..end, 0..pools.len(), sketches, &mut bounding.upper);
            let Bounding { upper, reached, allowed } = &mut *bounding;
            let each = rows.chunks_exact(dim).zip(&mut *pools).zip(upper.bounds.chunks_exact_mut(end - first));
            for (r, ((row, nearest), bounds)) in each.enumerate() {
                if let Some((ranges, number)) = among {
                    leave_out_others(ranges.of(number + r), first, bounds, allowed);
                }
                let near = near.map(|near| near[r] as usize);
                if let Some(bound) = near.and_then(|near| bounds.get_mut(near.wrapping_sub(first))) {
                    // It was compared.
                    *bound = f32::NEG_INFINITY;
                }
                let likely_first = near.is_none() && first == 0;
                let row = self.row(row, sketches, r);
                let compare = Compare { table: self, row, vectors, first, bounds, likely_first, reached, nearest };
                counts += arch.dispatch(compare);
            }
        }
        counts
    }

    /// The same where the ranges of each row are few of all vectors: these are bounded alone.
    pub(crate) fn nearest_within(&self, vectors: &[f32], rows: &[f32], sketches: &Sketches, work: Work<'_>) {
        let Work { pools, among, bounding, .. } = work;
        let Some((ranges, number)) = among else { return };
        let (arch, dim) = (arch(), self.basis().dim);
        for (r, (row, nearest)) in rows.chunks_exact(dim).zip(pools).enumerate() {
            let row = self.row(row, sketches, r);
            let mut likely_first = true;
            for range in ranges.of(number + r).iter().filter(|range| !range.is_empty()) {
                let (first, end) = (range.start as usize / PANEL * PANEL, (range.end as usize).next_multiple_of(PANEL));
                self.bound(first..end, r..r + 1, sketches, &mut bounding.upper);
                let Bounding { upper, reached, allowed } = &mut *bounding;
                let bounds = &mut upper.bounds[..end - first];
                leave_out_others(slice::from_ref(range), first, bounds, allowed);
                let nearest = &mut *nearest;
                let compare = Compare { table: self, row, vectors, first, bounds, likely_first, reached, nearest };
                arch.dispatch(compare);
                likely_first = false;
            }
        }
    }
}

/// Makes the bounds of vectors outside the ranges −∞; `first` is the number of the first vector.
fn leave_out_others(ranges: &[Range<u32>], first: usize, bounds: &mut [f32], allowed: &mut Vec<f32>) {
    let within = |at: u32| (at as usize).clamp(first, first + bounds.len()) - first;
    let parts = || ranges.iter().map(|range| within(range.start)..within(range.end));
    if parts().any(|part| part.len() == bounds.len()) {
        return;
    }
    allowed.clear();
    allowed.resize(bounds.len(), f32::NEG_INFINITY);
    for part in parts() {
        allowed[part.clone()].copy_from_slice(&bounds[part]);
    }
    bounds.copy_from_slice(allowed);
}

/// What [`SketchTable::nearest`] works in.
pub(crate) struct Work<'a> {
    /// One a row.
    pub pools: &'a mut [Smallest],
    /// The vectors that each row is compared with, and the number of the first row; all where there are none.
    pub among: Option<(&'a RowRanges, usize)>,
    /// A vector that is likely to be near each row, where one of all is wanted.
    pub near: Option<&'a [u32]>,
    pub bounding: &'a mut Bounding,
}

/// What finding the nearest by bounds takes, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct Bounding {
    upper: UpperBounds,
    reached: Reached,
    allowed: Vec<f32>,
}

impl Bounding {
    /// Bounds that there is room for.
    pub fn capacity(&self) -> usize {
        self.upper.bounds.capacity()
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::cpu::pruning::byte_products::byte_bounds;
    use crate::device::cpu::pruning::sketch;
    use crate::device::cpu::pruning::sketch::{Basis, RowSketches};
    use crate::device::cpu::workspace::Workspace;
    use crate::device::projection::centred;
    use crate::factory::Metric;

    const DIM: usize = 160;

    /// Values that vary in 9 directions much more than in the others.
    fn vectors(count: usize, seed: usize) -> Vec<f32> {
        let wave = |i: usize, j: usize| (((i + seed) * 7919 + j * 104_729) % 1009) as f32 / 504.5 - 1.0;
        let value = |i: usize, j: usize| {
            let shared: f32 = (0..9).map(|d| wave(i * 31 + d * 17, 3) * ((j * (d + 1)) as f32 * 0.7).sin()).sum();
            3.0 + shared + 0.2 * wave(i * 57, j)
        };
        (0..count * DIM).map(|at| value(at / DIM, at % DIM)).collect()
    }

    /// A linear congruential generator: as much in every direction.
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32
        }
    }

    /// Tables of floats, and of bytes where the machine has them.
    fn tables(vectors: &[f32], metric: Metric) -> Vec<SketchTable> {
        let bases = [false, true].into_iter().filter(|&bytes| !bytes || byte_bounds(1).is_some());
        bases
            .map(|bytes| Arc::new(Basis::with_shares(vectors, DIM, bytes).expect("they are correlated")))
            .map(|basis| SketchTable::new(basis, vectors, metric))
            .collect()
    }

    #[test]
    fn what_is_found_is_what_comparing_all_finds() {
        let (all, rows) = (vectors(5000, 1), vectors(20, 2));
        for metric in [Metric::L2, Metric::InnerProduct] {
            for (table, k) in tables(&all, metric).iter().flat_map(|table| [1, 8, 300].map(|k| (table, k))) {
                let mut room = Workspace::default();
                let sketches = RowSketches::new(table.basis().clone(), &rows).blocks.swap_remove(0);
                let pools = room.pools.renew(20, k);
                // Bad hints cost comparisons, and change nothing.
                let mut hints = [4999; 20];
                hints[7] = 5000;
                let near = (k == 1).then_some(&hints[..]);
                let work = Work { pools, among: None, near, bounding: &mut room.bounding };
                let Counts { reached, compared } = table.nearest(&all, &rows, &sketches, work);
                assert!(k != 8 || reached < 20 * 5000 / 4, "{metric} {k}: {reached} were left");
                assert!((20 * k..=reached).contains(&compared), "{metric} {k}: {compared} of {reached} were compared");
                for (row, pool) in rows.chunks_exact(DIM).zip(pools) {
                    let key = |v| {
                        let distance = crate::device::simd::distance::exact_distance(metric, row, v);
                        if metric == Metric::L2 { distance } else { -distance }
                    };
                    let mut expected: Vec<_> = all.chunks_exact(DIM).map(key).zip(0u32..).collect();
                    expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    let found = pool.sorted().map(|(_, at)| at);
                    assert!(found.eq(expected.iter().take(k).map(|e| e.1)), "{metric} {k}");
                }
            }
        }
    }

    #[test]
    fn a_good_hint_spares_comparisons_wherever_it_points() {
        let mut noise = noise(5);
        let all: Vec<f32> = vectors(5000, 1).iter().map(|x| x + noise()).collect();
        // The rows are vectors, and their bounds are more than are kept at a time.
        for first in [0, 5000 - sketch::ROWS] {
            let rows = &all[first * DIM..][..sketch::ROWS * DIM];
            let near: Vec<u32> = (first as u32..).take(sketch::ROWS).collect();
            for table in tables(&all, Metric::L2) {
                let mut room = Workspace::default();
                let sketches = RowSketches::new(table.basis().clone(), rows).blocks.swap_remove(0);
                let pools = room.pools.renew(sketch::ROWS, 1);
                let work = Work { pools: &mut *pools, among: None, near: Some(&near), bounding: &mut room.bounding };
                assert_eq!(table.nearest(&all, rows, &sketches, work).compared, sketch::ROWS);
                for (pool, &near) in pools.iter_mut().zip(&near) {
                    assert!(pool.sorted().map(|(_, at)| at).eq([near]));
                }
            }
        }
    }

    #[test]
    fn what_is_left_out_is_not_found() {
        let (all, rows) = (vectors(4000, 1), vectors(3, 2));
        let mut ranges = RowRanges::default();
        ranges.push([3990..4000, 0..3000]);
        ranges.push(std::iter::once(5..8));
        ranges.push([]);
        for (table, within) in tables(&all, Metric::L2).iter().flat_map(|table| [(table, false), (table, true)]) {
            let mut room = Workspace::default();
            let sketches = RowSketches::new(table.basis().clone(), &rows).blocks.swap_remove(0);
            let pools = room.pools.renew(3, 20);
            let work = Work { pools: &mut *pools, among: Some((&ranges, 0)), near: None, bounding: &mut room.bounding };
            if within {
                table.nearest_within(&all, &rows, &sketches, work);
            } else {
                table.nearest(&all, &rows, &sketches, work);
            }
            for ((query, row), pool) in rows.chunks_exact(DIM).enumerate().zip(pools) {
                let key = |at: u32| {
                    crate::device::simd::distance::exact_distance(Metric::L2, row, &all[at as usize * DIM..][..DIM])
                };
                let mut expected: Vec<u32> = ranges.of(query).iter().cloned().flatten().collect();
                expected.sort_by(|&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
                assert!(pool.sorted().map(|(_, at)| at).eq(expected.into_iter().take(20)), "query {query} {within}");
            }
        }
    }

    #[test]
    fn no_bound_is_below_its_score() {
        let mut noise = noise(3);
        let [all, rows] = [vectors(300, 3), vectors(15, 4)].map(|v| v.iter().map(|x| x + noise()).collect::<Vec<_>>());
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        for table in tables(&all, Metric::L2) {
            let (mut bounding, mean) = (Bounding::default(), &table.basis().mean);
            let sketches = RowSketches::new(table.basis().clone(), &rows).blocks.swap_remove(0);
            table.bound(0..table.bias.len(), 0..15, &sketches, &mut bounding.upper);
            let Bounding { upper: UpperBounds { bounds, .. }, reached, .. } = &mut bounding;
            let (mut slack, mut finer_slack) = (0.0, 0.0);
            for (r, row) in rows.chunks_exact(DIM).enumerate() {
                let bounds = &mut bounds[r * table.bias.len()..][..table.bias.len()];
                let (values, row, nearest) = (row, table.row(row, &sketches, r), &mut Smallest::default());
                let (vectors, likely_first, first) = (&all[..], false, 0);
                let compare = Compare { table: &table, row, vectors, first, bounds, likely_first, reached, nearest };
                let row = centred(values, mean);
                for (at, vector) in centred(&all, mean).chunks_exact(DIM).enumerate() {
                    let score = dot(&row, vector) - 0.5 * dot(vector, vector);
                    let bound = compare.bounds[at];
                    let finer = compare.finer_bound(bound, at);
                    assert!(f64::from(bound) >= score, "{bound} < {score}");
                    assert!(f64::from(finer) >= score, "{finer} < {score}");
                    let loosest = 3.0 * (dot(&row, &row) * dot(vector, vector)).sqrt();
                    assert!(f64::from(bound) <= score + loosest, "{bound} tells nothing of {score}");
                    slack += f64::from(bound) - score;
                    finer_slack += f64::from(finer) - score;
                }
            }
            assert!(finer_slack < 0.7 * slack, "{finer_slack} {slack}");
        }
    }

    #[test]
    fn vectors_without_a_direction_have_no_sketches() {
        let mut noise = noise(1);
        let noise: Vec<f32> = (0..3000 * 768).map(|_| noise()).collect();
        assert!(Basis::of(&noise, 768).is_none());
        assert!(Basis::of(&vectors(255, 5), DIM).is_none(), "they are few");
        // All equal: nothing is in any direction, and nothing is left.
        assert!(Basis::of(&[0.5; 300 * 128], 128).is_none());
    }
}
