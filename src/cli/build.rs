//! `build`: from frame features to an index file.

use std::fmt::{self, Display};
use std::mem;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use rvc_gpu_index::cluster::{CompressParams, Compressed, KMeansParams, Training};
use rvc_gpu_index::device::{Device, PQ_CENTROIDS};
use rvc_gpu_index::factory::{IndexSpec, Metric, Similarity};
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles, write_npy};
use rvc_gpu_index::index::{Index, ListCount, Progress as At, Recipe, Refine, SearchParams, Tuned};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Existing, Result, faiss};
use serde::Serialize;

use super::compress::{CompressTo, compress};
use super::expand::expanded;
use super::job::{Clock, JobArgs, WRITE_ROWS};
use super::outputs::Outputs;
use super::plan::{OrAuto, Plan};
use super::progress::Progress;
use super::report::{DeviceName, WrittenFile, line};

const EXAMPLES: &str = "Examples:
  rvc-gpu-index build logs/my-voice
      writes trained_IVF…_my-voice_v2.index and added_IVF…_my-voice_v2.index into logs/my-voice, as RVC does
  rvc-gpu-index build features/ -o voice.index --metric cosine --nlist 4sqrt --nprobe 4
  rvc-gpu-index build logs/my-voice --recipe quality
      writes added_PQ…x4fs_RFlat_kf…_my-voice_v2.index: 4-bit codes, and exact rows that re-rank what they find, tuned to
      find 99 % of the nearest rows
  rvc-gpu-index build features/ -o expanded.index --expand 3,3
  rvc-gpu-index build logs/my-voice --compress auto --save-total-fea
      indexes 10,000 representative rows where the voice has more than 200,000, as RVC does
  rvc-gpu-index build 0.npy 1.npy -o voice.index --factory IVF1024,Flat --device cpu --json";

/// Build an index from the features of a voice
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct BuildArgs {
    /// Experiment folder of RVC (with 3_feature256, 3_feature768 or 3_feature1024 in it), Applio or RVC_CLI, folder of .npy
    /// files, or .npy files
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Index file to write [default: RVC's names in an experiment folder, else INPUT.index]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Index to build, as faiss names it: Flat, IVF1024,Flat, PQ384x4fs, IVF1024,PQ128x4fs; with L2norm, before or ,RFlat
    /// behind; IVF,Flat leaves the number of lists to --nlist, PQx4fs means half as many parts as columns [default:
    /// IVF,Flat, for the recipe quality PQx4fs,RFlat]
    #[arg(long, value_name = "FACTORY")]
    pub factory: Option<IndexSpec>,
    /// What near means: l2, ip (inner product) or cosine (which puts L2norm before the index)
    #[arg(long, value_name = "METRIC", default_value = "l2")]
    pub metric: Similarity,
    /// What auto means for N rows: rvc (nlist min(16·√N, N/39), nprobe 1), tips (nlist N/39, nprobe nlist^0.3) or quality
    /// (what finds 99 % of the nearest 8 rows, measured on rows held back)
    #[arg(long, value_name = "RECIPE", default_value = "rvc")]
    pub recipe: Recipe,
    /// Number of lists: a number, auto, n/39, 4sqrt (4·√N) or 16sqrt
    #[arg(long, value_name = "N", default_value = "auto")]
    pub nlist: OrAuto<ListCount>,
    /// Lists that a search visits, kept in the file: a number or auto
    #[arg(long, value_name = "N", default_value = "auto")]
    pub nprobe: OrAuto<NonZeroUsize>,
    /// Candidates a neighbour that an index with RFlat re-ranks, kept in the file [default: 1, or what the recipe quality
    /// measures]
    #[arg(long, value_name = "FACTOR")]
    pub k_factor: Option<f32>,
    /// Dissolve lists of fewer rows, which then fall to the next nearest ones: where a search visits one list, a live
    /// host finds its 8 rows there [default: 8 for an experiment folder, else 0]
    #[arg(long, value_name = "N")]
    pub min_list: Option<usize>,
    /// Passes of the k-means that finds the lists
    #[arg(long, value_name = "N", default_value = "10")]
    pub iterations: NonZeroUsize,
    /// Seed of the k-means: one seed on one device gives one file
    #[arg(long, value_name = "N", default_value_t = KMeansParams::default().seed)]
    pub seed: u64,
    /// Index representative rows instead of all: auto (RVC's rule, 10,000 where there are more than 200,000), a number, or
    /// off, by which the index keeps the voice's own frames; RVC's file names and layout are the same either way
    #[arg(long, value_name = "N", default_value = "off")]
    pub compress: CompressTo,
    /// Build over rows that are each replaced by the sum of their K nearest rows, times their cosine to the power of
    /// ALPHA (alpha query expansion); such rows have unit length. It helps some voices and hurts others
    #[arg(long, value_name = "ALPHA,K", allow_hyphen_values = true)]
    pub expand: Option<ExpandParams>,
    /// Write total_fea.npy, all rows that the index is built over as one matrix, too
    #[arg(long)]
    pub save_total_fea: bool,
    #[command(flatten)]
    pub job: JobArgs,
}

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
    let device = Device::select(&args.job.device)?;
    // Drivers take some, too.
    plan.check_memory()?;

    let mut progress = Progress::new(args.job.quiet);
    let (mut seconds, mut warnings, mut clock) = (Seconds::default(), Vec::new(), Clock::start());
    let dropped_rows = args.job.check_finite(&mut voice, &mut progress, &mut warnings)?;
    if dropped_rows > 0 {
        plan = Plan::new(args, &voice)?;
    }
    seconds.scan = clock.lap();

    let Plan { mut index, clusters, min_list, tuning, mut outputs, warnings: foreseen, .. } = plan;
    progress.warn_all(foreseen, &mut warnings);
    let planned = index.spec();
    let params = CompressParams { seed: args.seed, batch_rows: args.job.batch_rows(), ..CompressParams::default() };
    let compressed = clusters.map(|left| compress(&device, &voice, left, &params, &mut progress)).transpose()?;
    let left = compressed.as_ref().map(|left| MemoryRows::new(&left.centroids, voice.dim())).transpose()?;
    let rows: &dyn FeatureSource = left.as_ref().map_or(&voice, |left| left);
    seconds.compress = clock.lap();
    let expanded = args.expand.map(|params| expanded(&device, rows, rows, params, &args.job, &mut progress));
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
        outputs.check(&voice, args.job.existing(), true)?;
        if let (Some(trained), Some(nprobe)) = (&mut trained, tuned.nprobe) {
            trained.set_nprobe(nprobe)?;
            trained.set_k_factor(tuned.k_factor)?;
        }
    }
    JobArgs::warn_of_refused(&device, &mut progress, &mut warnings);
    seconds.tune = clock.lap();
    write(&outputs, trained.as_ref(), &index, rows, args.job.existing())?;
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
    let batch_rows = args.job.batch_rows();
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
    let dissolved = index.dissolve_short_lists(device, rows, labels, min_list, args.job.batch_rows(), &mut |at| {
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
    let added = index.add_labelled(device, rows, labels, args.job.batch_rows(), &mut |at| match at {
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
    let tuned = index.tune(device, fixed, args.seed, args.job.batch_rows(), compared);
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
