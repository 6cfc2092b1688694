//! `report` from end to end: the page and the result files that it is made from.

#[path = "../common/folder.rs"]
mod common;
#[path = "../common/fails.rs"]
mod fails;
mod fixtures;
mod page;
mod refused;
#[path = "../common/runs.rs"]
mod runs;

use common::{Folder, text};
use runs::{json, ok};
use serde_json::Value;

/// A folder with the result files.
fn folder(results: &[(&str, Value)]) -> Folder {
    let folder = Folder::new();
    for (name, result) in results {
        folder.put(name, &serde_json::to_vec_pretty(result).unwrap());
    }
    folder
}

/// The page that the command makes of results.
fn page(results: &[(&str, Value)]) -> String {
    let folder = folder(results);
    let names: Vec<_> = results.iter().map(|(name, _)| *name).collect();
    ok(&folder, &format!("report {} -o page.html", names.join(" ")));
    text(&folder.bytes("page.html"))
}

#[test]
fn the_command_says_what_it_wrote() {
    let folder = folder(&fixtures::results());
    let line = "report server.json laptop.json server-later.json -o page.html";
    let said = json(&folder, line);
    assert_eq!((&said["results"], &said["devices"]), (&3.into(), &6.into()));
    assert_eq!(said["file"]["bytes"], folder.bytes("page.html").len());
    // The order of the files does not matter, and the page says nothing of the time at which it was made.
    let first = folder.bytes("page.html");
    let said = ok(&folder, "report server-later.json laptop.json server.json -o page.html --force");
    assert!(said.contains("3, of 6 devices") && said.contains("page.html ("), "{said}");
    assert!(folder.bytes("page.html") == first);
}
