//! What stands in the page.

use std::collections::{BTreeMap, BTreeSet};

use scraper::{ElementRef, Html, Selector};
use serde_json::{Value, json};

use super::{fixtures, page};

fn select<'a>(of: ElementRef<'a>, css: &str) -> Vec<ElementRef<'a>> {
    of.select(&Selector::parse(css).unwrap()).collect()
}

fn words(of: ElementRef) -> String {
    of.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a figure of the JSON is multiplied by, by the unit in its heading.
fn factor(unit: &str) -> f64 {
    match unit {
        "" | "s" | "rows/s" | "queries/s" => 1.0,
        "ms" => 1e3,
        "µs" => 1e6,
        "%" => 1e2,
        "GFLOP" | "GFLOP/s" | "GB/s" => 1e-9,
        "MB" => 1e-6,
        "KiB" => 1.0 / 1024.0,
        "MiB" => 1.0 / 1024.0 / 1024.0,
        "GiB" => 1.0 / 1024.0 / 1024.0 / 1024.0,
        other => panic!("{other} is no unit"),
    }
}

/// Places of all numbers, as JSON pointers.
fn numbers(value: &Value, place: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Number(_) => drop(found.insert(place)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, value)| numbers(value, format!("{place}/{i}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| numbers(value, format!("{place}/{name}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_number_is_that_of_its_file() {
    let results = fixtures::results();
    let html = Html::parse_document(&page(&results));
    let mut shown: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for table in select(html.root_element(), "table") {
        let units: Vec<_> = select(table, "thead th")
            .into_iter()
            .map(|heading| select(heading, ".unit").first().map_or(String::new(), |unit| words(*unit)))
            .collect();
        for row in select(table, "tbody tr") {
            let cells = select(row, "th, td");
            assert_eq!(cells.len(), units.len(), "{}", words(row));
            for (cell, unit) in cells.into_iter().zip(&units) {
                for figure in select(cell, "data") {
                    let [value, title, source] =
                        ["value", "title", "data-source"].map(|name| figure.value().attr(name).unwrap());
                    let (number, pointer) = source.split_at(source.find('/').unwrap());
                    let number: usize = number.parse().unwrap();
                    let expected = results[number - 1].1.pointer(pointer).unwrap_or_else(|| panic!("{source}"));
                    assert_eq!(&serde_json::from_str::<Value>(value).unwrap(), expected, "{source}");
                    assert_eq!(title, value);
                    let (read, exact): (f64, _) =
                        (words(figure).replace(',', "").parse().unwrap(), expected.as_f64().unwrap() * factor(unit));
                    assert!((read - exact).abs() <= 5.001e-4 * exact.abs(), "{source}: {read} {unit}, not {exact}");
                    shown.entry(number).or_default().insert(pointer.into());
                }
            }
        }
    }
    for ((name, result), number) in results.iter().zip(1..) {
        let mut all = BTreeSet::new();
        numbers(result, String::new(), &mut all);
        // Percentiles other than p99 are drawn.
        all.retain(|place| !place.contains("/percentiles/") || place.ends_with("/99"));
        let missing: Vec<_> = all.difference(&shown[&number]).collect();
        assert!(missing.is_empty() && all.len() > 500, "{name}: {missing:?}");
    }
}

#[test]
fn one_legend_names_all_devices() {
    let results = fixtures::results();
    let html = Html::parse_document(&page(&results));
    let legend = select(html.root_element(), "ul.legend > li");
    assert_eq!(legend.len(), 6);
    let mut series = results.iter().flat_map(|(_, result)| {
        let devices = result["devices"].as_array().unwrap();
        devices.iter().map(move |device| (result, device))
    });
    let mut colors = BTreeSet::new();
    for (line, number) in legend.into_iter().zip(1..) {
        let ((result, device), said) = (series.next().unwrap(), words(line));
        for part in [
            &format!("{number} "),
            device["info"]["name"].as_str().unwrap(),
            device["info"]["backend"].as_str().unwrap(),
            result["host"]["cpu"].as_str().unwrap(),
            result["time"].as_str().unwrap(),
        ] {
            assert!(said.contains(part), "{said} lacks {part}");
        }
        assert_eq!(said.contains("⚠ fails selftest"), device["selftest"]["failed"] != 0, "{said}");
        let color = select(line, "svg circle")[0].value().attr("fill").unwrap();
        assert!(colors.insert(color.to_string()), "{color} is there twice");
        // A marker a setting, in the same colour.
        let settings = device["searches"].as_array().unwrap().len();
        let markers = select(html.root_element(), &format!("figure circle[fill='{color}']"));
        let stages = device["stages"].as_array().unwrap().iter().filter(|stage| stage["flops"] != 0.0).count();
        assert_eq!(markers.len(), settings + stages, "{said}");
    }
}

#[test]
fn changes_are_those_worked_out_by_hand() {
    let html = Html::parse_document(&page(&fixtures::results()));
    let changes: Vec<_> = select(html.root_element(), "#changes + ul > li").into_iter().map(words).collect();
    let cpu = "5 CPU engine (x86_64 with AVX-512, 2 threads): ";
    let expected = [
        "Searches, IVF1024,Flat, nprobe 1, k 8: ▲ 50.0 % more (better) than on 2026-11-01",
        "Builds, by phase, IVF1024,Flat, nlist 1,024, train: ▼ 50.0 % shorter (better) than on 2026-11-01",
        "Stages, centroid_update, 768, 1024 lists, rows 30,000, wall: ▲ 20.0 % longer (worse) than on 2026-11-01",
    ];
    assert_eq!(changes, expected.map(|change| format!("{cpu}{change}")));
    let marked = select(html.root_element(), "table .better, table .worse");
    assert_eq!(marked.len(), 3, "the same in the tables");
}

#[test]
fn other_work_and_other_machines_are_not_compared() {
    let [server, laptop, later] = fixtures::results();
    let text = |results: &[_]| page(results);
    let marked = |page: &str| page.contains("(better)") || page.contains("(worse)");
    assert!(marked(&text(&[server.clone(), later.clone()])));
    assert!(!marked(&text(&[laptop, later.clone()])));
    for (field, value) in [("/quick", json!(true)), ("/workload/rows", json!(30_001)), ("/host/cpu", json!("another"))]
    {
        let mut other = later.clone();
        *other.1.pointer_mut(field).unwrap() = value;
        assert!(!marked(&text(&[server.clone(), other])), "{field}");
    }
}

#[test]
fn a_device_that_fails_is_marked_at_every_figure() {
    let html = Html::parse_document(&page(&fixtures::results()));
    let mut cells = 0;
    for row in select(html.root_element(), "tbody tr") {
        let name = select(row, "th").first().map_or(String::new(), |name| words(*name));
        let fails = name.contains("Radeon");
        assert_eq!(name.contains("⚠ fails selftest"), fails, "{name}");
        for cell in select(row, "td.number") {
            assert_eq!(!select(cell, "abbr.warning").is_empty(), fails, "{name}");
            cells += usize::from(fails);
        }
    }
    assert!(cells > 200);
    let said = words(html.root_element());
    assert!(said.contains("4 cases, the first fast_scan::ties of fast_scan"));
    assert!(said.contains("⚠ stopped: device lost while searches were timed"));
}

#[test]
fn nothing_is_loaded_or_run() {
    let html = Html::parse_document(&page(&fixtures::results()));
    for element in select(html.root_element(), "*") {
        let value = element.value();
        assert!(!["script", "link", "img", "iframe", "object", "base", "form"].contains(&value.name()));
        for (name, text) in value.attrs() {
            assert!(!name.starts_with("on") && name != "src", "{name}={text}");
            assert!(name != "href" || text.starts_with('#'), "{name}={text}");
        }
    }
    let anchors: Vec<_> = select(html.root_element(), "[id]").into_iter().map(|e| e.value().id().unwrap()).collect();
    assert_eq!(anchors.iter().collect::<BTreeSet<_>>().len(), anchors.len(), "{anchors:?}");
    for link in select(html.root_element(), "a[href]") {
        let anchor = &link.value().attr("href").unwrap()[1..];
        assert!(anchors.contains(&anchor), "{anchor}");
    }
    let policy = select(html.root_element(), "meta[http-equiv='Content-Security-Policy']");
    assert!(policy[0].value().attr("content").unwrap().starts_with("default-src 'none'"));
}

#[test]
fn hostile_strings_stay_text() {
    let hostile = "</text></svg><script>alert(1)</script>\" onload='x' & ]]> <!-- \u{202e}";
    let [mut server, ..] = fixtures::results();
    fn replace(value: &mut Value, by: &str) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| replace(value, by)),
            Value::Object(fields) => {
                let kept = ["time", "type", "clock", "bound"];
                fields.iter_mut().filter(|(name, _)| !kept.contains(&name.as_str())).for_each(|(_, v)| replace(v, by));
            }
            Value::String(text) => *text = by.into(),
            _ => {}
        }
    }
    // Devices have to differ.
    server.1["devices"].as_array_mut().unwrap().truncate(1);
    replace(&mut server.1, hostile);
    let text = page(&[server]);
    let html = Html::parse_document(&text);
    assert!(select(html.root_element(), "script, [onload]").is_empty() && !text.contains("<script"));
    assert!(words(html.root_element()).matches("<script>alert(1)</script>").count() > 50);
}

#[test]
fn extreme_figures_are_drawn_or_left_out() {
    for extreme in [0.0, 5e-324, 1e-30, 1e18, f64::MAX] {
        let [mut server, ..] = fixtures::results();
        fn replace(value: &mut Value, by: f64) {
            match value {
                Value::Array(values) => values.iter_mut().for_each(|value| replace(value, by)),
                Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, by)),
                Value::Number(number) if number.is_f64() => *value = by.into(),
                _ => {}
            }
        }
        replace(&mut server.1["devices"], extreme);
        for search in server.1["devices"].as_array_mut().unwrap() {
            search["searches"].as_array_mut().unwrap().iter_mut().for_each(|search| search["recall"] = 0.0.into());
        }
        let text = page(&[server]);
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        assert!(!words.any(|word| ["NaN", "inf"].contains(&word)), "{extreme}");
    }
}

#[test]
fn a_device_of_which_nothing_is_known() {
    let [mut server, ..] = fixtures::results();
    let info = server.1["devices"][0]["info"].clone();
    server.1["devices"] = json!([{ "info": info, "error": "no memory" }]);
    let text = page(&[server]);
    assert!(text.contains("no memory") && text.contains("selftest was not run"));
    let none = fixtures::result("2026-11-01T09:30:00Z", "a CPU", Vec::new());
    assert!(page(&[("none.json", none)]).contains("1 result, 0 devices"));
}

#[test]
fn beyond_eight_devices_markers_change() {
    let devices =
        (0..30).map(|i| fixtures::device(&format!("gpu:{i}"), &format!("GPU {i}"), "vulkan", "discrete-gpu", 3.0));
    let result = fixtures::result("2026-11-01T09:30:00Z", "a CPU", devices.collect());
    let html = Html::parse_document(&page(&[("many.json", result)]));
    let legend = select(html.root_element(), "ul.legend > li .tag");
    let drawn = |tag: &ElementRef| tag.inner_html().split_once("</svg>").map(|(svg, _)| svg.to_string());
    let looks: BTreeSet<_> = legend.iter().map(drawn).collect();
    assert_eq!((legend.len(), looks.len()), (30, 30));
}
