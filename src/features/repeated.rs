//! Files that are named twice.

use std::collections::HashMap;

use super::npy::NpyFile;
use crate::output::Identity;

/// Notes that are told one by one.
const NOTES: usize = 5;

/// Leaves out files that came before, by the same name or another, and notes it.
pub(super) fn without_repeats(files: Vec<NpyFile>, notes: &mut Vec<String>) -> Vec<NpyFile> {
    let mut kept: Vec<NpyFile> = Vec::with_capacity(files.len());
    let (mut places, mut repeats) = (HashMap::new(), 0);
    for file in files {
        // What cannot be told apart is taken for another file.
        let place =
            Identity::of(file.path()).map_or(kept.len(), |identity| *places.entry(identity).or_insert(kept.len()));
        let Some(first) = kept.get(place) else {
            kept.push(file);
            continue;
        };
        repeats += 1;
        if repeats > NOTES {
            continue;
        }
        notes.push(match first.path() == file.path() {
            true => format!("{}: named more than once, and read once", file.path().display()),
            false => {
                format!("{}: left out, as it is the same file as {}", file.path().display(), first.path().display())
            }
        });
    }
    if repeats > NOTES {
        notes.push(format!("{} more files are named more than once, and read once", repeats - NOTES));
    }
    kept
}
