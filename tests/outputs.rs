//! What becomes of the files that the command replaces, and of those that it does not finish.
#![cfg(all(feature = "cli", unix))]

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Folder, npy_f32, some_rows, text};
use runs::{json, ok};

/// RVC's folder with an experiment in it whose index is there, and rows of another one.
fn rvc() -> Folder {
    let folder = Folder::new();
    folder.put("logs/voice/3_feature256/0.npy", &npy_f32(256, &some_rows(200, 256)));
    folder.put("others.npy", &npy_f32(256, &some_rows(300, 256)));
    fs::create_dir_all(folder.at("assets/indices")).unwrap();
    ok(&folder, "build logs/voice --device cpu -q --nlist 4");
    folder
}

const ADDED: &str = "logs/voice/added_IVF4_Flat_nprobe_1_voice_v1.index";
const LINKED: &str = "assets/indices/voice_IVF4_Flat_nprobe_1_voice_v1.index";

fn rows(folder: &Folder, index: &str) -> u64 {
    json(folder, &format!("info {index}"))["ntotal"].as_u64().unwrap()
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = rvc();
    symlink(Path::new("../..").join(ADDED), folder.at(LINKED)).unwrap();
    symlink(Path::new(LINKED), folder.at("twice.index")).unwrap();
    let old = folder.bytes(ADDED);
    for (number, output) in [LINKED, "twice.index"].iter().enumerate() {
        ok(&folder, &format!("build others.npy -o {output} --device cpu -q --nlist 4 --force --seed {number}"));
        assert_eq!(rows(&folder, ADDED), 300, "{output}");
        fs::write(folder.at(ADDED), &old).unwrap();
    }
    ok(&folder, &format!("tune {LINKED} --recall 0.5 --device cpu -q --write"));
    for link in [LINKED, "twice.index"] {
        assert!(folder.at(link).symlink_metadata().unwrap().is_symlink(), "{link}");
    }
    // Also where it leads to nothing yet; without --force it has the name.
    symlink("new.index", folder.at("dangling.index")).unwrap();
    let line = "build others.npy -o dangling.index --device cpu -q --nlist 4";
    assert!(text(&folder.run(line).stderr).contains("already exists"));
    ok(&folder, &format!("{line} --force"));
    assert_eq!(rows(&folder, "new.index"), 300);
}

#[test]
fn a_link_to_itself_is_refused() {
    let folder = rvc();
    symlink("b.index", folder.at("a.index")).unwrap();
    symlink("a.index", folder.at("b.index")).unwrap();
    let said = folder.run("build others.npy -o a.index --device cpu -q --force");
    assert!(text(&said.stderr).contains("leads back to itself"), "{}", text(&said.stderr));
}

#[test]
fn rvcs_hard_link_gets_the_new_file() {
    let folder = rvc();
    fs::hard_link(folder.at(ADDED), folder.at(LINKED)).unwrap();
    fs::hard_link(folder.at(ADDED), folder.at("logs/voice/again.index")).unwrap();
    let all = [ADDED, LINKED, "logs/voice/again.index"];
    // From either end, by a build and by a tuning.
    for line in [
        "build logs/voice --device cpu -q --nlist 4 --force --seed 1".to_string(),
        format!("build others.npy -o {LINKED} --device cpu -q --nlist 4 --force"),
        format!("tune {LINKED} --recall 0.9 --device cpu -q --write"),
        format!("tune {ADDED} --recall 0.4 --device cpu -q --write"),
    ] {
        let old = folder.at(ADDED).metadata().unwrap().ino();
        assert!(json(&folder, &line)["warnings"].as_array().unwrap().iter().all(|w| !w.to_string().contains("stays")));
        let new: Vec<_> = all.iter().map(|name| folder.at(name).metadata().unwrap().ino()).collect();
        assert!(new.iter().all(|&number| number == new[0] && number != old), "{line}: {new:?}, once {old}");
        assert_eq!(fs::read_dir(folder.at("assets/indices")).unwrap().count(), 1);
    }
}

#[test]
fn a_link_that_a_kill_left_unnamed_goes() {
    let folder = rvc();
    let left = folder.at("assets/indices/.rvc-gpu-index-0123abcd-xyz.part");
    fs::hard_link(folder.at(ADDED), &left).unwrap();
    let report = json(&folder, "build logs/voice --device cpu --nlist 4 --force --seed 1");
    assert!(!left.exists() && !report["warnings"].to_string().contains("stays"), "{report}");
}

#[test]
fn names_elsewhere_are_said_to_be_stale() {
    let folder = rvc();
    fs::create_dir(folder.at("backup")).unwrap();
    fs::hard_link(folder.at(ADDED), folder.at("backup/voice.index")).unwrap();
    let old = folder.bytes(ADDED);
    let report = json(&folder, "build logs/voice --device cpu --nlist 4 --force --seed 1");
    let said = report["warnings"].to_string();
    assert!(said.contains(ADDED) && said.contains("another name") && said.contains("the old content stays"), "{said}");
    assert_eq!(folder.bytes("backup/voice.index"), old);
}

#[test]
fn an_input_is_no_output_under_another_name() {
    let folder = rvc();
    fs::hard_link(folder.at("others.npy"), folder.at("same.npy")).unwrap();
    let said = folder.run("compress others.npy --clusters 5 -o same.npy --force --device cpu -q");
    assert!(text(&said.stderr).contains("same.npy: is an input, too"), "{}", text(&said.stderr));
}

#[test]
fn the_mode_is_kept() {
    let folder = rvc();
    for mode in [0o600, 0o640, 0o444] {
        fs::set_permissions(folder.at(ADDED), fs::Permissions::from_mode(mode)).unwrap();
        ok(&folder, "build logs/voice --device cpu -q --nlist 4 --force");
        assert_eq!(folder.at(ADDED).metadata().unwrap().mode() & 0o777, mode);
        ok(&folder, &format!("tune {ADDED} --recall 0.4 --device cpu -q --write"));
        assert_eq!(folder.at(ADDED).metadata().unwrap().mode() & 0o777, mode);
    }
}

#[test]
fn names_too_long_are_refused_before_the_work() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(2, &some_rows(50, 2)));
    let voice = "v".repeat(200);
    folder.put(format!("{voice}/3_feature256/0.npy"), &npy_f32(256, &some_rows(300, 256)));
    let long = "n".repeat(252);
    for line in [
        format!("build rows.npy -o {long}.index"),
        format!("compress rows.npy --clusters 5 -o {long}.npy"),
        // Taken with two digits of a k factor, which only the tuning knows.
        format!("build {voice}{} --recipe quality", "/."),
    ] {
        let before = folder.content();
        let said = folder.run(&format!("{line} --device cpu"));
        let stderr = text(&said.stderr);
        let fits = line.contains("quality");
        assert_eq!(said.status.success(), fits, "{stderr}");
        assert!(
            fits || stderr.contains("cannot be the name of a file") && stderr.contains("choose a shorter"),
            "{stderr}"
        );
        assert!(fits || folder.content() == before);
    }
    let voice = "v".repeat(222);
    folder.put(format!("{voice}/3_feature256/0.npy"), &npy_f32(256, &some_rows(300, 256)));
    // `added_PQ128x4fs_RFlat_kf8_…_v1.index` has 255 letters, with three digits it has 257.
    let said = folder.run(&format!("build {voice} --recipe quality --device cpu"));
    let stderr = text(&said.stderr);
    assert!(stderr.contains("cannot be the name of a file") && stderr.lines().count() == 1, "{stderr}");
}

/// Writes slowly, and more than is buffered: each row that is written is the sum of hundreds.
fn slow(folder: &Folder) -> Command {
    if !folder.at("slow.npy").exists() {
        folder.put("slow.npy", &npy_f32(64, &some_rows(6000, 64)));
    }
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rvc-gpu-index"));
    command.current_dir(folder.at("."));
    command.args("expand slow.npy -o out.npy --num-expand 300 --force --device cpu --batch-rows 64 -q".split(' '));
    command.stderr(Stdio::piped());
    command
}

fn parts(folder: &Folder) -> usize {
    let names = fs::read_dir(folder.at(".")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
}

/// A run that is writing its part file. On a busy machine it may be over before that is seen: then another one.
fn writing(folder: &Folder, command: &mut Command) -> Child {
    for _ in 0..20 {
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            let is_part = |path: &Path| path.to_string_lossy().ends_with(".part");
            let written = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.len() > 0);
            let mut paths = fs::read_dir(folder.at(".")).unwrap().map(|entry| entry.unwrap().path());
            if paths.any(|path| is_part(&path) && written(&path)) {
                return child;
            }
            assert!(started.elapsed() < Duration::from_secs(100), "it did not begin to write");
            sleep(Duration::from_millis(1));
        }
    }
    panic!("it was always over before it was seen to write");
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Sends a signal while a file is written. On a busy machine that may be over before: then once more.
fn interrupted(folder: &Folder, signal: &str) -> Option<i32> {
    for _ in 0..20 {
        folder.put("out.npy", b"old");
        let child = writing(folder, &mut slow(folder));
        send(signal, &child);
        let code = child.wait_with_output().unwrap().status.code();
        if code != Some(0) {
            return code;
        }
    }
    panic!("{signal} never came in time");
}

#[test]
fn signals_leave_nothing_behind() {
    let folder = Folder::new();
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        assert_eq!(interrupted(&folder, signal), Some(code), "{signal}");
        assert!(parts(&folder) == 0 && folder.bytes("out.npy") == b"old", "{signal}");
    }
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let folder = Folder::new();
    let slow = slow(&folder);
    let mut command = Command::new("sh");
    command.current_dir(folder.at(".")).args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let mut child = writing(&folder, command.arg(slow.get_program()).args(slow.get_args()));
    send("-HUP", &child);
    assert!(child.wait().unwrap().success());
    assert_eq!(parts(&folder), 0);
}

#[test]
fn what_a_kill_leaves_goes_with_the_next_run_and_what_is_written_stays() {
    let folder = Folder::new();
    let mut killed = writing(&folder, &mut slow(&folder));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(parts(&folder), 1);
    let other = folder.put(".rvc-gpu-index-of-another-target.part", b"");
    // Two at once: neither takes the other's file away.
    let mut both = [slow(&folder).spawn().unwrap(), slow(&folder).spawn().unwrap()];
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(parts(&folder), 1);
    assert!(other.exists());
}

#[test]
fn a_file_that_grows_too_large_is_an_error() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(4000, 4)));
    ok(&folder, "build rows.npy --device cpu -q --factory Flat");
    for line in [
        "build rows.npy -o new.index --device cpu -q",
        "search rows.index rows.npy -o new.npz -k 9 --device cpu -q",
        "compress rows.npy -o new.npy --clusters 3000 --device cpu -q",
    ] {
        let before = folder.content();
        let program = assert_cmd::cargo::cargo_bin!("rvc-gpu-index");
        let limited = Command::new("sh")
            .current_dir(folder.at("."))
            .args(["-c", "ulimit -f 16; exec \"$@\"", "sh"])
            .arg(program)
            .args(line.split(' '))
            .output()
            .unwrap();
        let stderr = text(&limited.stderr);
        assert_eq!(limited.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.starts_with("error: new.") && stderr.contains("cannot write"), "{line}: {stderr}");
        // Of a library, too: one line, and it is ours.
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
        assert!(folder.content() == before, "{line}");
    }
}
