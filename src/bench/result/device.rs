//! What a run measured on one device.

use serde::{Deserialize, Serialize};

use super::Summary;
use crate::device::DeviceInfo;
use crate::selftest::FailedCase;

/// One device: what it is, whether it computes right, and all that was measured on it. Where a device fails in the middle,
/// what was measured until then stays, and `error` says why there is no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceResult {
    /// Name, backend, driver, limits and features.
    pub info: DeviceInfo,
    /// Who makes it, where the driver says.
    pub vendor: Option<String>,
    /// The conformance cases; `None` where they were not run.
    pub selftest: Option<Selftest>,
    /// What the device can do at all; `None` where it was not measured.
    pub ceilings: Option<Ceilings>,
    /// The cooperative matrices that its driver offers, which are not used.
    #[serde(default)]
    pub cooperative_matrices: Vec<String>,
    /// Stages by themselves.
    #[serde(default)]
    pub stages: Vec<StageResult>,
    /// Builds end to end.
    #[serde(default)]
    pub builds: Vec<BuildResult>,
    /// Calls of a few frames, as a voice host makes them.
    #[serde(default)]
    pub live: Vec<LiveResult>,
    /// Searches of many queries, a setting each.
    #[serde(default)]
    pub searches: Vec<SearchResult>,
    /// What to keep in mind about these figures.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why the rest is missing: the device was lost, its memory ran out.
    pub error: Option<String>,
}

impl DeviceResult {
    /// True where a conformance case failed: then no figure of the device is to be trusted.
    pub fn fails_selftest(&self) -> bool {
        self.selftest.as_ref().is_some_and(|selftest| selftest.failed > 0)
    }

    /// What tells it from other devices of its machine. The driver is no part of it: what a new one changes is to be seen.
    pub(crate) fn identity(&self) -> [&str; 3] {
        [&self.info.selector, &self.info.name, &self.info.backend]
    }
}

/// The verdict of the conformance cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selftest {
    /// Cases that the device computed right.
    pub passed: u64,
    /// Cases that it computed wrong.
    pub failed: u64,
    /// The first of these.
    pub first_failure: Option<FailedCase>,
}

/// What a device can do at all. Medians are the ceilings that stages are held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations a second in multiply-adds, two each.
    pub flops: Summary,
    /// Bytes a second of a copy within the device's memory, read ones and written ones.
    pub copy: Summary,
    /// Bytes a second from the host; `None` for the CPU engine, as the two below.
    pub upload: Option<Summary>,
    /// Bytes a second to the host.
    pub readback: Option<Summary>,
    /// Seconds from submission to the answer on the host.
    pub latency: Option<Summary>,
}

/// What seconds are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The GPU's timestamps, before and behind the work in its queue.
    Gpu,
    /// The host's clock, from before the first submission to after the wait for the last.
    Wall,
}

/// The ceiling that leaves a stage the least room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic.
    Flops,
    /// The device's memory.
    Copy,
    /// The way from the host.
    Upload,
}

/// One stage, run again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// The stage's name, as its shader has it.
    pub stage: String,
    /// Which of several kernels it was: `tile 64x128`.
    pub variant: Option<String>,
    /// What the rows are compared with, in words.
    pub shape: String,
    /// Rows that it worked on.
    pub rows: usize,
    /// What the seconds are read from.
    pub clock: Clock,
    /// Seconds a run.
    pub seconds: Summary,
    /// Floating-point operations a run, at the least.
    pub flops: f64,
    /// Bytes that a run reads from and writes to the device's memory, at the least.
    pub bytes: f64,
    /// Bytes that a run gets from the host.
    pub uploaded: f64,
    /// The ceiling that leaves the least room.
    pub bound: Bound,
    /// The least time that this ceiling allows, by the median time. Above 1 where bytes come from a cache or work is left
    /// out.
    pub share: f64,
}

/// One index, built from the workload's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildResult {
    /// The index, as faiss names it.
    pub factory: String,
    /// Its inverted lists.
    pub nlist: Option<usize>,
    /// What it was made in, in order: `train`, `add`, `write`.
    pub phases: Vec<Phase>,
    /// Seconds from the first row read to the file written.
    pub seconds: Summary,
    /// Mean squared distance of a row to its centroid after training.
    pub objective: Option<f64>,
}

/// A part of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `train`, `add`, `write`.
    pub phase: String,
    /// Seconds that it took.
    pub seconds: Summary,
}

/// Live calls of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveResult {
    /// The index, as faiss names it.
    pub factory: String,
    /// Lists that were visited; `None` where all rows were scanned.
    pub nprobe: Option<usize>,
    /// k · `k_factor` candidates were re-ranked; `None` where none were.
    pub k_factor: Option<f64>,
    /// Neighbours a frame.
    pub k: usize,
    /// Frames a call.
    pub frames: usize,
    /// Seconds a call; the median is p50.
    pub seconds: Summary,
    /// The 0th, 1st … 100th percentile of the seconds a call, by [`percentiles`](super::percentiles).
    pub percentiles: Vec<f64>,
}

/// Searches of all the workload's queries with one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// The index, as faiss names it.
    pub factory: String,
    /// Lists that were visited; `None` for an index without lists.
    pub nprobe: Option<usize>,
    /// k · `k_factor` candidates were re-ranked; `None` for an index that does not.
    pub k_factor: Option<f64>,
    /// Neighbours a query.
    pub k: usize,
    /// Share of the exact k nearest rows that were found: recall@k.
    pub recall: f64,
    /// Queries a second.
    pub queries_per_second: Summary,
}
