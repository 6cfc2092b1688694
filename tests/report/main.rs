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

#[test]
fn recall_as_a_plot_of_its_own() {
    let folder = folder(&fixtures::results());
    let said = json(&folder, "report server.json server-later.json -o page.html --svg recall.svg");
    let svg = text(&folder.bytes("recall.svg"));
    assert_eq!(said["svg"]["bytes"], svg.len());
    let [(_, server), ..] = fixtures::results();
    let devices = server["devices"].as_array().unwrap();
    for (device, search) in devices.iter().flat_map(|d| d["searches"].as_array().unwrap().iter().map(move |s| (d, s))) {
        let (factory, name) = (search["factory"].as_str().unwrap(), device["info"]["name"].as_str().unwrap());
        let legend = |text: &str| text.contains(factory) && text.contains(name);
        assert!(svg.lines().any(legend), "{factory}, {name}: {svg}");
    }
    for word in ["recall@8 (share)", "queries a second (1/s)", &*server["workload"]["rows"].to_string()] {
        assert!(svg.contains(word), "{word}");
    }
}

#[test]
fn what_no_document_may_hold_is_left_out_of_names() {
    let [(name, mut result), ..] = fixtures::results();
    result["workload"]["name"] = "ten \0minutes\u{1b}[1m\u{ffff}".into();
    result["devices"][0]["info"]["name"] = "GPU\u{8}\u{9f}".into();
    let folder = folder(&[(name, result)]);
    ok(&folder, &format!("report {name} -o page.html --svg recall.svg"));
    let svg = text(&folder.bytes("recall.svg"));
    assert!(
        roxmltree::Document::parse(&svg).is_ok() && svg.contains("ten \u{fffd}minutes\u{fffd}[1m\u{fffd}"),
        "{svg}"
    );
    let page = text(&folder.bytes("page.html"));
    assert!(page.contains("GPU\u{fffd}\u{fffd}") && !page.contains(['\0', '\u{1b}', '\u{8}', '\u{9f}', '\u{ffff}']));
}

#[test]
fn a_plot_that_cannot_be() {
    let [server, (laptop, mut other), _] = fixtures::results();
    other["workload"]["rows"] = 60_000.into();
    let folder = folder(&[server, (laptop, other)]);
    let line = "report server.json laptop.json -o page.html --svg recall.svg";
    fails::fails(&folder, 2, line, &["results: 2 workloads", "results of the same work"]);
    let line = "report server.json -o page.html --svg page.html";
    fails::fails(&folder, 1, line, &["page.html: is to hold the page, too"]);
    assert!(!folder.at("page.html").exists());
}
