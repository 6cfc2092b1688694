//! Samples of seconds.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Outcome;

/// Runs that are counted at least and at most.
const RUNS: [usize; 2] = [3, 200];

/// What seconds are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The GPU's, in its queue before and behind the work.
    Gpu,
    /// The host's, from before the first submission to after the wait for the last.
    Wall,
}

impl Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Clock::Gpu { "gpu" } else { "wall" })
    }
}

/// Seconds of several runs of the same.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seconds {
    /// The fastest run.
    pub best: f64,
    /// Nine of ten runs take longer.
    pub p10: f64,
    /// Half of the runs take longer.
    pub median: f64,
    /// One of ten runs takes longer.
    pub p90: f64,
    /// How many they were.
    pub runs: usize,
}

impl Seconds {
    /// As many runs as `patience` allows, after one that warms up.
    pub fn of(patience: Duration, mut run: impl FnMut() -> Outcome<f64>) -> Outcome<Self> {
        run()?;
        let begun = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < RUNS[0] || seconds.len() < RUNS[1] && begun.elapsed() < patience {
            seconds.push(run()?);
        }
        seconds.sort_by(f64::total_cmp);
        let at = |tenths: usize| seconds[(seconds.len() - 1) * tenths / 10];
        Ok(Self { best: seconds[0], p10: at(1), median: at(5), p90: at(9), runs: seconds.len() })
    }
}

/// Seconds by the host's clock.
pub fn wall(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}
