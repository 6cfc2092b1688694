//! What was measured, as text and as JSON.

use std::fmt::{self, Display};
use std::process::Command;

use rvc_gpu_index::bench::UtcTime;
use rvc_gpu_index::device::DeviceInfo;
use serde::Serialize;

use super::Machine;
use super::sample::{Clock, Seconds};
use super::stages::{Stage, Work};

/// How what a stage has to do is counted, with N rows, q queries or segments, d floats a row, m sub-quantizers.
pub const FORMULAS: &str = "
counted, of N rows, d floats a row, q queries or segments:
  nearest_centroid  2 N nlist d flops, 4 d (N + nlist) bytes
  centroid_update   N d flops, 4 d (N + 2 nlist) bytes
  exact_topk        3 q N d flops, 4 d N bytes, its answer's way to the host timed too
  pq_encode         3 * 16 N d flops, N (4 d + m / 2) bytes
  lookup_tables     3 * 16 N d flops, N (4 d + 16 m) bytes
  fast_scan         N m / 2 bytes, look-ups not counted, its answer's way to the host timed too
  select_topk       8 q N bytes, which a GPU gets from the host, its answer's way back timed too
A stage that finds its bytes in a cache, or leaves work out, may pass 100 %.";

/// What the device can do at all.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Ceilings {
    /// Floating-point operations a second in multiply-adds, two each.
    pub flops: f64,
    /// Bytes a second of a copy within the device's memory, read ones and written ones.
    pub copy: f64,
    /// Bytes a second from the host.
    pub upload: Option<f64>,
    /// Bytes a second to the host.
    pub readback: Option<f64>,
    /// From submission to the answer on the host.
    pub latency: Option<Seconds>,
}

/// One stage.
#[derive(Serialize)]
pub struct Measured {
    stage: &'static str,
    rows: usize,
    shape: String,
    clock: Clock,
    seconds: Seconds,
    flops: f64,
    bytes: f64,
    uploaded: f64,
    flops_a_second: f64,
    bytes_a_second: f64,
    /// The ceiling that leaves the least room, and how much of it the stage takes.
    bound: &'static str,
    share: f64,
}

impl Measured {
    pub fn new(stage: &Stage, rows: usize, clock: Clock, seconds: Seconds, work: Work, ceilings: &Ceilings) -> Self {
        let upload = ceilings.upload.map_or(0.0, |upload| work.uploaded / upload);
        let least = [("flops", work.flops / ceilings.flops), ("copy", work.bytes / ceilings.copy), ("upload", upload)];
        let (bound, least) = least.into_iter().fold(("copy", 0.0), |a, b| if b.1 > a.1 { b } else { a });
        Self {
            stage: stage.name,
            rows,
            shape: stage.shape.clone(),
            clock,
            seconds,
            flops: work.flops,
            bytes: work.bytes,
            uploaded: work.uploaded,
            flops_a_second: work.flops / seconds.median,
            bytes_a_second: work.bytes / seconds.median,
            bound,
            share: least / seconds.median,
        }
    }
}

#[derive(Serialize)]
pub struct Report {
    schema: u32,
    date: String,
    commit: Option<String>,
    quick: bool,
    device: DeviceInfo,
    driver: String,
    /// What stages are timed by that leave their results on the device.
    clock: Clock,
    /// Cooperative matrices that the adapter offers.
    cooperative_matrices: Vec<String>,
    pub ceilings: Ceilings,
    pub stages: Vec<Measured>,
}

impl Report {
    pub fn new(machine: &Machine, ceilings: Ceilings, quick: bool) -> Self {
        let device = machine.device.info().clone();
        Self {
            schema: 1,
            date: UtcTime::now().date().into(),
            commit: commit(),
            quick,
            driver: device.driver.clone(),
            device,
            clock: machine.clock(),
            cooperative_matrices: machine.host.as_ref().map(|host| host.matrices.clone()).unwrap_or_default(),
            ceilings,
            stages: Vec::new(),
        }
    }
}

/// All but the stages, which follow line by line as they are measured.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ceilings { flops, copy, upload, readback, latency } = self.ceilings;
        writeln!(f, "{} ({}), {}", self.device.name, self.device.backend, self.driver)?;
        writeln!(f, "clock: {}", if self.clock == Clock::Gpu { "the GPU's" } else { "the host's" })?;
        writeln!(f, "multiply-adds {:12.1} GFLOP/s", flops / 1e9)?;
        writeln!(f, "copy          {:12.1} GB/s, read and written", copy / 1e9)?;
        for (name, rate) in [("upload", upload), ("readback", readback)] {
            rate.map_or(Ok(()), |rate| writeln!(f, "{name:13} {:12.1} GB/s", rate / 1e9))?;
        }
        if let Some(Seconds { p10, median, p90, .. }) = latency {
            let [p10, median, p90] = [p10, median, p90].map(|seconds| seconds * 1e6);
            writeln!(f, "latency       {median:12.1} µs ({p10:.1} to {p90:.1}), from submission to the answer")?;
        }
        if !self.cooperative_matrices.is_empty() {
            writeln!(f, "cooperative matrices: {}", self.cooperative_matrices.join("; "))?;
        }
        let [rows, median, spread, gflops, gbytes] = ["rows", "median ms", "p10 to p90", "GFLOP/s", "GB/s"];
        writeln!(
            f,
            "\n{:16} {:38} {rows:>7} {median:>10} {spread:>20} clock {gflops:>9} {gbytes:>8} {:>14}",
            "stage", "shape", "of its ceiling"
        )
    }
}

impl Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p10, median, p90] = [self.seconds.p10, self.seconds.median, self.seconds.p90].map(|seconds| seconds * 1e3);
        write!(f, "{:16} {:38} {:7} {median:10.3}", self.stage, self.shape, self.rows)?;
        write!(f, " {:>20} {:5}", format!("{p10:.3} to {p90:.3}"), self.clock)?;
        write!(f, " {:9.1} {:8.1}", self.flops_a_second / 1e9, self.bytes_a_second / 1e9)?;
        write!(f, " {:6.1} % {}", 100.0 * self.share, self.bound)
    }
}

fn commit() -> Option<String> {
    let done = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_string())
}
