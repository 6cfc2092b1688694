//! What holds of bounds whatever the data: none is below its score, and what they lead to is what comparing all finds.

use std::sync::Arc;

use super::*;
use crate::device::cpu::pruning::byte_products::byte_bounds;
use crate::device::cpu::pruning::sketch::{Basis, RowSketches};
use crate::device::cpu::workspace::Workspace;
use crate::device::simd::distance::exact_distance;
use crate::device::simd::on_every_instruction_set;
use crate::factory::Metric;

const DIM: usize = 160;
const VECTORS: usize = 300;
const ROWS: usize = 12;

/// A value by number and coordinate.
type Value = fn(usize, usize) -> f32;

/// Vectors about 0, of length 1 or so.
const KINDS: [(&str, Value); 7] = [
    ("a few directions and noise", |i, j| {
        (0..9).map(|d| wave(i * 31 + d * 17, 3) * ((j * (d + 1)) as f32 * 0.7).sin()).sum::<f32>()
            + 0.2 * wave(i * 57, j)
    }),
    ("noise in half of the coordinates", |i, j| if j % 2 == 0 { wave(i, j) } else { 0.01 * wave(i, j) }),
    ("rank 3", |i, j| (0..3).map(|d| wave(i, d) * wave(d, j)).sum()),
    ("one coordinate", |i, j| if j == 5 { wave(i, j) } else { 0.0 }),
    ("two points", |i, j| wave(i % 2, j)),
    ("lengths far apart", |i, j| wave(i, i % 4 + 160) * wave(i % 4, j) * (i as f32 % 41.0 - 20.0).exp2()),
    ("all equal", |_, _| 0.0),
];

fn wave(i: usize, j: usize) -> f32 {
    ((i * 7919 + j * 104_729 + i * j % 613) % 1009) as f32 / 504.5 - 1.0
}

/// `count` vectors of a kind, numbered from `first` on, moved away from the origin and scaled.
fn vectors(kind: Value, first: usize, count: usize, offset: f32, scale: f32) -> Vec<f32> {
    let value = |i, j| scale * (offset * (1.0 + 0.3 * wave(1, j)) + kind(first + i, j));
    (0..count * DIM).map(|at| value(at / DIM, at % DIM)).collect()
}

#[test]
fn bounds_hold_on_every_instruction_set() {
    on_every_instruction_set("device::cpu::pruning::bounds::properties::bounds_hold");
}

#[test]
#[ignore = "run by the test above, once an instruction set"]
fn bounds_hold() {
    let mut bounded = 0;
    for (name, kind) in KINDS {
        for offset in [0.0, 1.0, 184.0, 606.0, 1e6] {
            for scale in [1e-20, 1e-6, 1.0, 1e15] {
                let all = vectors(kind, 0, VECTORS, offset, scale);
                let mut rows = vectors(kind, VECTORS, ROWS, offset, scale);
                rows[..DIM].copy_from_slice(&all[7 * DIM..8 * DIM]);
                rows[DIM..2 * DIM].fill(0.0);
                rows[2 * DIM..3 * DIM].iter_mut().for_each(|x| *x *= 300.0);
                for bytes in [false, true].into_iter().filter(|&bytes| !bytes || byte_bounds(1).is_some()) {
                    let Some(basis) = Basis::with_shares(&all, DIM, bytes).map(Arc::new) else { continue };
                    bounded += 1;
                    for metric in [Metric::L2, Metric::InnerProduct] {
                        let table = SketchTable::new(basis.clone(), &all, metric);
                        let told = format!("{metric}, {name}, offset {offset}, scale {scale:e}, bytes {bytes}");
                        none_is_below_its_score(&table, &all, &rows, &told);
                        what_is_found_is_what_comparing_all_finds(&table, &all, &rows, &told);
                    }
                }
            }
        }
    }
    assert!(bounded >= 80, "only {bounded} of these data have sketches");
}

/// The score in 64-bit floats: x'·c' − ½‖c'‖² or x'·c' + μ·c', with x' and c' less the mean μ.
fn score(metric: Metric, row: &[f32], vector: &[f32], mean: &[f32]) -> (f64, f64) {
    let each = row.iter().zip(vector).zip(mean).map(|((&x, &c), &mean)| {
        let [x, c, mean] = [x, c, mean].map(f64::from);
        let (x, c) = (x - mean, c - mean);
        (x * c, if metric == Metric::L2 { -0.5 * c * c } else { mean * c })
    });
    // The sum, and about what it is exact to.
    each.fold((0.0, 0.0), |(sum, exact), (a, b)| (sum + a + b, exact + 1e-14 * (a.abs() + b.abs())))
}

fn none_is_below_its_score(table: &SketchTable, all: &[f32], rows: &[f32], told: &str) {
    let mut bounding = Bounding::default();
    let sketches = RowSketches::new(table.basis().clone(), rows).blocks.swap_remove(0);
    table.bound(0..table.bias.len(), 0..ROWS, &sketches, &mut bounding.upper);
    let Bounding { upper: UpperBounds { bounds, .. }, reached, .. } = &mut bounding;
    for (r, values) in rows.chunks_exact(DIM).enumerate() {
        let bounds = &mut bounds[r * table.bias.len()..][..table.bias.len()];
        let (row, nearest) = (table.row(values, &sketches, r), &mut Smallest::default());
        let compare = Compare { table, row, vectors: all, first: 0, bounds, likely_first: false, reached, nearest };
        for (at, vector) in all.chunks_exact(DIM).enumerate() {
            let (score, exact) = score(table.metric, values, vector, &table.basis().mean);
            let bound = compare.bounds[at];
            for bound in [bound, compare.finer_bound(bound, at)].map(f64::from) {
                // A bound of NaN rules nothing out.
                assert!(bound.is_nan() || bound >= score - exact, "{told}, row {r}, vector {at}: {bound} < {score}");
            }
        }
    }
}

fn what_is_found_is_what_comparing_all_finds(table: &SketchTable, all: &[f32], rows: &[f32], told: &str) {
    for k in [1, 8] {
        let mut room = Workspace::default();
        let sketches = RowSketches::new(table.basis().clone(), rows).blocks.swap_remove(0);
        let pools = room.pools.renew(ROWS, k);
        let work = Work { pools, among: None, near: None, bounding: &mut room.bounding };
        table.nearest(all, rows, &sketches, work);
        for (r, (row, pool)) in rows.chunks_exact(DIM).zip(pools).enumerate() {
            let sign = if table.metric == Metric::L2 { 1.0 } else { -1.0 };
            let key = |vector| sign * exact_distance(table.metric, row, vector);
            let mut expected: Vec<_> = all.chunks_exact(DIM).map(key).zip(0u32..).collect();
            expected.retain(|(key, _)| key.is_finite());
            expected.sort_by(|a, b| (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.1.cmp(&b.1)));
            let found: Vec<u32> = pool.sorted().map(|(_, at)| at).collect();
            assert!(found.iter().eq(expected.iter().take(k).map(|e| &e.1)), "{told}, row {r}, k {k}: {found:?}");
        }
    }
}
