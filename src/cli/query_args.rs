//! What the commands that search an index have in common.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rvc_gpu_index::device::MAX_K;
use rvc_gpu_index::factory::IndexSpec;
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{Index, SearchParams};
use rvc_gpu_index::{Error, Result};

/// Rows that are searched for at a time unless asked otherwise.
pub const BATCH_ROWS: usize = 4096;

/// What is asked of an index.
#[derive(Args)]
pub struct QueryArgs {
    /// Neighbours a query
    #[arg(short, default_value = "8", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_K as u64))]
    pub k: usize,
    /// Lists to visit [default: what the index file says]
    #[arg(long, value_name = "N")]
    nprobe: Option<NonZeroUsize>,
    /// Candidates a neighbour that an index with RFlat re-ranks [default: what the index file says]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    k_factor: Option<f32>,
}

impl QueryArgs {
    pub fn params(&self) -> SearchParams {
        SearchParams { nprobe: self.nprobe.map(NonZeroUsize::get), k_factor: self.k_factor }
    }

    /// Candidates a neighbour that a search is going to re-rank.
    pub fn k_factor(&self, index: &Index) -> Option<f32> {
        index.refine().map(|refine| self.k_factor.unwrap_or(refine.k_factor()))
    }

    /// Fails where the index cannot answer such queries; returns the number of lists that a search is going to visit.
    pub fn check(
        &self,
        (index_file, index): (&Path, &Index),
        (queries_file, queries): (&Path, &NpyFiles),
    ) -> Result<Option<usize>> {
        check_fits((index_file, index), (queries_file, queries))?;
        match (index.nlist().zip(index.nprobe()), self.nprobe) {
            (None, Some(nprobe)) => Err(needs_ivf("nprobe", nprobe.get(), &index.spec())),
            (None, None) => Ok(None),
            (Some((_, 0)), None) => Err(Error::Input {
                path: index_file.into(),
                found: "has nprobe 0, so that a search visits no list".into(),
                remedy: "pass --nprobe".into(),
            }),
            (Some((nlist, nprobe)), asked) => Ok(Some(asked.map_or(nprobe, NonZeroUsize::get).min(nlist))),
        }
    }
}

/// Fails where the rows of a file are no queries for an index, or the index has no rows to find.
pub fn check_fits((index_file, index): (&Path, &Index), (rows_file, rows): (&Path, &NpyFiles)) -> Result<()> {
    let input = |path: &Path, found, remedy: &str| {
        let path = PathBuf::from(path);
        Error::Input { path, found, remedy: remedy.into() }
    };
    if rows.dim() != index.dim() {
        let (file, dim) = (index_file.display(), index.dim());
        let found = format!("has rows of {}, where the index {file} has {dim}", rows.dim());
        return Err(input(rows_file, found, "pass features of the same model as the index"));
    }
    check_filled(index_file, index)
}

/// Fails for an index without rows, as RVC writes one after training.
pub fn check_filled(path: &Path, index: &Index) -> Result<()> {
    let found = match (index.ntotal(), index.unlisted()) {
        (1.., _) => return Ok(()),
        _ if !index.is_trained() => "is not trained, so it has no rows".to_string(),
        (_, 0) => "has no rows".to_string(),
        (_, unlisted) => format!("has no rows but {unlisted} of NaN, which no search finds"),
    };
    let is_trained_file = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("trained_"));
    let remedy = if is_trained_file {
        "name the added_… file beside it"
    } else {
        "name an index that has: RVC's added_… file"
    };
    Err(Error::Input { path: path.into(), found, remedy: remedy.into() })
}

/// What there is to say about an index of which a search does not find all rows.
pub fn unlisted(path: &Path, index: &Index) -> Option<String> {
    let (unlisted, total) = (index.unlisted(), index.ntotal() + index.unlisted());
    let path = path.display();
    (unlisted > 0).then(|| format!("{path}: {unlisted} of {total} rows are in no list (NaN), and no search finds them"))
}

/// The error for a parameter of lists where there are none.
pub fn needs_ivf(name: &'static str, asked: usize, spec: &IndexSpec) -> Error {
    Error::Parameter {
        name,
        found: format!("--{name} is {asked}, but the index {spec} has no lists (no IVF)"),
        remedy: format!("leave --{name} out, or take an index with lists: IVF,Flat"),
    }
}
