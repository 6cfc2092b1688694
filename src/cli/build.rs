//! `build`: from frame features to an index file.

use std::fmt::{self, Display};
use std::mem;

use rvc_gpu_index::cluster::{CompressParams, Compressed, KMeansParams, Training};
use rvc_gpu_index::device::{Device, PQ_CENTROIDS};
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles, write_npy};
use rvc_gpu_index::index::{Index, Progress as At, Refine, SearchParams, Tuned};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Existing, Result, faiss};
use serde::Serialize;

use super::build_args::BuildArgs;
use super::compress::compress;
use super::expand::expanded;
use super::outputs::Outputs;
use super::plan::Plan;
use super::progress::Progress;
use super::report::{DeviceName, WrittenFile, line};
use super::run_args::{Clock, RunArgs, WRITE_ROWS};

#[derive(Serialize)]
pub struct BuildReport {
    device: DeviceName,
    rows: usize,
    dropped_rows: usize,
    /// Rows of the index, and how they were found, where they stand for those of the voice.
    compressed: Option<CompressedReport>,
    d: usize,
    factory: String,
    metric: Metric,
    nlist: Option<usize>,
    nprobe: Option<usize>,
    /// Lists that were too short, and are not among nlist.
    dissolved_lists: usize,
    k_factor: Option<f32>,
    expand: Option<ExpandParams>,
    /// Share of the exact neighbours that a search finds, where it was measured.
    recall: Option<f64>,
    /// Rows that were held back to measure it.
    queries: Option<usize>,
    /// None for an index that needs none.
    training: Option<TrainingReport>,
    seconds: Seconds,
    files: Vec<WrittenFile>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct CompressedReport {
    clusters: usize,
    /// Passes over the rows, a fraction where the last one was cut short.
    iterations: f64,
}

#[derive(Serialize)]
struct TrainingReport {
    rows: usize,
    seed: u64,
    /// Of each iteration.
    objective: Vec<f64>,
    /// Of the last iteration.
    objective_per_row: Option<f64>,
    splits: usize,
}

#[derive(Default, Serialize)]
struct Seconds {
    scan: f64,
    compress: f64,
    expand: f64,
    train: f64,
    add: f64,
    tune: f64,
    write: f64,
}

pub fn run(args: &BuildArgs) -> Result<BuildReport> {
    let mut voice = NpyFiles::open(&args.inputs)?;
    let mut plan = Plan::new(args, &voice)?;
    let device = Device::select(&args.run.device)?;
    // Drivers take some, too.
    plan.check_memory()?;

    let mut progress = Progress::new(args.run.quiet);
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let dropped_rows = args.run.check_finite(&mut voice, &mut progress, &mut warnings)?;
    if dropped_rows > 0 {
        plan = Plan::new(args, &voice)?;
    }
    seconds.scan = clock.lap();

    let Plan { mut index, clusters, min_list, tuning, mut outputs, warnings: foreseen, .. } = plan;
    progress.warn_all(foreseen, &mut warnings);
    let planned = index.spec();
    let params = CompressParams { seed: args.seed, batch_rows: args.run.batch_rows(), ..CompressParams::default() };
    let compressed = clusters.map(|left| compress(&device, &voice, left, &params, &mut progress)).transpose()?;
    let left = compressed.as_ref().map(|left| MemoryRows::new(&left.centroids, voice.dim())).transpose()?;
    let rows: &dyn FeatureSource = left.as_ref().map_or(&voice, |left| left);
    seconds.compress = clock.lap();
    let expanded = args.expand.map(|params| expanded(&device, rows, rows, params, &args.run, &mut progress));
    let expanded = expanded.transpose()?;
    let rows: &dyn FeatureSource = expanded.as_ref().map_or(rows, |expanded| expanded);
    seconds.expand = clock.lap();

    let mut training = train(args, &mut index, &device, rows, &mut progress)?;
    progress.warn_all(training.warnings.clone(), &mut warnings);
    let mut labels = mem::take(&mut training.labels);
    let dissolved_lists = dissolve(args, &mut index, &device, (rows, &mut labels), min_list, &mut progress)?;
    seconds.train = clock.lap();
    let mut trained = outputs.trained.is_some().then(|| index.clone());
    add(args, &mut index, &device, (rows, &labels), &mut progress)?;
    seconds.add = clock.lap();

    let tuned = tuning.map(|fixed| tune(args, &fixed, &mut index, &device, &mut progress)).transpose()?;
    if let Some(tuned) = &tuned {
        progress.warn_all(tuned.warnings.clone(), &mut warnings);
        outputs = Outputs::new(args, &voice, &index, &planned)?;
        outputs.check(&voice, args.run.existing(), true)?;
        if let (Some(trained), Some(nprobe)) = (&mut trained, tuned.nprobe) {
            trained.set_nprobe(nprobe)?;
            trained.set_k_factor(tuned.k_factor)?;
        }
    }
    RunArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.tune = clock.lap();
    write(&outputs, trained.as_ref(), &index, rows, args.run.existing())?;
    seconds.write = clock.lap();

    Ok(BuildReport {
        device: device.info().into(),
        rows: voice.rows(),
        dropped_rows,
        compressed: compressed.map(CompressedReport::from),
        d: voice.dim(),
        factory: index.spec().to_string(),
        metric: index.metric(),
        nlist: index.nlist(),
        nprobe: index.nprobe(),
        dissolved_lists,
        k_factor: index.refine().map(Refine::k_factor),
        expand: args.expand,
        recall: tuned.as_ref().and_then(|tuned| tuned.recall),
        queries: tuned.as_ref().map(|tuned| tuned.queries),
        training: index.nlist().map(|_| TrainingReport::new(training, args.seed)),
        seconds,
        files: outputs.paths().map(WrittenFile::at).collect::<Result<_>>()?,
        warnings,
    })
}

fn train(
    args: &BuildArgs,
    index: &mut Index,
    device: &Device,
    rows: &dyn FeatureSource,
    progress: &mut Progress,
) -> Result<Training> {
    let iterations = args.iterations.get();
    let batch_rows = args.run.batch_rows();
    let params = KMeansParams { iterations, seed: args.seed, batch_rows, labels: true, ..KMeansParams::default() };
    let sampled = index.nlist().unwrap_or(1).saturating_mul(params.max_rows_per_centroid).min(rows.rows());
    let total = sampled.saturating_mul(iterations);
    let codes = KMeansParams::product_quantizer();
    let code_rows = rows.rows().min(PQ_CENTROIDS * codes.max_rows_per_centroid);
    let training = index.train(device, rows, &params, &mut |at| match at {
        At::Training { iteration, rows } => progress.at("training", iteration * sampled + rows, total),
        At::TrainingCodes { iteration, rows } => {
            progress.at("codebooks", iteration * code_rows + rows, code_rows * codes.iterations);
        }
        At::Assigning { rows: done } => progress.at("assigning", done, rows.rows()),
        At::Adding { .. } => {}
    });
    progress.finish();
    training
}

/// Dissolves short lists; returns how many.
fn dissolve(
    args: &BuildArgs,
    index: &mut Index,
    device: &Device,
    (rows, labels): (&dyn FeatureSource, &mut Vec<u32>),
    min_list: usize,
    progress: &mut Progress,
) -> Result<usize> {
    let total = rows.rows();
    let dissolved = index.dissolve_short_lists(device, rows, labels, min_list, args.run.batch_rows(), &mut |at| {
        if let At::Assigning { rows } = at {
            progress.at("balancing", rows, total);
        }
    });
    progress.finish();
    dissolved
}

fn add(
    args: &BuildArgs,
    index: &mut Index,
    device: &Device,
    (rows, labels): (&dyn FeatureSource, &[u32]),
    progress: &mut Progress,
) -> Result<()> {
    let total = rows.rows();
    let added = index.add_labelled(device, rows, labels, args.run.batch_rows(), &mut |at| match at {
        At::Assigning { rows } => progress.at("assigning", rows, total),
        At::Adding { rows } => progress.at("adding", rows, total),
        At::Training { .. } | At::TrainingCodes { .. } => {}
    });
    progress.finish();
    added
}

fn tune(
    args: &BuildArgs,
    fixed: &SearchParams,
    index: &mut Index,
    device: &Device,
    progress: &mut Progress,
) -> Result<Tuned> {
    let rows = index.ntotal();
    let compared = |done| progress.at("measuring", done, rows);
    let tuned = index.tune(device, fixed, args.seed, args.run.batch_rows(), compared);
    progress.finish();
    tuned
}

/// Writes all files, `trained` being the index as it was before rows were added.
fn write(
    outputs: &Outputs,
    trained: Option<&Index>,
    index: &Index,
    rows: &dyn FeatureSource,
    existing: Existing,
) -> Result<()> {
    if let (Some(path), Some(trained)) = (&outputs.trained, trained) {
        faiss::write_index(trained, path, existing)?;
    }
    if let Some(path) = &outputs.total_fea {
        write_npy(path, existing, rows, WRITE_ROWS)?;
    }
    faiss::write_index(index, &outputs.index, existing)
}

impl From<Compressed> for CompressedReport {
    fn from(compressed: Compressed) -> Self {
        Self { clusters: compressed.clusters, iterations: compressed.passes }
    }
}

impl TrainingReport {
    fn new(training: Training, seed: u64) -> Self {
        let Training { objective, rows, splits, .. } = training;
        let objective_per_row = objective.last().map(|sum| sum / rows as f64);
        Self { rows, seed, objective, objective_per_row, splits }
    }
}

impl Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "device", &self.device)?;
        line(f, "rows", format_args!("{} × {}", self.rows, self.d))?;
        if let Some(CompressedReport { clusters, iterations }) = &self.compressed {
            line(f, "compressed", format_args!("to {clusters} rows, in {iterations:.2} passes"))?;
        }
        line(f, "index", format_args!("{}, {}", self.factory, self.metric))?;
        if let (Some(nlist), Some(nprobe)) = (self.nlist, self.nprobe) {
            line(f, "nlist", format_args!("{nlist}, of which a search visits {nprobe}"))?;
        }
        if self.dissolved_lists > 0 {
            line(f, "dissolved", format_args!("{} lists that were too short", self.dissolved_lists))?;
        }
        if let Some(k_factor) = self.k_factor {
            line(f, "k_factor", format_args!("{k_factor}, candidates a neighbour that are re-ranked"))?;
        }
        if let Some(params) = &self.expand {
            line(f, "expansion", format_args!("alpha {}, {} neighbours a row", params.alpha, params.num_expand))?;
        }
        if let (Some(recall), Some(queries)) = (self.recall, self.queries) {
            line(f, "recall@8", format_args!("{recall:.4}, of {queries} rows held back"))?;
        }
        if let Some(training) = &self.training {
            line(f, "training", training)?;
        }
        let Seconds { scan, compress, expand, train, add, tune, write } = self.seconds;
        let compress = self.compressed.as_ref().map_or(String::new(), |_| format!("compress {compress:.2}, "));
        let expand = self.expand.map_or(String::new(), |_| format!("expand {expand:.2}, "));
        let tune = self.queries.map_or(String::new(), |_| format!("tune {tune:.2}, "));
        line(
            f,
            "seconds",
            format_args!("check {scan:.2}, {compress}{expand}train {train:.2}, add {add:.2}, {tune}write {write:.2}"),
        )?;
        self.files.iter().try_for_each(|file| line(f, "written", file))
    }
}

impl Display for TrainingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} iterations, {} splits", self.rows, self.objective.len(), self.splits)?;
        let mut separator = "; objective a row";
        for sum in &self.objective {
            write!(f, "{separator} {:.4}", sum / self.rows as f64)?;
            separator = ",";
        }
        Ok(())
    }
}
