//! What the commands that judge an index have in common.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rvc_gpu_index::Result;
use rvc_gpu_index::device::MAX_K;
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::Index;

use super::progress::Progress;
use super::query_args::{check_filled, check_fits, unlisted};
use super::run_args::RunArgs;

/// An index, and what is true about it.
#[derive(Args)]
pub struct GroundTruthArgs {
    /// Index file of this program or of faiss. The exact rows behind RFlat are read from it as they are needed (memory
    /// mapping): while this runs, replace the file by a rename, as this program does, and do not write into it. Where it is
    /// cut short, the system ends this program with SIGBUS
    pub index: PathBuf,
    /// Rows whose exact neighbours count, row i being the one with the id i: an experiment folder, a folder of .npy files
    /// or .npy files, named one by one [default: the rows of the index, where it has exact ones]
    #[arg(long, value_name = "ROWS")]
    base: Vec<PathBuf>,
    /// Neighbours a query
    #[arg(short, default_value = "8", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_K as u64))]
    pub k: usize,
}

impl GroundTruthArgs {
    /// Opens the rows that count; `None` for those of the index.
    pub fn base(&self) -> Result<Option<NpyFiles>> {
        if self.base.is_empty() { Ok(None) } else { NpyFiles::open(&self.base).map(Some) }
    }

    /// Fails where an index cannot be judged by such rows; reads them in search of NaN and infinity.
    pub fn check(
        &self,
        index: &Index,
        base: Option<&mut NpyFiles>,
        run: &RunArgs,
        progress: &mut Progress,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        check_filled(&self.index, index)?;
        progress.warn_all(unlisted(&self.index, index).into_iter().collect(), warnings);
        let Some(base) = base else { return Ok(()) };
        check_fits((&self.index, index), (&self.base[0], base))?;
        run.check_finite(base, progress, warnings).map(drop)
    }
}

/// The rows that count, as the library takes them.
pub fn source(base: &Option<NpyFiles>) -> Option<&dyn FeatureSource> {
    base.as_ref().map(|base| base as &dyn FeatureSource)
}
