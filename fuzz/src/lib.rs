//! What the targets share: inputs as files, mutations that keep some sense, and a count of what is accepted.
#![deny(missing_docs)]

pub mod index_file;
pub mod json_file;
pub mod neighbors;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

/// Calls `f` with a file of these bytes. Its folder is there for other files, too, and goes away afterwards.
pub fn with_file<R>(bytes: &[u8], f: impl FnOnce(&Path) -> R) -> R {
    // In memory where there is such a folder.
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a temporary folder");
    let path = folder.path().join("input");
    fs::write(&path, bytes).expect("room for the input");
    f(&path)
}

/// Counts inputs, and says how many were accepted each time their number has doubled: a target that accepts none tests no
/// more than a parser.
pub fn count(accepted: bool) {
    static ALL: AtomicU64 = AtomicU64::new(0);
    static ACCEPTED: AtomicU64 = AtomicU64::new(0);
    let accepted = ACCEPTED.fetch_add(accepted.into(), Ordering::Relaxed) + u64::from(accepted);
    let all = ALL.fetch_add(1, Ordering::Relaxed) + 1;
    if all.is_power_of_two() && all >= 1 << 10 {
        eprintln!("{accepted} of {all} inputs were accepted");
    }
}
