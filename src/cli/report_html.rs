//! `report`: one HTML page about the results of many machines and dates.

use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::bench::Report;
use rvc_gpu_index::{Existing, Result, check_free, write_bytes};
use serde::Serialize;

use super::outputs::{check_apart, check_no_input};
use super::report::{WrittenFile, line};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index report laptop.json desktop.json -o report.html
  rvc-gpu-index report results/*.json -o report.html --force
  rvc-gpu-index report laptop.json -o report.html --svg recall.svg

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
    /// .svg file for recall against queries a second of all devices and indexes, in one plot
    #[arg(long, value_name = "RECALL.svg")]
    svg: Option<PathBuf>,
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
    svg: Option<WrittenFile>,
}

pub fn run(args: &ReportHtmlArgs) -> Result<ReportHtml> {
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    for output in std::iter::once(&args.output).chain(&args.svg) {
        check_free(output, existing)?;
        check_no_input(output, args.results.iter().map(PathBuf::as_path))?;
    }
    args.svg.iter().try_for_each(|svg| check_apart(svg, &args.output, "the page"))?;
    let report = Report::read(&args.results)?;
    let plot = args.svg.as_ref().map(|_| report.recall_plot()?.document()).transpose()?;
    write_bytes(&args.output, report.html()?.as_bytes(), existing)?;
    if let Some((svg, plot)) = args.svg.as_ref().zip(plot) {
        write_bytes(svg, plot.as_bytes(), existing)?;
    }
    let svg = args.svg.as_deref().map(WrittenFile::at).transpose()?;
    let file = WrittenFile::at(&args.output)?;
    Ok(ReportHtml { results: report.results(), devices: report.devices(), file, svg })
}

impl Display for ReportHtml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "results", format_args!("{}, of {} devices", self.results, self.devices))?;
        line(f, "written", &self.file)?;
        self.svg.iter().try_for_each(|svg| line(f, "written", svg))
    }
}
