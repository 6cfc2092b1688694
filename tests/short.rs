//! Machines that are short of something: memory, threads, a window system.
#![cfg(all(feature = "cli", unix))]

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::process::{Command, Output};

use common::{Folder, npy_f32, some_rows, text};
use runs::{json, ok};

/// Runs the command after what a shell does first.
fn run_after(folder: &Folder, shell: &str, line: &str) -> Output {
    let program = assert_cmd::cargo::cargo_bin!("rvc-gpu-index");
    let mut command = Command::new("sh");
    command.current_dir(folder.at(".")).args(["-c", &format!("{shell}; exec \"$@\""), "sh"]).arg(program);
    command.args(line.split(' ')).output().unwrap()
}

/// The run ended by itself, well or with an error that says how much memory is needed and leaves nothing behind.
#[track_caller]
fn ended(output: &Output, line: &str) -> bool {
    let stderr = text(&output.stderr);
    match output.status.code() {
        Some(0) => true,
        Some(1) => {
            let said = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
            assert!(said.starts_with("error: memory: ") && said.contains(" MB"), "{line}: {stderr}");
            false
        }
        code => panic!("{line} ended with {code:?}, {}: {stderr}", output.status),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_address_space_ends_in_an_error_that_names_the_need() {
    let folder = Folder::new();
    // 100 MB of rows.
    folder.put("rows.npy", &npy_f32(256, &some_rows(100_000, 256)));
    let jobs = [
        "build rows.npy -o new.index --force -q --nlist 200 --iterations 1 --device cpu",
        "build rows.npy -o new.index --force -q --nlist 200 --iterations 1 --device cpu --batch-rows 2000",
        "build rows.npy -o new.index --force -q --factory Flat,RFlat --device cpu",
        "build rows.npy -o new.index --force -q --factory PQ16x4fs --device cpu",
        "compress rows.npy -o new.npy --force -q --clusters 100 --device cpu",
    ];
    let mut outcomes = [0, 0];
    for line in jobs {
        for megabytes in [60, 100, 140, 180, 220, 260, 300, 400, 600, 1200] {
            let output = run_after(&folder, &format!("ulimit -v {}", megabytes * 1000), line);
            outcomes[usize::from(ended(&output, &format!("{line} in {megabytes} MB")))] += 1;
        }
    }
    assert!(folder.content().keys().all(|path| path.extension().is_some_and(|kind| kind != "part")));
    assert!(outcomes[0] > 5 && outcomes[1] > 5, "{outcomes:?}");
    // Said before the work.
    let output = run_after(&folder, "ulimit -v 150000", &jobs[0].replace(" -q", ""));
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
}

#[test]
#[cfg(target_os = "linux")]
fn a_voice_larger_than_the_memory_is_compressed() {
    let folder = Folder::new();
    // 100 MB of rows.
    folder.put("rows.npy", &npy_f32(256, &some_rows(100_000, 256)));
    let line = "compress rows.npy -o new.npy --clusters 1000 --device cpu -q";
    let output = run_after(&folder, "ulimit -d 80000; export RAYON_NUM_THREADS=2", line);
    assert!(output.status.success(), "{} {}", output.status, text(&output.stderr));
}

#[test]
#[cfg(target_os = "linux")]
fn an_index_larger_than_the_memory_is_an_error_when_read() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(256, &some_rows(60_000, 256)));
    folder.put("queries.npy", &npy_f32(256, &some_rows(10, 256)));
    ok(&folder, "build rows.npy --factory Flat --device cpu -q");
    for line in [
        "info rows.index",
        "search rows.index queries.npy --device cpu",
        "eval rows.index --queries queries.npy --device cpu",
    ] {
        for megabytes in [50, 80, 110, 150] {
            ended(&run_after(&folder, &format!("ulimit -v {}", megabytes * 1000), line), line);
        }
    }
}

#[test]
fn without_threads_one_does_the_work() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(16, &some_rows(3000, 16)));
    ok(&folder, "build rows.npy -o usual.index --device cpu -q --factory IVF20,PQ8x4fs,RFlat");
    ok(&folder, "search usual.index rows.npy -o usual.npz --device cpu -q");
    // No machine has room for a stack like this.
    let no_threads = "export RUST_MIN_STACK=4000000000000000";
    for line in [
        "build rows.npy -o new.index --device cpu -q --factory IVF20,PQ8x4fs,RFlat",
        "search new.index rows.npy -o new.npz --device cpu -q",
        "compress rows.npy -o new.npy --clusters 50 --device cpu -q",
        "blend new.index rows.npy -o blended.npy --device cpu -q",
        "devices",
    ] {
        let output = run_after(&folder, no_threads, line);
        assert!(output.status.success() && output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
    }
    assert!(folder.bytes("new.index") == folder.bytes("usual.index"));
    assert!(folder.bytes("new.npz") == folder.bytes("usual.npz"));
}

#[test]
fn success_is_silent_without_a_window_system() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(300, 4)));
    for line in ["build rows.npy -q", "devices"] {
        let mut command = folder.command(line.split(' '));
        let output = command.env_remove("XDG_RUNTIME_DIR").output().unwrap();
        assert!(output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn an_input_that_is_named_twice_is_read_once() {
    let folder = Folder::new();
    folder.put("voice/a.npy", &npy_f32(4, &some_rows(100, 4)));
    folder.put("voice/b.npy", &npy_f32(4, &some_rows(50, 4)));
    std::fs::hard_link(folder.at("voice/a.npy"), folder.at("linked.npy")).unwrap();
    std::os::unix::fs::symlink("voice/b.npy", folder.at("symbolic.npy")).unwrap();
    for (inputs, rows, said) in [
        ("voice/a.npy voice/a.npy", 100, &["voice/a.npy: named more than once, and read once"][..]),
        ("voice voice/a.npy ./voice/../voice/b.npy", 150, &["the same file as", "/b.npy"]),
        ("voice linked.npy symbolic.npy", 150, &["linked.npy: left out, as it is the same file as", "symbolic.npy"]),
        ("voice", 150, &[]),
    ] {
        let report = json(&folder, &format!("build {inputs} -o x.index --device cpu --force --factory Flat"));
        let warnings = report["warnings"].to_string();
        assert_eq!(report["rows"], rows, "{inputs}");
        assert_eq!(report["warnings"].as_array().unwrap().is_empty(), said.is_empty(), "{inputs}: {warnings}");
        assert!(said.iter().all(|said| warnings.contains(said)), "{inputs}: {warnings}");
    }
}
