//! `info`: what is in an index file.

use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::index::ListSpread;
use rvc_gpu_index::{Result, faiss};
use serde::Serialize;

use super::report::{WrittenFile, line};

/// Show what is in an index file
#[derive(Args)]
pub struct InfoArgs {
    /// Index file of this program or of faiss
    index: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
pub struct InfoReport {
    file: WrittenFile,
    kind: String,
    d: usize,
    ntotal: usize,
    /// Rows in no list, besides.
    unlisted: usize,
    metric: Metric,
    trained: bool,
    nlist: Option<usize>,
    nprobe: Option<usize>,
    list_sizes: Option<ListSpread>,
}

pub fn run(args: &InfoArgs) -> Result<InfoReport> {
    let index = faiss::map_index(&args.index)?;
    Ok(InfoReport {
        file: WrittenFile::at(&args.index)?,
        kind: index.spec().to_string(),
        d: index.dim(),
        ntotal: index.ntotal(),
        unlisted: index.unlisted(),
        metric: index.metric(),
        trained: index.is_trained(),
        nlist: index.nlist(),
        nprobe: index.nprobe(),
        list_sizes: index.spread(),
    })
}

impl Display for InfoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "file", &self.file)?;
        line(f, "index", format_args!("{}, {}", self.kind, self.metric))?;
        let unlisted =
            if self.unlisted > 0 { format!(", and {} in no list (NaN)", self.unlisted) } else { String::new() };
        line(f, "rows", format_args!("{} × {}{unlisted}", self.ntotal, self.d))?;
        line(f, "trained", if self.trained { "yes" } else { "no" })?;
        if let (Some(nlist), Some(nprobe)) = (self.nlist, self.nprobe) {
            line(f, "nlist", format_args!("{nlist}, of which a search visits {nprobe}"))?;
        }
        let Some(ListSpread { min, mean, median, max, empty, imbalance }) = &self.list_sizes else { return Ok(()) };
        line(f, "list sizes", format_args!("{min} to {max}, mean {mean:.1}, median {median:.1}, {empty} empty"))?;
        match imbalance {
            Some(factor) => line(f, "imbalance", format_args!("{factor:.3}")),
            None => Ok(()),
        }
    }
}
