//! Reports: the same facts as text and as JSON.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rvc_gpu_index::device::DeviceInfo;
use rvc_gpu_index::{Error, Result};
use serde::Serialize;

pub fn print(report: &(impl Display + Serialize), json: bool) -> Result<()> {
    if !json {
        return print_bytes(report.to_string().as_bytes());
    }
    let mut text = serde_json::to_vec_pretty(report).map_err(|error| stdout_failed(error.into()))?;
    text.push(b'\n');
    print_bytes(&text)
}

/// Writes to stdout in one go.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(stdout_failed),
    }
}

fn stdout_failed(source: io::Error) -> Error {
    Error::Io { path: "standard output".into(), action: "write", source }
}

/// Which device did the work.
#[derive(Serialize)]
pub struct DeviceName {
    selector: String,
    name: String,
    backend: Cow<'static, str>,
}

impl From<&DeviceInfo> for DeviceName {
    fn from(info: &DeviceInfo) -> Self {
        Self { selector: info.selector.clone(), name: info.name.clone(), backend: info.backend.clone() }
    }
}

impl Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.backend)
    }
}

/// A file that is there now.
#[derive(Serialize)]
pub struct WrittenFile {
    /// As text: JSON knows no other paths.
    path: String,
    bytes: u64,
}

impl WrittenFile {
    pub fn at(path: &Path) -> Result<Self> {
        let metadata = path.metadata();
        let metadata = metadata.map_err(|source| Error::Io { path: path.to_path_buf(), action: "read", source })?;
        Ok(Self { path: path.display().to_string(), bytes: metadata.len() })
    }
}

impl Display for WrittenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, Bytes(self.bytes))
    }
}

/// Prints a size as people say it: `1.5 MiB`.
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => write!(f, "{:.1} {unit}", self.0 as f64 / (1u64 << shift) as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// One line of a report: its name, padded, and what is to be said.
pub fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{name:<12} {value}")
}
