//! What is no result file, and what cannot be asked.

use rvc_gpu_index::Existing;
use rvc_gpu_index::bench::{BenchResult, SCHEMA};
use serde_json::{Value, json};

use super::{fixtures, folder};
use crate::fails::fails;
use crate::runs::ok;

type Break = fn(&mut BenchResult);

/// The server's result with another value at a place.
fn with(place: &str, value: Value) -> Value {
    let [(_, mut result), ..] = fixtures::results();
    *result.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
    result
}

#[test]
fn files_that_are_no_results() {
    let folder = folder(&fixtures::results());
    let whole = folder.bytes("server.json");
    folder.put("cut.json", &whole[..whole.len() / 2]);
    folder.put("empty.json", b"");
    folder.put("binary.json", &[0x93, b'N', 0, 0xff]);
    folder.put("text.json", b"hello");
    folder.put("deep.json", &[b'['; 100_000]);
    folder.put("list.json", b"[]");
    folder.put("other.json", br#"{"date": "2026-11-22", "commit": "9b7bd2d"}"#);
    folder.put("inner/result.json", &whole);
    for (file, said) in [
        ("cut.json", &["cut.json: is cut short (", "copy it again"][..]),
        ("empty.json", &["empty.json: is cut short ("]),
        ("binary.json", &["binary.json: is no JSON ("]),
        ("text.json", &["text.json: is no JSON (", "line 1"]),
        ("deep.json", &["deep.json: is no JSON (", "recursion"]),
        ("list.json", &["list.json: names no schema"]),
        ("other.json", &["other.json: names no schema", "pass a result file"]),
        ("inner", &["inner: "]),
        ("missing.json", &["missing.json: cannot read"]),
    ] {
        fails(&folder, 1, &format!("report server.json {file} -o page.html"), said);
    }
}

#[test]
fn results_that_cannot_be() {
    let device = |place: &str| format!("/devices/0/{place}");
    let nothing = json!({});
    for (place, value, said) in [
        ("/schema", json!(2), &["has the schema 2, and 1 is what this version reads", "a newer one"][..]),
        ("/schema", json!(0), &["has the schema 0"]),
        ("/schema", json!("1"), &["a schema that is no number"]),
        ("/time", json!("yesterday"), &["not the fields of schema 1", "time"]),
        ("/host", nothing.clone(), &["not the fields of schema 1", "missing field `os`", "line"]),
        ("/devices", nothing, &["not the fields of schema 1", "sequence"]),
        ("/workload/rows", json!(-1), &["not the fields of schema 1", "-1"]),
        (&device("ceilings/copy/median"), json!(-1.5), &["devices[0].ceilings.copy.median is -1.5, below 0"]),
        (&device("ceilings/copy/median"), json!(1e9), &["devices[0].ceilings.copy has quantiles"]),
        (&device("stages/1/seconds/repeats"), json!(0), &["devices[0].stages[1].seconds.repeats is 0"]),
        (&device("stages/1/flops"), Value::Null, &["not the fields of schema 1", "null"]),
        (&device("searches/2/recall"), json!(1.5), &["devices[0].searches[2].recall is above 1"]),
        (&device("live/0/percentiles"), json!([1.0, 2.0]), &["devices[0].live[0].percentiles are not 101"]),
        (&device("stages/0/clock"), json!("sundial"), &["unknown variant `sundial`"]),
        ("/devices/1/info", fixtures::results()[0].1["devices"][0]["info"].clone(), &["has the device cpu (", "twice"]),
    ] {
        let folder = folder(&[("result.json", with(place, value))]);
        let said: Vec<_> = ["result.json: "].into_iter().chain(said.iter().copied()).collect();
        fails(&folder, 1, "report result.json -o page.html", &said);
    }
    // JSON has no NaN, and no number so great.
    for number in ["NaN", "1e999", "-Infinity"] {
        let folder = folder(&[("result.json", with("/devices/0/builds/0/objective", json!(638.25)))]);
        let text = String::from_utf8(folder.bytes("result.json")).unwrap();
        folder.put("result.json", text.replace("638.25", number).as_bytes());
        fails(&folder, 1, "report result.json -o page.html", &["result.json: is no JSON ("]);
    }
}

#[test]
fn one_device_at_one_time_is_there_once() {
    let [(_, server), (_, laptop), _] = fixtures::results();
    let folder = folder(&[("a.json", server.clone()), ("b.json", laptop), ("copy.json", server)]);
    let said = &["copy.json: has CPU engine", "at 2026-11-01T09:30:00Z, and so has a.json", "name only one"];
    fails(&folder, 1, "report a.json b.json copy.json -o page.html", said);
    fails(&folder, 1, "report a.json a.json -o page.html", &["a.json: has CPU engine", "so has a.json"]);
    // Another time of the same day is another result.
    folder.put("copy.json", with("/time", json!("2026-11-01T09:30:01Z")).to_string().as_bytes());
    ok(&folder, "report a.json b.json copy.json -o page.html");
}

#[test]
fn outputs_that_cannot_be() {
    let folder = folder(&fixtures::results());
    folder.put("page.html", b"precious");
    fails(&folder, 1, "report server.json -o page.html", &["page.html: already exists", "--force"]);
    fails(&folder, 1, "report server.json -o server.json --force", &["is an input, too"]);
    fails(&folder, 1, "report server.json -o missing/page.html", &["missing: is no folder"]);
    fails(&folder, 2, "report server.json", &["--output"]);
    fails(&folder, 2, "report -o new.html", &["RESULT.json"]);
    ok(&folder, "report server.json -o page.html --force");
}

#[test]
fn what_is_not_known_is_passed_over() {
    let [(_, mut server), ..] = fixtures::results();
    server["weather"] = json!({ "temperature": -40 });
    server["devices"][0]["ceilings"]["matrix"] = json!([1, 2, -3]);
    server["devices"][0]["info"]["colour"] = json!("green");
    let folder = folder(&[("result.json", server)]);
    ok(&folder, "report result.json -o page.html");
}

#[test]
fn results_are_written_as_they_were_read() {
    let folder = folder(&fixtures::results());
    for (name, json) in fixtures::results() {
        let result = BenchResult::read(folder.at(name)).unwrap();
        let copy = folder.at(format!("copy-{name}"));
        result.write(&copy, Existing::Keep).unwrap();
        assert_eq!(BenchResult::read(&copy).unwrap(), result);
        let written: Value = serde_json::from_slice(&std::fs::read(&copy).unwrap()).unwrap();
        assert_eq!(written, json, "{name}");
        assert!(result.write(&copy, Existing::Keep).unwrap_err().to_string().contains("already exists"));
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let folder = folder(&fixtures::results());
    let result = BenchResult::read(folder.at("server.json")).unwrap();
    let breaks: [(Break, &str); 5] = [
        (|result| result.schema = SCHEMA + 1, "schema is 2"),
        (|result| result.devices[0].builds[0].objective = Some(f64::NAN), "NaN"),
        (|result| result.devices[0].stages[0].flops = f64::INFINITY, "NaN or infinite"),
        (|result| result.devices[0].stages[0].bytes = -1.0, "devices[0].stages[0].bytes is -1"),
        (|result| result.devices[1] = result.devices[0].clone(), "twice"),
    ];
    for (spoil, said) in breaks {
        let mut spoilt = result.clone();
        spoil(&mut spoilt);
        let error = spoilt.write(folder.at("new.json"), Existing::Keep).unwrap_err().to_string();
        assert!(error.contains(said) && !folder.at("new.json").exists(), "{error}");
    }
}
