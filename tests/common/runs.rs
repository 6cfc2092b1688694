//! Runs of the command that succeed.

use serde_json::Value;

use crate::common::{Folder, text};

/// Runs the command, which must succeed; returns what it printed.
pub fn ok(folder: &Folder, line: &str) -> String {
    let output = folder.run(line);
    assert!(output.status.success(), "{line}\n{}", text(&output.stderr));
    text(&output.stdout)
}

/// As [`ok`], with one JSON object and nothing else on stdout.
pub fn json(folder: &Folder, line: &str) -> Value {
    serde_json::from_str(&ok(folder, &format!("{line} --json"))).unwrap()
}
