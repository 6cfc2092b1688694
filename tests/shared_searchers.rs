//! Searchers, blenders and stages that many threads share: every call comes back, with the answer that it has alone.
//!
//! Each case runs in a process of its own, with its own number of rayon threads; one that hangs is ended.

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::MemoryRows;
use rvc_gpu_index::index::{Index, SearchParams, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender};

/// Names the case that this process is to run.
const CASE: &str = "SHARED_SEARCHERS_CASE";
/// How often a case goes through its rounds, where it is to be more than once.
const TIMES: &str = "SHARED_SEARCHERS_TIMES";
/// Many times what a case takes on a slow machine, for each of the times.
const LIMIT: Duration = Duration::from_secs(300);

/// So many that a batch of queries which visits nearly all lists makes the rows ready for being searched again.
const SMALL: Voice = Voice { rows: 8192, dim: 128, rank: 7, nprobe: 30 };
/// So large that other searches begin while the rows are made ready, and come to be run by the threads that wait there.
const LARGE: Voice = Voice { rows: 60_000, dim: 256, rank: 24, nprobe: 400 };
const QUERIES: usize = 1024;
/// Callers at a time.
const ROUNDS: [usize; 8] = [1, 2, 3, 4, 6, 6, 6, 16];
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
            "large" => searchers(("IVF1024,Flat", Metric::L2), &LARGE, 1, &[6, 5]),
            kind => searchers(KINDS[kind.parse::<usize>().unwrap()], &SMALL, 3, &ROUNDS),
        }
        return ExitCode::SUCCESS;
    }
    let mut trials = Vec::new();
    for threads in ["1", "2", "4", "8"] {
        for (number, (kind, metric)) in KINDS.iter().enumerate() {
            let name = format!("{threads}_threads::{kind}_{metric}");
            trials.push(Trial::test(name, move || run(threads, &number.to_string())));
        }
        for case in ["nearest_centroid", "large"] {
            trials.push(Trial::test(format!("{threads}_threads::{case}"), move || run(threads, case)));
        }
    }
    // Cases have threads of their own, and a hang is no slow machine.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a case in a process of its own.
fn run(threads: &str, case: &str) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.env(CASE, case).env("RAYON_NUM_THREADS", threads).stderr(Stdio::piped()).spawn()?;
    let limit = LIMIT * times() as u32;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(format!("not over after {limit:?}: calls wait for each other").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}

fn times() -> usize {
    std::env::var(TIMES).map_or(1, |times| times.parse().expect(TIMES))
}

struct Voice {
    rows: usize,
    dim: usize,
    rank: usize,
    nprobe: usize,
}

impl Voice {
    /// Rows that spread in few directions, so that bounds spare comparisons.
    fn values(&self, count: usize, seed: u64) -> Vec<f32> {
        let draw = |seed, values| -> Vec<f32> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..values).map(|_| rng.random_range(-1.0..1.0)).collect()
        };
        let directions = draw(0, self.rank * self.dim);
        let mut values = draw(1 + seed, count * self.dim);
        for (row, shares) in values.chunks_mut(self.dim).zip(draw(100 + seed, count * self.rank).chunks(self.rank)) {
            row.iter_mut().for_each(|value| *value *= 0.1);
            for (share, direction) in shares.iter().zip(directions.chunks(self.dim)) {
                row.iter_mut().zip(direction).for_each(|(value, along)| *value += share * along);
            }
        }
        values
    }
}

fn searchers((kind, metric): (&str, Metric), voice: &Voice, iterations: usize, rounds: &[usize]) {
    let (rows, device) = (voice.values(voice.rows, 0), Device::cpu());
    let rows = MemoryRows::new(&rows, voice.dim).unwrap();
    let mut index = Index::new(&kind.parse::<IndexSpec>().unwrap(), metric, voice.dim).unwrap();
    index.train(&device, &rows, &KMeansParams { iterations, ..KMeansParams::default() }, &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    let queries = voice.values(QUERIES, 1);
    let frames = &queries[..28 * voice.dim];
    let nprobe = index.nlist().map(|_| voice.nprobe);
    let search = SearchParams { nprobe, k_factor: None };
    let blend = BlendParams { search, ..BlendParams::default() };
    let alone = Blender::new(Searcher::new(index.clone(), &device).unwrap());
    let few = alone.searcher().search(frames, 3, &search).unwrap();
    let blended = alone.blend(frames, &blend).unwrap();
    let many = alone.searcher().search(&queries, 8, &search).unwrap();
    for callers in rounds.repeat(times()) {
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
    let table = device.centroid_table(&SMALL.values(512, 0), SMALL.dim, Metric::L2).unwrap();
    let rows = SMALL.values(SMALL.rows, 1);
    let labels = |found: &rvc_gpu_index::device::Assignment| device.download(&found.labels).unwrap();
    let alone = labels(&device.nearest_centroid(&device.upload(&rows, SMALL.dim).unwrap(), &table).unwrap());
    for callers in ROUNDS.repeat(times()) {
        let shared = device.upload(&rows, SMALL.dim).unwrap();
        let call = || assert_eq!(labels(&device.nearest_centroid(&shared, &table).unwrap()), alone);
        thread::scope(|scope| (0..callers).for_each(|_| drop(scope.spawn(call))));
    }
}
