//! Kills at random moments: what is replaced is whole, old or new, and the next run leaves nothing else behind.
//!
//! A few here; `RVC_GPU_INDEX_KILLS=200 cargo test --test kills` has more.
#![cfg(all(feature = "cli", unix))]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Folder, npy_f32, some_rows, text};

/// Names how many kills are tried.
const KILLS: &str = "RVC_GPU_INDEX_KILLS";

/// A command that replaces `target`.
struct Job {
    line: &'static str,
    target: &'static str,
}

const JOBS: [Job; 3] = [
    Job { line: "build rows.npy -o built.index --device cpu --force -q --nlist 100 --seed 2", target: "built.index" },
    Job { line: "tune tuned.index --recall 0.1 -k 2 --device cpu --write -q", target: "tuned.index" },
    Job {
        line: "compress rows.npy --clusters 600 -o compressed.npy --device cpu --force -q",
        target: "compressed.npy",
    },
];

fn command(folder: &Folder, job: &Job) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rvc-gpu-index"));
    command.current_dir(folder.at(".")).args(job.line.split(' ')).stderr(Stdio::piped());
    command
}

fn run(folder: &Folder, job: &Job) -> Duration {
    let started = Instant::now();
    let output = command(folder, job).output().unwrap();
    assert!(output.status.success(), "{}: {}", job.line, text(&output.stderr));
    started.elapsed()
}

/// The same numbers on every run (a 64-bit linear congruential generator), 0 to 1.
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f64 / (1u64 << 24) as f64
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one_and_the_next_run_nothing_else() {
    let kills: usize = std::env::var(KILLS).map_or(12, |kills| kills.parse().expect("a number of kills"));
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(32, &some_rows(6000, 32)));
    let untuned = "build rows.npy -o tuned.index --device cpu -q --nlist 40 --nprobe 33";
    assert!(folder.run(untuned).status.success());
    let mut state = 20;
    for job in &JOBS {
        // What an index is like before a tuning, it is again before each.
        let old = if job.target == "tuned.index" { folder.bytes(job.target) } else { b"another day's".to_vec() };
        let took = run(&folder, job);
        let new = folder.bytes(job.target);
        let names: Vec<_> = folder.content().into_keys().collect();
        let mut seen = [0, 0];
        for kill in 0..kills.div_ceil(JOBS.len()) {
            fs::write(folder.at(job.target), &old).unwrap();
            // One in four near the end, where files are written.
            let share = random(&mut state);
            let share = if kill % 4 == 3 { 0.85 + share / 4.0 } else { share * 1.1 };
            let mut child = command(&folder, job).spawn().unwrap();
            sleep(took.mul_f64(share));
            child.kill().unwrap();
            child.wait().unwrap();
            let found = folder.bytes(job.target);
            // A tuning times searches, so that it may choose otherwise: such a file is read whole.
            let whole = job.target == "tuned.index" && found.len() == new.len();
            assert!(found == old || found == new || whole, "{} after {share:.3} of its time", job.line);
            seen[usize::from(found != old)] += 1;
            if whole {
                assert!(folder.run("info tuned.index").status.success());
            }
            run(&folder, job);
            let left: Vec<_> = folder.content().into_keys().collect();
            assert_eq!(left, names, "{} after {share:.3} of its time", job.line);
        }
        println!("{}: {} kills left the old file, {} the new one", job.target, seen[0], seen[1]);
    }
}
