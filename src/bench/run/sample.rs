//! Samples of the same, again and again.

use std::time::{Duration, Instant};

use crate::bench::Summary;
use crate::error::{Error, Result};

/// Runs that are counted at least and at most.
const RUNS: [usize; 2] = [3, 200];

/// As many runs as `patience` allows, after one that warms up: what `run` returns, each time.
pub(super) fn sample(patience: Duration, mut run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    run()?;
    let begun = Instant::now();
    let mut values = Vec::new();
    while values.len() < RUNS[0] || values.len() < RUNS[1] && begun.elapsed() < patience {
        values.push(run()?);
    }
    Ok(values)
}

/// What so much of something takes, as a rate: `amount` a run by the seconds of each.
pub(super) fn rates(amount: f64, seconds: &[f64]) -> Result<Summary> {
    summary(&seconds.iter().map(|seconds| amount / seconds).collect::<Vec<_>>())
}

/// Of at least one value.
pub(super) fn summary(values: &[f64]) -> Result<Summary> {
    Summary::of(values).ok_or_else(|| Error::parameter("repeats", 0, "measure at least once"))
}

/// Seconds by the host's clock.
pub(super) fn wall(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}
