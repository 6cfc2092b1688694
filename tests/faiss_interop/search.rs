//! Searches: in one file, both sides find the same neighbours, on every device.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles};
use rvc_gpu_index::index::{Index, IndexKind, Neighbors, SearchParams, Searcher};
use rvc_gpu_index::{Error, Existing};
use tempfile::TempDir;

use super::Case;
use super::byte_tables::ByteTables;
use super::devices::devices;
use super::faiss::{Faiss, METRICS, Outcome, Setting};
use super::ranks::{Answer, Ranks, exact_distances};

/// A sample voice of the repository and what it is asked.
#[derive(Clone, Copy)]
struct Sample {
    folder: &'static str,
    queries: &'static str,
    /// Indexes built from it here.
    ours: &'static [&'static str],
}

const SAMPLES: [Sample; 2] = [
    Sample {
        folder: "voice-sample",
        queries: "voice-sample/query256.npy",
        ours: &[
            "Flat",
            "IVF20,Flat",
            "L2norm,Flat",
            "L2norm,IVF20,Flat,RFlat",
            "PQx4fs",
            "L2norm,PQx4fs,RFlat",
            "IVF20,PQ64x4fs,RFlat",
            "L2norm,IVF20,PQ64x4fsr",
        ],
    },
    Sample {
        folder: "voice-sample-v2",
        queries: "voice-sample-v2/query768.npy",
        ours: &["IVF20,Flat", "IVF20,PQ96x4fsr,RFlat"],
    },
];

/// Indexes of whole rows, which faiss builds.
const WHOLE_ROWS: [&str; 3] = ["Flat", "IVF20,Flat", "Flat,RFlat"];

/// Dimensions and M of indexes of codes, which both sides build: odd numbers of parts, and parts of 1, 2, 3, 4 and 8.
const SHAPES: [(usize, usize); 5] = [(33, 33), (66, 33), (33, 11), (44, 11), (24, 3)];

/// Indexes built here from rows that are hard to quantize: parts of many dimensions, and tables without spans.
const SPECIAL: [(Data, &str, usize); 12] = [
    (Data::Noise, "PQ1x4fs", 200),
    (Data::Noise, "IVF20,PQ2x4fsr,RFlat", 200),
    (Data::Zeros, "PQ11x4fs", 33),
    (Data::Zeros, "IVF20,PQ11x4fsr", 33),
    (Data::EqualRows, "PQ11x4fs", 33),
    (Data::EqualRows, "IVF20,PQ11x4fsr", 33),
    (Data::EqualRows, "IVF20,PQ11x4fs,RFlat", 33),
    (Data::ConstantParts, "PQ11x4fs,RFlat", 33),
    (Data::ConstantParts, "L2norm,IVF20,PQ11x4fsr", 33),
    (Data::FewRows, "PQ11x4fs", 33),
    (Data::FewRows, "IVF20,PQ11x4fs", 33),
    (Data::FewRows, "L2norm,IVF20,PQ11x4fsr,RFlat", 33),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Data {
    Noise,
    /// Codewords that are all the same.
    Zeros,
    /// One row again and again; codewords are told apart by a thousandth.
    EqualRows,
    /// Noise, but for the first half of the dimensions.
    ConstantParts,
    /// Ten different rows.
    FewRows,
}

impl Data {
    fn rows(self, dim: usize) -> Vec<f32> {
        let mut rows = noise(1, ROWS, dim);
        match self {
            Self::Noise => {}
            Self::Zeros => rows = vec![0.0; 300 * dim],
            Self::EqualRows => rows = rows[..dim].repeat(300),
            Self::ConstantParts => rows.chunks_exact_mut(dim).for_each(|row| row[..dim / 2].fill(0.75)),
            Self::FewRows => rows = rows[..10 * dim].repeat(30),
        }
        rows
    }
}

const NLIST: usize = 20;

/// Rows of an index that is not built from a sample.
const ROWS: usize = 1000;

/// Queries of a case: enough for several tiles.
const QUERIES: usize = 70;

/// Share of the rows whose sum may be undecided, and of the queries whose lists may be, in a case. Among what is tested,
/// one byte in 2000 is, so that of rows with a hundred bytes one in 20 is the worst; the average is below 1 %.
const UNDECIDED: f64 = 0.05;

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    let (devices, missing) = devices();
    let mut add = |name: String, case: Case| cases.push((name, case));
    for metric in METRICS {
        for (factory, dim) in whole_rows().chain(codes(metric)) {
            // faiss builds and searches once for all devices.
            let asked = Arc::new(OnceLock::new());
            for device in &devices {
                let name = format!("search_theirs/{}/{factory}/{metric}/{dim}", device.info().selector);
                let (device, factory, asked) = (device.clone(), factory.clone(), asked.clone());
                add(name, Box::new(move |faiss| search_theirs(faiss, &device, &factory, metric, dim, &asked)));
            }
        }
        for device in &devices {
            let ordinary = codes(metric).map(|(factory, dim)| (Data::Noise, factory, dim));
            let special = SPECIAL.map(|(data, factory, dim)| (data, factory.to_string(), dim));
            for (data, factory, dim) in ordinary.chain(special) {
                let name = format!("search_ours/{}/{factory}/{metric}/{data:?}{dim}", device.info().selector);
                let device = device.clone();
                add(name, Box::new(move |faiss| search_ours(faiss, &device, &factory, metric, data, dim)));
            }
            for (sample, factory) in
                SAMPLES.iter().flat_map(|sample| sample.ours.iter().map(move |ours| (sample, ours)))
            {
                let name = format!("search_ours/{}/{factory}/{metric}/{}", device.info().selector, sample.folder);
                let device = device.clone();
                add(name, Box::new(move |faiss| search_sample(faiss, &device, factory, metric, sample)));
            }
        }
    }
    for reason in missing {
        cases.push((reason.clone(), Box::new(move |_| Err(reason.into()))));
    }
    cases
}

fn whole_rows() -> impl Iterator<Item = (String, usize)> {
    WHOLE_ROWS.into_iter().map(|factory| (factory.to_string(), 33))
}

/// Every kind of index of codes, with its dimensions. The shapes take turns, so that with both metrics each way to keep
/// codes, each prefix and each suffix meets every one of them.
fn codes(metric: Metric) -> impl Iterator<Item = (String, usize)> {
    let ways = [("", "fs"), ("IVF20,", "fs"), ("IVF20,", "fsr")];
    let kinds = ways.into_iter().flat_map(|way| {
        ["", "L2norm,"].into_iter().flat_map(move |prefix| ["", ",RFlat"].map(|suffix| (prefix, way, suffix)))
    });
    let first = if metric == Metric::L2 { 0 } else { 2 };
    kinds
        .zip(SHAPES.into_iter().cycle().skip(first))
        .map(|((prefix, (lists, fs), suffix), (dim, m))| (format!("{prefix}{lists}PQ{m}x4{fs}{suffix}"), dim))
}

/// Rows of `dim` floats, about normally distributed.
fn noise(seed: u64, rows: usize, dim: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..rows * dim).map(|_| 2.0 * (uniform() + uniform() + uniform())).collect()
}

fn read_all(path: &Path) -> Result<(Vec<f32>, usize), Error> {
    let source = NpyFiles::open(&[path])?;
    let mut rows = vec![0.0; source.rows() * source.dim()];
    source.read(0, &mut rows)?;
    Ok((rows, source.dim()))
}

/// An index built here from a sample voice, searched by both sides.
fn search_sample(faiss: &Faiss, device: &Device, factory: &str, metric: Metric, sample: &Sample) -> Outcome {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let voice = NpyFiles::open(&[data.join(sample.folder)])?;
    let (mut queries, dim) = read_all(&data.join(sample.queries))?;
    queries.truncate(QUERIES * dim);
    let (folder, file) = build(device, factory, metric, &voice)?;
    let index = read_index(&file)?;
    let keeps_rows = matches!(index.kind(), IndexKind::Flat { .. } | IndexKind::IvfFlat(_)) && !index.l2norm();
    if keeps_rows || index.refine().is_some() {
        let (_, theirs) = faiss.describe(&file)?;
        let mut rows = vec![0.0; theirs.len()];
        voice.read(0, &mut rows)?;
        let same = rows.iter().map(|x| x.to_bits()).eq(theirs.iter().map(|x| x.to_bits()));
        if !same || theirs.len() != voice.rows() * dim {
            return Err("faiss reconstructs other rows than the voice has".into());
        }
    }
    Asked::new(faiss, folder, file, queries, dim)?.compare(device)
}

/// An index of codes built here, searched by both sides.
fn search_ours(faiss: &Faiss, device: &Device, factory: &str, metric: Metric, data: Data, dim: usize) -> Outcome {
    let rows = data.rows(dim);
    let (folder, file) = build(device, factory, metric, &MemoryRows::new(&rows, dim)?)?;
    let asked = Asked::new(faiss, folder, file, noise(2, QUERIES, dim), dim)?;
    // Where rows hardly differ, float32 leaves most of a byte open.
    let undecided = if matches!(data, Data::Noise | Data::ConstantParts) { UNDECIDED } else { 1.0 };
    Asked { undecided, ..asked }.compare(device)
}

/// Builds an index and writes it to a file of its own.
fn build(device: &Device, factory: &str, metric: Metric, voice: &dyn FeatureSource) -> Outcome<(TempDir, PathBuf)> {
    let mut index = Index::new(&factory.parse::<IndexSpec>()?, metric, voice.dim())?;
    index.train(device, voice, &KMeansParams { iterations: 3, ..KMeansParams::default() }, &mut |_| ())?;
    index.add(device, voice, Some(700), &mut |_| ())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ours.index");
    write_index(&index, &file, Existing::Keep)?;
    Ok((folder, file))
}

/// An index built by faiss, searched by both sides.
fn search_theirs(
    faiss: &Faiss,
    device: &Device,
    factory: &str,
    metric: Metric,
    dim: usize,
    asked: &OnceLock<Result<Asked, String>>,
) -> Outcome {
    let build = || {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("theirs.index");
        faiss.write(&format!("--factory {factory} --metric {metric:?} --dim {dim} --ntotal {ROWS}"), &file)?;
        Asked::new(faiss, folder, file, noise(3, QUERIES, dim), dim)
    };
    let asked = asked.get_or_init(|| build().map_err(|error| error.to_string()));
    asked.as_ref().map_err(String::clone)?.compare(device)
}

/// A file, what it is asked, and what faiss says.
struct Asked {
    _folder: TempDir,
    file: PathBuf,
    queries: Vec<f32>,
    dim: usize,
    answers: Vec<(Setting, Neighbors)>,
    /// The share of rows, and of queries, that may be undecided.
    undecided: f64,
}

impl Asked {
    fn new(faiss: &Faiss, folder: TempDir, file: PathBuf, queries: Vec<f32>, dim: usize) -> Outcome<Self> {
        let index = read_index(&file)?;
        let scans = ByteTables::of(&index).is_some();
        // More lists than there are mean all of them. Not so where faiss scans codes of residuals by inner product: lists
        // that are not there spoil the scale of its tables.
        let all = if scans { NLIST } else { 1000 };
        let settings = match (index.refine().is_some(), scans) {
            // Which of many equal distances are candidates is open, so there are many more of them than neighbours.
            (true, false) => [(8, 1, 30), (8, 5, 16), (100, 2, 8), (1, all, 200)],
            (true, true) => [(8, 1, 30), (8, 5, 3), (100, 2, 8), (1, all, 200)],
            (false, _) => [(300, 2, 1), (8, 1, 1), (8, 5, 1), (1, all, 1)],
        };
        let settings = settings.map(|(k, nprobe, k_factor)| Setting { k, nprobe, k_factor });
        let answers = settings.into_iter().zip(faiss.search(&file, &queries, dim, &settings)?).collect();
        Ok(Self { _folder: folder, file, queries, dim, answers, undecided: UNDECIDED })
    }

    fn compare(&self, device: &Device) -> Outcome {
        let searcher = Searcher::new(read_index(&self.file)?, device)?;
        let index = searcher.index();
        let tables = ByteTables::of(index);
        for (setting, theirs) in &self.answers {
            let k_factor = index.refine().map(|_| setting.k_factor as f32);
            let params = SearchParams { nprobe: Some(setting.nprobe), k_factor };
            let ours = searcher.search(&self.queries, setting.k, &params)?;
            let compared = match &tables {
                Some(tables) => self.belong(index, tables, *setting, [theirs, &ours]),
                None => same(&ours, theirs, &self.queries, self.dim),
            };
            compared.map_err(|message| format!("{setting:?}: {message}"))?;
        }
        Ok(())
    }

    /// Both answers are what the byte tables say.
    fn belong(&self, index: &Index, tables: &ByteTables, setting: Setting, [theirs, ours]: [&Neighbors; 2]) -> Outcome {
        let (mut rows, mut undecided, mut open) = (0, 0, 0);
        for (number, query) in self.queries.chunks_exact(self.dim).enumerate() {
            // Two lists are equally near to the query, and either is right.
            let Some(scan) = tables.scan(query, setting.nprobe) else {
                open += 1;
                continue;
            };
            let ranks = Ranks::new(index.metric(), scan);
            rows += ranks.rows();
            undecided += ranks.undecided();
            for (by, found) in [("faiss", theirs), ("this crate", ours)] {
                let at = number * setting.k..(number + 1) * setting.k;
                let ids = found.ids.get(at.clone()).ok_or("too few neighbours")?;
                let answer = Answer { ids, distances: &found.distances[at], by_faiss: by == "faiss" };
                let belongs = match index.refine() {
                    None => ranks.expect(answer),
                    Some(refine) => {
                        let rows = refine.rows();
                        let exact = exact_distances(index.metric(), query, &rows);
                        ranks.expect_refined(answer, setting.k * setting.k_factor, exact)
                    }
                };
                belongs.map_err(|message| format!("{by}, query {number}, {message}"))?;
            }
        }
        if undecided as f64 > self.undecided * rows as f64 || open as f64 > self.undecided * QUERIES as f64 {
            return Err(format!("{undecided} of {rows} rows and the lists of {open} queries are undecided").into());
        }
        Ok(())
    }
}

/// The same distances rank by rank, and the same ids but for swaps among equal distances and at the last rank. faiss
/// finds some distances as norms less products, which rounds by the size of the norms. `steps` says how many of the
/// steps between two sums of bytes count as equal.
fn same(ours: &Neighbors, theirs: &Neighbors, queries: &[f32], dim: usize) -> Outcome {
    let k = ours.k;
    if ours.ids.len() != theirs.ids.len() || ours.ids.len() != queries.len() / dim * k {
        return Err(format!("{} neighbours, faiss has {}", ours.ids.len(), theirs.ids.len()).into());
    }
    for (number, query) in queries.chunks(dim).enumerate() {
        let at = |found: &Neighbors, rank: usize| (found.ids[number * k + rank], found.distances[number * k + rank]);
        let slack = 1e-6 * query.iter().map(|x| x * x).sum::<f32>();
        let near = |a: f32, b: f32| a == b || (a - b).abs() <= 1e-4 * a.abs().max(b.abs()) + slack;
        let last = theirs.distances[number * k + k - 1];
        for rank in 0..k {
            let (our_id, our_distance) = at(ours, rank);
            let (their_id, their_distance) = at(theirs, rank);
            let same_id = our_id == their_id
                || (0..k).any(|other| at(theirs, other).0 == our_id && near(at(theirs, other).1, our_distance))
                || (our_id >= 0 && near(our_distance, last));
            if !near(our_distance, their_distance) || !same_id {
                let message = format!("({our_id}, {our_distance}), faiss has ({their_id}, {their_distance})");
                return Err(format!("query {number} rank {rank}: {message}").into());
            }
        }
    }
    Ok(())
}
