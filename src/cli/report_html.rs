//! `report`: one HTML page about the results of many machines and dates.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::Args;
use rvc_gpu_index::bench::Report;
use rvc_gpu_index::{Existing, Result, check_free, write_bytes};
use serde::Serialize;

use super::outputs::check_no_input;
use super::report::{WrittenFile, line};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index report laptop.json desktop.json -o report.html
  rvc-gpu-index report results/*.json -o report.html --force

The page needs no network and no script. Results of one device and workload, but of another time, are held against each
other: changes beyond the spread of both are marked.";

/// Lay the results of benchmarks side by side, in one HTML page
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportHtmlArgs {
    /// Result files of benchmarks
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// Page to write
    #[arg(short, long, value_name = "REPORT.html")]
    output: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
pub struct ReportHtml {
    results: usize,
    /// Those of every result counted.
    devices: usize,
    file: WrittenFile,
}

pub fn run(args: &ReportHtmlArgs) -> Result<ReportHtml> {
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    check_free(&args.output, existing)?;
    check_no_input(&args.output, args.results.iter().map(PathBuf::as_path))?;
    let report = Report::read(&args.results)?;
    write_bytes(&args.output, report.html()?.as_bytes(), existing)?;
    let file = WrittenFile::at(Path::new(&args.output))?;
    Ok(ReportHtml { results: report.results(), devices: report.devices(), file })
}

impl Display for ReportHtml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "results", format_args!("{}, of {} devices", self.results, self.devices))?;
        line(f, "written", &self.file)
    }
}
