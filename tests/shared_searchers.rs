//! Searchers, blenders and stages that many threads share: every call comes back, with the answer that it has alone.
//!
//! Each case runs in a process of its own, with its own number of rayon threads; one that hangs is ended.

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::MemoryRows;
use rvc_gpu_index::index::{Index, SearchParams, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender};

/// Names the case that this process is to run.
const CASE: &str = "SHARED_SEARCHERS_CASE";
/// Many times what a case takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

const DIM: usize = 128;
/// So many that a batch of queries which visits nearly all lists makes the rows ready for being searched again.
const ROWS: usize = 8192;
const KINDS: [(&str, Metric); 8] = [
    ("Flat", Metric::L2),
    ("IVF32,Flat", Metric::L2),
    ("IVF32,Flat", Metric::InnerProduct),
    ("L2norm,IVF32,Flat", Metric::L2),
    ("PQ32x4fs", Metric::L2),
    ("PQ32x4fs,RFlat", Metric::L2),
    ("IVF32,PQ32x4fsr", Metric::L2),
    ("IVF32,PQ32x4fs,RFlat", Metric::InnerProduct),
];

fn main() -> ExitCode {
    if let Ok(case) = std::env::var(CASE) {
        match case.as_str() {
            "nearest_centroid" => matrices(),
            kind => searchers(KINDS[kind.parse::<usize>().unwrap()]),
        }
        return ExitCode::SUCCESS;
    }
    let mut trials = Vec::new();
    for threads in ["1", "2", "4", "8"] {
        for (number, (kind, metric)) in KINDS.iter().enumerate() {
            let name = format!("{threads}_threads::{kind}_{metric}");
            trials.push(Trial::test(name, move || run(threads, &number.to_string())));
        }
        trials.push(Trial::test(format!("{threads}_threads::nearest_centroid"), || run(threads, "nearest_centroid")));
    }
    // Cases have threads of their own, and a hang is no slow machine.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a case in a process of its own.
fn run(threads: &str, case: &str) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.env(CASE, case).env("RAYON_NUM_THREADS", threads).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + LIMIT;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(format!("not over after {LIMIT:?}: calls wait for each other").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}

/// Rows that spread in few directions, so that bounds spare comparisons.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let wave = |i: usize| (i * 7919 % 10_007) as f32 / 5003.5 - 1.0;
    let value = |i, j| (0..7).map(|d| wave(i * 31 + d * 17) * ((j * (d + 1)) as f32 * 0.7).sin()).sum::<f32>();
    (0..count * DIM).map(|at| value(seed + at / DIM, at % DIM) + 0.1 * wave(seed + at * 57)).collect()
}

fn searchers((kind, metric): (&str, Metric)) {
    let (rows, device) = (values(ROWS, 0), Device::cpu());
    let rows = MemoryRows::new(&rows, DIM).unwrap();
    let mut index = Index::new(&kind.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    index.train(&device, &rows, &KMeansParams { iterations: 3, ..KMeansParams::default() }, &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    let queries = values(1024, ROWS);
    let frames = &queries[..28 * DIM];
    let nprobe = index.nlist().map(|_| 30);
    let search = SearchParams { nprobe, k_factor: None };
    let blend = BlendParams { search, ..BlendParams::default() };
    let alone = Blender::new(Searcher::new(index.clone(), &device).unwrap());
    let few = alone.searcher().search(frames, 3, &search).unwrap();
    let blended = alone.blend(frames, &blend).unwrap();
    let many = alone.searcher().search(&queries, 8, &search).unwrap();
    for callers in [1, 2, 3, 4, 6, 6, 6, 16] {
        // A new one: the first calls find nothing ready.
        let shared = Blender::new(Searcher::new(index.clone(), &device).unwrap());
        let call = |caller: usize| {
            thread::sleep(Duration::from_millis(3 * caller as u64));
            match caller % 4 {
                1 => shared.searcher().prepare(&search),
                2 => assert_eq!(shared.blend(frames, &blend).unwrap(), blended),
                _ => assert_eq!(shared.searcher().search(&queries, 8, &search).unwrap(), many),
            }
            assert_eq!(shared.searcher().search(frames, 3, &search).unwrap(), few);
        };
        thread::scope(|scope| (0..callers).for_each(|caller| drop(scope.spawn(move || call(caller)))));
    }
}

/// Rows and centroids that are compared by several threads, each of which may be the first to do so.
fn matrices() {
    let device = Device::cpu();
    let table = device.centroid_table(&values(512, 0), DIM, Metric::L2).unwrap();
    let rows = values(ROWS, 512);
    let labels = |found: &rvc_gpu_index::device::Assignment| device.download(&found.labels).unwrap();
    let alone = labels(&device.nearest_centroid(&device.upload(&rows, DIM).unwrap(), &table).unwrap());
    for callers in [1, 2, 3, 4, 6, 6, 6, 16] {
        let shared = device.upload(&rows, DIM).unwrap();
        let call = || assert_eq!(labels(&device.nearest_centroid(&shared, &table).unwrap()), alone);
        thread::scope(|scope| (0..callers).for_each(|_| drop(scope.spawn(call))));
    }
}
