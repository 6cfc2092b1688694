//! The report: one HTML file about the results of many machines and dates, which needs no network and no script.

mod changes;
mod figures;
mod page;
mod plots;
mod series;
mod table;
mod tables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::plot::Plot;
use super::result::{BenchResult, DeviceResult};
use crate::error::{Error, Result};

/// Results side by side, the earliest first.
#[derive(Debug)]
pub struct Report {
    runs: Vec<Run>,
}

/// One result file.
#[derive(Debug)]
struct Run {
    path: PathBuf,
    result: BenchResult,
    /// The same, in which tables look their figures up.
    json: Value,
}

impl Report {
    /// Reads result files.
    ///
    /// # Errors
    /// As [`BenchResult::read`]; [`Error::Input`] names both files where two have a device at the same time,
    /// [`Error::Parameter`] where none is named.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::parameter("results", "none is named", "name at least one result file"));
        }
        let mut runs = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let result = BenchResult::read(path)?;
            let json =
                serde_json::to_value(&result).map_err(|error| Error::input(path, error, "run the benchmark again"))?;
            runs.push(Run { path: path.to_path_buf(), result, json });
        }
        check_different(&runs)?;
        runs.sort_by(|a, b| a.result.time.cmp(&b.result.time));
        Ok(Self { runs })
    }

    /// How many results there are.
    pub fn results(&self) -> usize {
        self.runs.len()
    }

    /// How many devices they have, those of every result counted.
    pub fn devices(&self) -> usize {
        self.runs.iter().map(|run| run.result.devices.len()).sum()
    }

    /// The page.
    ///
    /// # Errors
    /// [`Error::Parameter`] where a plot cannot be drawn.
    pub fn html(&self) -> Result<String> {
        page::page(&self.runs)
    }

    /// Recall against queries a second of all devices and indexes, as one plot that stands by itself.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the results are of different work, which cannot be compared, or have no searches.
    pub fn recall_plot(&self) -> Result<Plot> {
        let all = series::all(&self.runs);
        match &series::groups(&all)[..] {
            [group] => plots::recall_of_all(group),
            groups => {
                let found = format!("{} workloads", groups.len());
                Err(Error::parameter("results", found, "a plot is of one: name results of the same work"))
            }
        }
    }
}

impl Run {
    /// What tells a device from those of all other machines.
    fn identity<'a>(&'a self, device: &'a DeviceResult) -> [&'a str; 5] {
        let [selector, name, backend] = device.identity();
        [&self.result.host.os, &self.result.host.cpu, selector, name, backend]
    }
}

/// Fails where two results have a device at the same time: one of them is a copy.
fn check_different(runs: &[Run]) -> Result<()> {
    let mut seen: HashMap<_, &Run> = HashMap::new();
    for run in runs {
        for device in &run.result.devices {
            if let Some(other) = seen.insert((run.identity(device), &run.result.time), run) {
                let (name, time) = (&device.info.name, &run.result.time);
                let found = format!("has {name} at {time}, and so has {}", other.path.display());
                return Err(Error::input(&run.path, found, "name only one of the two"));
            }
        }
    }
    Ok(())
}
