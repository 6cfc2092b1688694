//! What is in which table.

use super::Run;
use super::changes::Better;
use super::figures::{
    GBS, GFLOP, GFLOPS, GIB, KIB, MB, MIB, MICROSECONDS, MILLISECONDS, PER_CENT, QUERIES_PER_SECOND, SECONDS, Unit,
};
use super::series::Series;
use super::table::{Column, Row, Table, Timed, column, plain};

/// A row a result.
pub fn runs(runs: &[Run]) -> Table<'_> {
    let row = |(run_number, run)| Row { run, run_number, series: None, place: String::new() };
    Table {
        id: "results-table".into(),
        title: "Machines and runs",
        keys: Vec::new(),
        columns: vec![
            plain("began, UTC", "time"),
            plain("version", "version"),
            plain("commit", "commit"),
            plain("schema", "schema"),
            plain("OS", "host/os"),
            plain("OS version", "host/os_version"),
            plain("CPU", "host/cpu"),
            plain("threads", "host/threads"),
            column("memory", "host/memory", GIB),
            plain("workload", "workload/name"),
            plain("rows", "workload/rows"),
            plain("d", "workload/d"),
            plain("queries", "workload/queries"),
            plain("seed", "workload/seed"),
            plain("path", "workload/path"),
            plain("quick", "quick"),
        ],
        timed: None,
        rows: runs.iter().enumerate().map(row).collect(),
    }
}

/// A row a series.
fn of_series<'a>(all: impl IntoIterator<Item = &'a Series<'a>>) -> Vec<Row<'a>> {
    all.into_iter().map(|series| row(series, series.place.clone())).collect()
}

fn row<'a>(series: &'a Series<'a>, place: String) -> Row<'a> {
    Row { run: series.run, run_number: series.run_number, series: Some(series), place }
}

/// What the devices are, whether they compute right, and what they can do at all.
pub fn devices<'a>(all: &'a [Series<'a>]) -> Vec<Table<'a>> {
    let facts = vec![
        plain("vendor", "vendor"),
        plain("selector", "info/selector"),
        plain("backend", "info/backend"),
        plain("driver", "info/driver"),
        plain("kind", "info/type"),
        column("largest buffer", "info/max_buffer_size", MIB),
        column("largest binding", "info/max_binding_size", MIB),
        plain("storage buffers", "info/max_storage_buffers"),
        column("workgroup memory", "info/max_workgroup_memory", KIB),
        plain("workgroup size", "info/max_workgroup_size"),
        plain("subgroup size, least and greatest", "info/subgroup_size"),
        plain("features", "info/features"),
        plain("tile rows", "info/tile/rows"),
        plain("tile centroids", "info/tile/centroids"),
    ];
    let selftest = vec![
        plain("passed", "selftest/passed"),
        plain("failed", "selftest/failed"),
        plain("first failing stage", "selftest/first_failure/stage"),
        plain("case", "selftest/first_failure/case"),
        plain("computed on", "selftest/first_failure/values"),
        plain("message", "selftest/first_failure/message"),
    ];
    let table = |id: &str, title, columns| Table {
        id: id.into(),
        title,
        keys: Vec::new(),
        columns,
        timed: None,
        rows: of_series(all),
    };
    let mut tables = vec![table("facts", "Facts", facts), table("selftest", "Selftest, cases", selftest)];
    for (title, at, unit, better) in [
        ("Ceiling: multiply-adds", "ceilings/flops", GFLOPS, Better::More),
        ("Ceiling: copy within its memory, read and written", "ceilings/copy", GBS, Better::More),
        ("Ceiling: upload", "ceilings/upload", GBS, Better::More),
        ("Ceiling: readback", "ceilings/readback", GBS, Better::More),
        ("Latency: from submission to the answer on the host", "ceilings/latency", MICROSECONDS, Better::Less),
    ] {
        let rows = of_series(all).into_iter().filter(|row| row.has(at)).collect();
        let timed = Some(Timed { at, unit, better });
        let id = at.replace('/', "-");
        tables.push(Table { id, title, keys: Vec::new(), columns: Vec::new(), timed, rows });
    }
    tables
}

/// What was measured with one workload; `id` tells its anchors from those of others.
pub fn measured<'a>(id: &str, group: &[&'a Series<'a>]) -> Vec<Table<'a>> {
    let table = |title, of: [&str; 2], keys, columns, at, unit: Unit, better| Table {
        id: format!("{id}-{}", of.join("")),
        title,
        keys,
        columns,
        timed: Some(Timed { at, unit, better }),
        rows: group.iter().flat_map(|series| parts(series, of)).collect(),
    };
    let setting =
        || vec![plain("index", "factory"), plain("nprobe", "nprobe"), plain("k_factor", "k_factor"), plain("k", "k")];
    let frames: Vec<Column> = setting().into_iter().chain([plain("frames", "frames")]).collect();
    let stage = ["stage", "variant", "shape", "rows", "clock"].map(|name| plain(name, name)).into();
    let work = vec![
        column("work", "flops", GFLOP),
        column("moved", "bytes", MB),
        column("uploaded", "uploaded", MB),
        plain("bound by", "bound"),
        column("of its ceiling", "share", PER_CENT),
    ];
    let build = vec![plain("index", "factory"), plain("nlist", "nlist")];
    let built = vec![plain("objective a row", "objective")];
    let phase = vec![plain("index", "../../factory"), plain("nlist", "../../nlist"), plain("phase", "phase")];
    let p99 = vec![column("p99", "percentiles/99", MILLISECONDS)];
    let (less, more) = (Better::Less, Better::More);
    vec![
        table(
            "Searches",
            ["searches", ""],
            setting(),
            vec![plain("recall@k", "recall")],
            "queries_per_second",
            QUERIES_PER_SECOND,
            more,
        ),
        table("Builds", ["builds", ""], build, built, "seconds", SECONDS, less),
        table("Builds, by phase", ["builds", "phases"], phase, Vec::new(), "seconds", SECONDS, less),
        table("Live calls, the median being p50", ["live", ""], frames, p99, "seconds", MILLISECONDS, less),
        table("Stages", ["stages", ""], stage, work, "seconds", MILLISECONDS, less),
    ]
}

/// A row for each element of an array of the series, or of an array that each of these has.
fn parts<'a>(series: &'a Series<'a>, [outer, inner]: [&str; 2]) -> Vec<Row<'a>> {
    let elements = |place: String| {
        let count = series.run.json.pointer(&place).and_then(|array| array.as_array()).map_or(0, Vec::len);
        (0..count).map(move |i| format!("{place}/{i}"))
    };
    let outer = elements(format!("{}/{outer}", series.place));
    let places: Vec<String> = match inner {
        "" => outer.collect(),
        inner => outer.flat_map(|place| elements(format!("{place}/{inner}"))).collect(),
    };
    places.into_iter().map(|place| row(series, place)).collect()
}
