//! What the commands that compute have in common.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Args;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::features::{FeatureSource, NonFinite, NpyFiles};
use rvc_gpu_index::{Existing, Result};
use serde::Serialize;

use super::progress::Progress;
use super::report;

/// Rows of a .npy file that are written at a time.
pub const WRITE_ROWS: usize = 8192;

#[derive(Args)]
pub struct RunArgs {
    /// Device: auto, cpu, gpu, gpu:N, or part of a name or backend; `rvc-gpu-index devices` lists them
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Rows that are worked on at a time, which bounds the memory [default: as many as suit the device]
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<NonZeroUsize>,
    /// Leave out rows that hold NaN or infinity, instead of failing; the rows after them move up
    #[arg(long)]
    pub skip_non_finite: bool,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors, and the JSON object if asked for
    #[arg(short, long)]
    pub quiet: bool,
}

impl RunArgs {
    pub fn batch_rows(&self) -> Option<usize> {
        self.batch_rows.map(NonZeroUsize::get)
    }

    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }

    /// Tells which files were left out. Reads all rows in search of NaN and infinity, and leaves them out where that was
    /// asked for. Returns how many rows were left out; they are warned about, too.
    pub fn check_finite(
        &self,
        rows: &mut NpyFiles,
        progress: &mut Progress,
        warnings: &mut Vec<String>,
    ) -> Result<usize> {
        progress.warn_all(rows.notes().to_vec(), warnings);
        let policy = if self.skip_non_finite { NonFinite::Skip } else { NonFinite::Refuse };
        let total = rows.rows();
        let dropped = rows.check_finite(policy, |done| progress.at("checking", done, total))?;
        if dropped > 0 {
            let warning = format!("{dropped} of {total} rows hold NaN or infinity and were left out");
            progress.warn(&warning);
            warnings.push(warning);
        }
        Ok(dropped)
    }

    /// Warns of kernels that the device's driver refused, in whose place others were used.
    pub fn warn_of_refused(device: &Device, progress: &mut Progress, warnings: &mut Vec<String>) {
        let warning = |refused| format!("the GPU's driver refused a kernel, and another was used: {refused}");
        progress.warn_all(device.refused().into_iter().map(warning).collect(), warnings);
    }

    pub fn print(&self, report: &(impl Display + Serialize)) -> Result<()> {
        if self.quiet && !self.json { Ok(()) } else { report::print(report, self.json) }
    }
}

/// Measures one phase after the other.
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the last lap.
    pub fn lap(&mut self) -> f64 {
        std::mem::replace(&mut self.0, Instant::now()).elapsed().as_secs_f64()
    }
}
