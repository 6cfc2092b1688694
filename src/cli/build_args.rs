//! What a build is asked for.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use rvc_gpu_index::cluster::{self, KMeansParams};
use rvc_gpu_index::factory::{IndexSpec, Similarity};
use rvc_gpu_index::index::{ListCount, Recipe};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Error, Result};

use super::run_args::RunArgs;

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
    pub run: RunArgs,
}

/// What `build --compress` is asked for.
#[derive(Clone, Copy)]
pub enum CompressTo {
    Off,
    /// By RVC's rule.
    Auto,
    Clusters(NonZeroUsize),
}

impl CompressTo {
    /// The rows to be left of `rows` rows; None where they stay as they are.
    pub fn clusters(self, rows: usize) -> Result<Option<usize>> {
        let clusters = match self {
            CompressTo::Off => None,
            CompressTo::Auto => cluster::rvc_clusters(rows),
            CompressTo::Clusters(clusters) => Some(clusters.get()),
        };
        clusters.map_or(Ok(()), |clusters| cluster::check_clusters(rows, clusters))?;
        Ok(clusters)
    }
}

impl FromStr for CompressTo {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(CompressTo::Off),
            "auto" => Ok(CompressTo::Auto),
            _ => text.parse().map(CompressTo::Clusters).map_err(|_| Error::Parameter {
                name: "compress",
                found: format!("{text:?} is no number of rows to be left"),
                remedy: "choose off, auto or a number of at least 1".into(),
            }),
        }
    }
}

/// A value, or what is best.
#[derive(Clone, Copy)]
pub enum OrAuto<T> {
    Auto,
    Given(T),
}

impl<T: Copy> OrAuto<T> {
    pub fn given(self) -> Option<T> {
        match self {
            OrAuto::Auto => None,
            OrAuto::Given(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for OrAuto<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "auto" { Ok(OrAuto::Auto) } else { text.parse().map(OrAuto::Given) }
    }
}
