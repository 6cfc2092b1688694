//! `eval` and `tune` from end to end: what they print, draw and write, and what they refuse.
#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, npy_f32, some_rows, text};
use rvc_gpu_index::faiss::read_index;
use serde_json::Value;

/// Runs the command, which must succeed; returns what it printed.
fn ok(folder: &Folder, line: &str) -> String {
    let output = folder.run(&format!("{line} --device cpu"));
    assert!(output.status.success(), "{line}\n{}", text(&output.stderr));
    text(&output.stdout)
}

/// As [`ok`], with one JSON object and nothing else on stdout.
fn json(folder: &Folder, line: &str) -> Value {
    serde_json::from_str(&ok(folder, &format!("{line} --json"))).unwrap()
}

/// Runs a command that must fail, say each of `said`, and leave the folder as it was.
fn fails(folder: &Folder, code: i32, line: &str, said: &[&str]) {
    let before = folder.content();
    let output = folder.run(line);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}\n{error}");
    assert!(error.contains("error: ") && output.stdout.is_empty() && !error.contains("panicked"), "{line}\n{error}");
    for said in said {
        assert!(error.contains(said), "{line}\n{error}\nshould say {said}");
    }
    assert!(folder.content() == before, "{line} left something behind");
}

/// A folder with the sample voice's rows, indexes over them and queries.
fn sample() -> Folder {
    let (folder, voice) = (Folder::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample"));
    for entry in fs::read_dir(voice.join("3_feature256")).unwrap().flatten() {
        folder.put(Path::new("voice").join(entry.file_name()), &fs::read(entry.path()).unwrap());
    }
    folder.put("query.npy", &fs::read(voice.join("query256.npy")).unwrap());
    for (name, factory) in [("ivf", "IVF20,Flat"), ("refined", "IVF20,PQ64x4fs,RFlat"), ("codes", "PQ64x4fs")] {
        ok(&folder, &format!("build voice -o {name}.index --factory {factory} -q"));
    }
    folder
}

/// Recall of each setting, by nprobe and k_factor.
fn recalls(report: &Value) -> Vec<f64> {
    report["settings"].as_array().unwrap().iter().map(|setting| setting["recall"].as_f64().unwrap()).collect()
}

#[test]
fn the_table_is_the_json_object() {
    let folder = sample();
    let line = "eval refined.index --queries query.npy --nprobe 20,1,5 --k-factor 1,4";
    let report = json(&folder, line);
    let shown = ok(&folder, line);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .skip_while(|line| !line.contains("recall@8"))
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    let settings = report["settings"].as_array().unwrap();
    assert_eq!((rows.len(), settings.len()), (6, 6), "{shown}");
    for (row, setting) in rows.iter().zip(settings) {
        let number = |name: &str| setting[name].as_f64().unwrap();
        assert_eq!(row[..2], [number("nprobe").to_string(), number("k_factor").to_string()]);
        let measured = ["recall", "missing", "distance_ratio"].map(|name| format!("{:.4}", number(name)));
        assert_eq!(row[2..5], measured);
        assert!(number("seconds_per_query") > 0.0 && row[5].parse::<f64>().unwrap() > 0.0);
    }
    let asked: Vec<_> =
        settings.iter().map(|at| (at["k_factor"].as_f64().unwrap(), at["nprobe"].as_u64().unwrap())).collect();
    assert_eq!(asked, [(1.0, 1), (1.0, 5), (1.0, 20), (4.0, 1), (4.0, 5), (4.0, 20)]);
    assert!(recalls(&report)[3..].is_sorted() && recalls(&report)[5] > recalls(&report)[2]);
    assert_eq!(
        (&report["queries"], &report["k"], &report["factory"]),
        (&500.into(), &8.into(), &"IVF20,PQ64x4fs,RFlat".into())
    );
    // The same rows, named.
    assert_eq!(recalls(&json(&folder, &format!("{line} --base voice"))), recalls(&report));
}

#[test]
fn the_grid_is_what_the_index_has() {
    let folder = sample();
    let report = json(&folder, "eval ivf.index --queries query.npy");
    let nprobes: Vec<_> =
        report["settings"].as_array().unwrap().iter().map(|at| at["nprobe"].as_u64().unwrap()).collect();
    assert_eq!(nprobes, [1, 2, 4, 8, 16, 20]);
    assert!(report["settings"][0]["k_factor"].is_null());
    // All lists are all rows.
    let last = &report["settings"][5];
    assert_eq!((&last["recall"], &last["missing"], &last["distance_ratio"]), (&1.0.into(), &0.0.into(), &1.0.into()));
    assert!(!ok(&folder, "eval ivf.index --queries query.npy --nprobe 1").contains("k_factor"));
    // What the file says is among them; 64 candidates a neighbour are too many for k = 32.
    ok(&folder, "build voice -o own.index --factory IVF20,PQ64x4fs,RFlat --nprobe 3 --k-factor 5 -q");
    let report = json(&folder, "eval own.index --queries query.npy -k 32");
    let settings = report["settings"].as_array().unwrap();
    assert_eq!(settings.len(), 7 * 7);
    assert!(settings.iter().any(|at| at["nprobe"] == 3 && at["k_factor"] == 5.0));
    assert_eq!(
        json(&folder, "eval own.index --queries query.npy -k 200 --nprobe 1")["settings"].as_array().unwrap().len(),
        4
    );
    let report = json(&folder, "eval codes.index --queries query.npy --base voice");
    assert_eq!(report["settings"].as_array().unwrap().len(), 1);
    assert!(report["settings"][0]["nprobe"].is_null() && recalls(&report)[0] > 0.3);
}

#[test]
fn expanded_queries_are_judged_as_plain_ones() {
    let folder = sample();
    ok(&folder, "build voice -o expanded.index --factory Flat --expand 3,3 -q");
    let eval =
        |options: &str| recalls(&json(&folder, &format!("eval expanded.index --queries query.npy {options}")))[0];
    // By itself a flat index is exact; what it was expanded from has other neighbours.
    assert_eq!(eval(""), 1.0);
    let (database, both) = (eval("--base voice"), eval("--base voice --expand 3,3"));
    assert!(0.2 < database && database < 0.99 && both != database, "{database} {both}");
    let report = json(&folder, "eval ivf.index --queries query.npy --expand 3,3 --nprobe 20 -q");
    assert_eq!((&report["expand"]["num_expand"], report["warnings"].as_array().unwrap().len()), (&3.into(), 1));
    assert!(recalls(&report)[0] < 0.99);
}

#[test]
fn the_plot_is_xml_with_titles() {
    let folder = sample();
    let report = json(&folder, "eval refined.index --queries query.npy --nprobe 1,5 --k-factor 1,2.5,4 --svg plot.svg");
    assert_eq!(report["file"]["bytes"], folder.bytes("plot.svg").len());
    let svg = text(&folder.bytes("plot.svg"));
    let xml = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<_> = xml.descendants().filter(|node| node.has_tag_name((&*xmlns(&xml), "text"))).collect();
    let texts: Vec<_> = texts.iter().filter_map(|node| node.text()).map(str::trim).collect();
    for title in ["time a query in µs", "recall@8", "k_factor 2.5", "refined.index: IVF20,PQ64x4fs,RFlat, 3003 × 256"]
    {
        assert!(texts.contains(&title), "{title:?} is not in {texts:?}");
    }
    let drawn = |name: &str| xml.descendants().filter(|node| node.tag_name().name() == name).count();
    assert!(drawn("circle") == 6 && drawn("polyline") >= 3);
    // In the dark, too.
    assert!(svg.contains("prefers-color-scheme: dark"));
    fails(&folder, 1, "eval ivf.index --queries query.npy --svg plot.svg", &["plot.svg: already exists", "--force"]);
    assert!(ok(&folder, "eval ivf.index --queries query.npy --nprobe 1 --svg plot.svg --force").contains("plot.svg"));
    folder.put("<&>.npy", &npy_f32(1, &[1.0, 2.0, 5.0]));
    ok(&folder, "build <&>.npy --factory Flat -q");
    ok(&folder, "eval <&>.index --queries <&>.npy --svg one.svg");
    assert!(roxmltree::Document::parse(&text(&folder.bytes("one.svg"))).is_ok());
}

fn xmlns(xml: &roxmltree::Document) -> String {
    xml.root_element().tag_name().namespace().unwrap().to_string()
}

#[test]
fn a_tuned_index_differs_in_its_setting_alone() {
    let folder = sample();
    for (name, nprobes) in [("ivf", 2..=20), ("refined", 1..=20)] {
        let file = format!("{name}.index");
        let plain = read_index(folder.at(&file)).unwrap();
        let report = json(&folder, &format!("tune {file} --recall 0.9 --queries query.npy -o tuned.index --force"));
        let (nprobe, recall) = (report["nprobe"].as_u64().unwrap(), report["recall"].as_f64().unwrap());
        assert!(nprobes.contains(&nprobe) && recall >= 0.9 && report["held_back"] == false, "{report}");
        assert_eq!(report["warnings"], Value::Array(Vec::new()));
        // `eval` finds the same with it.
        let grid = report["k_factor"].as_f64().map_or(String::new(), |factor| format!("--k-factor {factor}"));
        let line = format!("eval {file} --queries query.npy --nprobe {nprobe} {grid}");
        assert_eq!(recalls(&json(&folder, &line)), [recall]);
        let mut tuned = read_index(folder.at("tuned.index")).unwrap();
        assert_eq!(tuned.nprobe(), Some(nprobe as usize));
        assert_eq!(tuned.refine().map(|refine| f64::from(refine.k_factor())), report["k_factor"].as_f64());
        // Over itself, the same file.
        ok(&folder, &format!("tune {file} --recall 0.99 --queries query.npy --write"));
        let mut written = read_index(folder.at(&file)).unwrap();
        assert!(written.nprobe() > tuned.nprobe() || written.refine().is_some());
        for index in [&mut tuned, &mut written] {
            index.set_nprobe(plain.nprobe().unwrap()).unwrap();
            index.refine().is_some().then(|| index.set_k_factor(1.0).unwrap());
            assert_eq!(*index, plain);
        }
    }
}

#[test]
fn without_queries_rows_are_held_back() {
    let folder = sample();
    let before = folder.content();
    let report = json(&folder, "tune refined.index --recall 0.9");
    assert_eq!((&report["held_back"], &report["queries"]), (&true.into(), &1000.into()));
    assert!(report["warnings"][0].as_str().unwrap().contains("another speaker's frames find less"));
    assert!(report["recall"].as_f64().unwrap() >= 0.9);
    let shown = ok(&folder, "tune ivf.index --recall 0.5 -k 3");
    assert!(shown.contains("1000, held back, k 3") && shown.contains("recall@3"), "{shown}");
    assert!(folder.content() == before);
    // The rows that codes stand for are exact where they are named.
    ok(&folder, "build voice -o lists.index --factory IVF20,PQx4fsr -q");
    let report = json(&folder, "tune lists.index --recall 0.4 --base voice");
    assert!(report["nprobe"].as_u64().unwrap() <= 20 && report["k_factor"].is_null(), "{report}");
}

#[test]
fn what_no_setting_reaches() {
    let folder = sample();
    ok(&folder, "build voice -o coarse.index --factory IVF20,PQ1x4fs,RFlat -q");
    let line = "tune coarse.index --recall 1 --queries query.npy -k 32 -o tuned.index --device cpu";
    fails(&folder, 2, line, &["recall: 1 is reached by no setting, the best is 0.", "nprobe 20, k_factor 32"]);
    fails(&folder, 2, &line.replace("-o tuned.index", "--write"), &["reached by no setting"]);
    fails(&folder, 2, "tune codes.index --recall 0.5 --base voice", &["neither lists nor RFlat"]);
}

#[test]
fn what_cannot_be_asked() {
    let folder = sample();
    folder.put("wide.npy", &npy_f32(3, &some_rows(10, 3)));
    folder.put("few.npy", &npy_f32(256, &some_rows(10, 256)));
    folder.put("none.npy", &npy_f32(256, &[]));
    let mut nan = some_rows(2, 256);
    nan[3] = f32::NAN;
    folder.put("nan.npy", &npy_f32(256, &nan));
    fs::copy(folder.at("ivf.index"), folder.at("copy.index")).unwrap();
    for (code, line, said) in [
        (1, "--queries wide.npy", &["wide.npy: has rows of 3", "has 256"][..]),
        (1, "--queries none.npy", &["none.npy: has no rows"]),
        (1, "--queries nan.npy", &["nan.npy: holds NaN", "--skip-non-finite"]),
        (1, "--queries query.npy --base wide.npy", &["wide.npy: has rows of 3"]),
        (2, "--queries query.npy --base few.npy", &["base: 10 × 256", "3003 × 256 rows"]),
        (2, "--queries query.npy -k 0", &["0 is not in 1..=1024"]),
        (2, "--queries query.npy -k 1025", &["1025 is not in 1..=1024"]),
    ] {
        for command in ["eval", "tune --recall 0.5"] {
            fails(&folder, code, &format!("{command} refined.index {line} --device cpu"), said);
        }
    }
    for (index, line, said) in [
        ("ivf", "--nprobe 0", &["--nprobe"][..]),
        ("ivf", "--nprobe 1,2,1", &["nprobe: 1 is named twice"]),
        ("ivf", "--nprobe 1,many", &["--nprobe"]),
        ("ivf", "--k-factor 2", &["k_factor: 2", "does not re-rank"]),
        ("codes", "--nprobe 2 --base voice", &["nprobe", "no lists"]),
        ("codes", "", &["base: left out", "keeps codes and no exact rows"]),
        ("refined", "--k-factor 0.5", &["k_factor: 0.5"]),
        ("refined", "--k-factor 1,NaN", &["k_factor: NaN"]),
        ("refined", "--k-factor 2,2", &["k_factor: 2 is named twice"]),
        ("refined", "--k-factor 200", &["k_factor: 200 for k = 8", "1024 candidates at most"]),
        ("refined", "--expand 3,0", &["num_expand: 0"]),
        ("refined", "--expand 3,4000 ", &["num_expand"]),
    ] {
        fails(&folder, 2, &format!("eval {index}.index --queries query.npy --device cpu {line}"), said);
    }
    for recall in ["0", "-0.5", "1.5", "NaN", "inf"] {
        let line = format!("tune ivf.index --queries query.npy --device cpu --recall {recall}");
        fails(&folder, 2, &line, &["--recall", "above 0"]);
    }
    fails(&folder, 2, "tune ivf.index --recall 0.5 -o new.index --write", &["--output", "--write"]);
    for (line, said) in [
        ("tune ivf.index --recall 0.5 -o ivf.index --force", "is an input, too"),
        ("tune ivf.index --recall 0.5 --queries query.npy -o query.npy --force", "is an input, too"),
        ("tune ivf.index --recall 0.5 --base few.npy -o few.npy --force", "is an input, too"),
        ("tune ivf.index --recall 0.5 -o copy.index", "already exists"),
        ("eval ivf.index --queries query.npy --svg ivf.index --force", "is an input, too"),
        ("eval ivf.index --queries query.npy --svg missing/plot.svg", "is no folder"),
        ("eval missing.index --queries query.npy", "missing.index"),
    ] {
        fails(&folder, 1, line, &[said]);
    }
}

#[test]
fn rows_of_nan_are_left_out_where_asked_for() {
    let folder = sample();
    let mut queries = some_rows(3, 256);
    queries[3] = f32::NAN;
    folder.put("nan.npy", &npy_f32(256, &queries));
    let report = json(&folder, "eval ivf.index --queries nan.npy --nprobe 1,20 --skip-non-finite -q");
    assert_eq!((&report["queries"], &report["dropped_queries"]), (&2.into(), &1.into()));
    assert!(report["warnings"][0].as_str().unwrap().contains("1 of 3 rows hold NaN"));
    assert_eq!(recalls(&report)[1], 1.0);
}

#[test]
fn indexes_with_few_rows_or_none() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &[0.0, 0.0, 1.0, 1.0, 5.0, 5.0]));
    folder.put("asked.npy", &npy_f32(2, &[0.5, 0.25]));
    ok(&folder, "build rows.npy -o flat.index --factory Flat -q");
    let report = json(&folder, "eval flat.index --queries asked.npy -k 5");
    assert_eq!((&report["settings"][0]["recall"], &report["settings"][0]["missing"]), (&1.0.into(), &1.0.into()));
    ok(&folder, "build rows.npy -o one.index --factory IVF1,Flat --metric ip -q");
    let report = json(&folder, "tune one.index --recall 1 -k 2");
    assert_eq!((&report["nprobe"], &report["queries"]), (&1.into(), &3.into()));
    folder.put("voice/3_feature256/0.npy", &npy_f32(256, &some_rows(80, 256)));
    ok(&folder, "build voice -q --nlist 2");
    folder.put("asked.npy", &npy_f32(256, &some_rows(1, 256)));
    let trained = "voice/trained_IVF2_Flat_nprobe_1_voice_v1.index";
    for command in ["eval", "tune --recall 0.5"] {
        let line = format!("{command} {trained} --queries asked.npy --device cpu");
        fails(&folder, 1, &line, &[trained, "has no rows"]);
    }
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    for command in ["eval", "tune"] {
        assert!(text(&folder.run(&format!("{command} --help")).stdout).contains("Example"), "{command}");
    }
}
