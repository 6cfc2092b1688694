//! Result files: what one run of the benchmark measured, as JSON. `docs/results.md` describes it field by field.

mod check;
mod device;
mod summary;
mod time;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;

pub use device::{
    Bound, BuildResult, Ceilings, Clock, DeviceResult, LiveResult, Phase, SearchResult, Selftest, StageResult,
};
pub use summary::{Summary, percentiles};
pub use time::UtcTime;

use crate::error::{Error, Result};
use crate::output::{Existing, write_bytes};

/// The version of result files that this crate writes and reads. Fields may be added without a new one.
pub const SCHEMA: u32 = 1;

const REMEDY: &str = "pass a result file as the benchmark wrote it";

/// A run of the benchmark on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program that measured.
    pub version: String,
    /// Its commit, where it is known.
    pub commit: Option<String>,
    /// When the run began.
    pub time: UtcTime,
    /// The command line, as it would be typed again.
    pub command: String,
    /// The machine.
    pub host: HostInfo,
    /// What was built and searched.
    pub workload: Workload,
    /// True where the run was cut short by request: its figures are rougher.
    pub quick: bool,
    /// What was measured, device by device.
    pub devices: Vec<DeviceResult>,
}

/// The machine that a run was on. It has no name here: results are made to be passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// Its version, in words.
    pub os_version: Option<String>,
    /// The CPU's name.
    pub cpu: String,
    /// Threads that the CPU engine used.
    pub threads: usize,
    /// Bytes of memory.
    pub memory: u64,
}

/// What was built and searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `voice-10min`, or a file's or folder's name.
    pub name: String,
    /// Rows of the index.
    pub rows: usize,
    /// Dimensions of a row.
    pub d: usize,
    /// Queries of a search.
    pub queries: usize,
    /// Seed of rows that were made up.
    pub seed: Option<u64>,
    /// File or folder of those that were not.
    pub path: Option<String>,
}

impl BenchResult {
    /// Reads a result file. Fields that are not known are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Input`] name the file: one that is no JSON or cut short, that has a schema other than
    /// [`SCHEMA`] or not its fields, a figure below 0, quantiles out of order, or one device twice.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |found: String| Error::input(path, found, REMEDY);
        let schema = parse::<Value>(path)?.get_mut("schema").map(Value::take);
        match schema.as_ref().map(|schema| (schema, schema.as_u64())) {
            Some((_, Some(schema))) if schema == u64::from(SCHEMA) => {}
            Some((_, Some(schema))) => {
                let found = format!("has the schema {schema}, and {SCHEMA} is what this version reads");
                return Err(Error::input(path, found, "read it with the rvc-gpu-index that wrote it, or a newer one"));
            }
            Some(_) => return Err(refuse("has a schema that is no number".into())),
            None => return Err(refuse("names no schema".into())),
        }
        let result: Self = parse(path)?;
        check::fault(&result).map_or(Ok(result), |found| Err(refuse(found)))
    }

    /// Writes a result file, whole or not at all.
    ///
    /// # Errors
    /// As [`write_bytes`]; [`Error::Parameter`] for what [`BenchResult::read`] would not read as it is here, such as NaN.
    pub fn write(&self, path: impl AsRef<Path>, existing: Existing) -> Result<()> {
        let refuse = |found: String| Error::parameter("result", found, "write what was measured alone");
        if let Some(found) = check::fault(self) {
            return Err(refuse(found));
        }
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| refuse(error.to_string()))?;
        // NaN becomes null on its way.
        if serde_json::from_slice(&json).ok().as_ref() != Some(self) {
            return Err(refuse("a figure is NaN or infinite".into()));
        }
        json.push(b'\n');
        write_bytes(path, &json, existing)
    }
}

/// Reads a JSON file as far as it makes sense, whatever its size.
fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| match error.classify() {
        Category::Io => Error::io(path, "read")(error.into()),
        Category::Eof => {
            Error::input(path, format!("is cut short ({error})"), "copy it again, or run the benchmark again")
        }
        Category::Syntax => Error::input(path, format!("is no JSON ({error})"), REMEDY),
        Category::Data => Error::input(path, format!("has not the fields of schema {SCHEMA} ({error})"), REMEDY),
    })
}
