//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

/// What can go wrong, always with the path or parameter, what was found there and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a path.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb: "read", "create".
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder was read, but its content cannot be used.
    #[error("{}: {found}; {remedy}", .path.display())]
    Input {
        /// The file or folder.
        path: PathBuf,
        /// What was found in it.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// A parameter has a value that cannot be used.
    #[error("{name}: {found}; {remedy}")]
    Parameter {
        /// The parameter, by its name in the field: `nlist`, `k`, `factory`.
        name: &'static str,
        /// What was given.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// No device answers to a selector.
    #[error("device: nothing here answers to {selector:?}; choose one of:\n{available}")]
    NoDevice {
        /// The selector that was asked for.
        selector: String,
        /// The devices that are there, one a line.
        available: String,
    },
    /// A device offers less than a stage needs.
    #[error("device: {limit} is {have}, but {need} is needed; choose another device, fewer lists or a smaller batch")]
    LimitTooSmall {
        /// The limit, by its WebGPU name.
        limit: &'static str,
        /// What the stage needs.
        need: u64,
        /// What the device has.
        have: u64,
    },
    /// The device has no memory left for a buffer.
    #[error("device: out of memory ({label}); pass a smaller batch, or use the CPU device")]
    OutOfMemory {
        /// What was being made or run.
        label: String,
    },
    /// This machine has less memory free than the input needs.
    #[error(
        "memory: {what} need {} MB, and {} MB are free; use codes instead of rows (--factory PQx4fs), fewer rows \
         (--compress) or smaller batches (--batch-rows 1000), or raise the limit", .need / 1_000_000, .free / 1_000_000
    )]
    Memory {
        /// What was to be put there, in the plural: "the rows of the index".
        what: &'static str,
        /// Bytes of it.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The system gave no thread to compute on.
    #[error("threads: none could be started: {source}; raise the limit of processes (ulimit -u) or of memory")]
    Threads {
        /// The system's reason.
        source: std::io::Error,
    },
    /// The device went away: a driver reset, an unplugged card.
    #[error("device: lost ({reason}); start again, or use the CPU device")]
    DeviceLost {
        /// The driver's reason.
        reason: String,
    },
    /// The graphics API refused what this crate recorded: a defect of this crate or of the driver.
    #[error("device: refused {label}: {message}; please report this, and use the CPU device meanwhile")]
    Validation {
        /// The stage or buffer.
        label: String,
        /// The API's message.
        message: String,
    },
    /// A buffer was handed to a device that does not own it.
    #[error("device: a buffer of another device was passed to {stage}; upload it to the device that runs the stage")]
    ForeignBuffer {
        /// The stage that was called.
        stage: &'static str,
    },
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an operating system error with the path it happened at.
    pub(crate) fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, action, source }
    }

    /// What the graphics API reports as refused. Where memory is short or the device is gone it does not always say so by
    /// the kind of its error.
    pub(crate) fn refused(label: impl Into<String>, message: impl fmt::Display) -> Self {
        let (label, message) = (label.into(), message.to_string());
        let short = ["Not enough memory", "Out of memory", "OUT_OF_DEVICE_MEMORY", "OUT_OF_HOST_MEMORY"];
        if short.iter().any(|short| message.contains(short)) {
            Error::OutOfMemory { label }
        } else if message.contains("evice is lost") {
            Error::DeviceLost { reason: format!("{label}: {message}") }
        } else {
            Error::Validation { label, message }
        }
    }

    pub(crate) fn input(path: impl AsRef<Path>, found: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Error::Input { path: path.as_ref().to_path_buf(), found: found.to_string(), remedy: remedy.to_string() }
    }

    pub(crate) fn parameter(name: &'static str, found: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Error::Parameter { name, found: found.to_string(), remedy: remedy.to_string() }
    }

    /// True where the caller asked for something impossible (a parameter or a device), rather than a file or a
    /// device failing: a command exits with 2 for these and with 1 for the others.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Parameter { .. } | Error::NoDevice { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_short_is_nothing_to_report() {
        for message in ["Not enough memory left.", "In Device::create_bind_group\n  Out of memory"] {
            let said = Error::refused("rows", message).to_string();
            assert!(said.contains("out of memory (rows)") && said.contains("pass a smaller batch"), "{said}");
        }
        let said = Error::refused("gpu:0", "Parent device is lost").to_string();
        assert!(said.contains("lost (gpu:0: Parent device is lost)") && !said.contains("report"), "{said}");
        assert!(Error::refused("rows", "bad layout").to_string().contains("please report this"));
    }
}
