//! Runs of the command that fail.

use crate::common::{Folder, text};

/// Runs a command that must fail, say each of `said`, print nothing else but warnings, and leave the folder as it was.
pub fn fails(folder: &Folder, code: i32, line: &str, said: &[&str]) {
    let before = folder.content();
    let output = folder.run(line);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}\n{error}");
    let first = error.lines().find(|line| !line.starts_with("warning: "));
    assert!(first.is_some_and(|line| line.starts_with("error: ")), "{line}\n{error}");
    assert_eq!(error.matches("error: ").count(), 1, "{line}\n{error}");
    for said in said {
        assert!(error.contains(said), "{line}\n{error}\nshould say {said}");
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(output.stdout.is_empty(), "{line}\n{}", text(&output.stdout));
    assert!(folder.content() == before, "{line} left something behind");
}
