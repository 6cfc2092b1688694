//! The plain float64 truth that stages are measured against, and the data they are measured on.

use std::cell::RefCell;

use super::Failed;
use crate::device::RowFormat;
use crate::factory::Metric;

/// Widths: below, at and above a vec4, a tile and a SIMD register, and those of voices.
pub const DIMS: [usize; 7] = [1, 3, 64, 100, 256, 257, 768];

thread_local! {
    /// What was drawn since it was last asked, so that who sees a case fail knows what it computed on.
    static DRAWN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What this thread drew since it asked last, in words.
pub fn drawn() -> String {
    DRAWN.take().join(", ")
}

fn note(words: String) {
    DRAWN.with_borrow_mut(|drawn| {
        if !drawn.contains(&words) {
            drawn.push(words);
        }
    });
}

/// Reproducible values in −1..1 (a 64-bit linear congruential generator).
pub fn random(count: usize, seed: u64) -> Vec<f32> {
    note(format!("{count} random values of seed {seed}"));
    uniform(count, seed)
}

fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Values that vary in a few directions much more than in the others, as features do, around a mean far from 0.
pub fn correlated(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    const DIRECTIONS: usize = 12;
    note(format!("{rows} correlated rows of {dim} of seed {seed}"));
    let (directions, mean) = (uniform(DIRECTIONS * dim, 1001), uniform(dim, 1002));
    let (amounts, noise) = (uniform(rows * DIRECTIONS, seed), uniform(rows * dim, seed + 1));
    let mut values = noise;
    for (row, amounts) in values.chunks_exact_mut(dim).zip(amounts.chunks_exact(DIRECTIONS)) {
        for (i, x) in row.iter_mut().enumerate() {
            let shared: f32 = amounts.iter().zip(directions.chunks_exact(dim)).map(|(a, d)| a * d[i]).sum();
            *x = 0.5 * *x + shared + 3.0 * mean[i];
        }
    }
    values
}

/// Rows as a device keeps them.
pub fn kept(rows: &[f32], format: RowFormat) -> Vec<f32> {
    match format {
        RowFormat::F32 => rows.to_vec(),
        RowFormat::F16 => rows.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect(),
    }
}

/// Squared distance or inner product.
pub fn distance(metric: Metric, x: &[f32], y: &[f32]) -> f64 {
    let pairs = x.iter().zip(y).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    match metric {
        Metric::L2 => pairs.map(|(x, y)| (x - y) * (x - y)).sum(),
        Metric::InnerProduct => pairs.map(|(x, y)| x * y).sum(),
    }
}

/// Smaller is nearer for either metric.
pub fn key(metric: Metric, x: &[f32], y: &[f32]) -> f64 {
    let distance = distance(metric, x, y);
    if metric == Metric::L2 { distance } else { -distance }
}

/// What rounding may do to a distance between these two: 2⁻²⁰ of the terms' magnitudes.
pub fn tolerance(x: &[f32], y: &[f32]) -> f64 {
    let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    (norm(x) + norm(y)) / f64::from(1 << 20)
}

/// Fails with a message unless `holds`.
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(message().into()) }
}

/// Fails unless `found` is within 1e-5 of `expected`, relative, or within `rounding` of it.
pub fn close(found: f32, expected: f64, rounding: f64, what: impl FnOnce() -> String) -> Result<(), Failed> {
    let bound = rounding.max(1e-5 * expected.abs());
    ensure((f64::from(found) - expected).abs() <= bound, || format!("{}: {found}, expected {expected}", what()))
}
