//! Voice retrieval indexes for RVC, built and searched on any GPU through WGSL, or on the CPU.
//!
//! RVC keeps the frame features of a target voice in a faiss index and blends each incoming frame with its neighbours
//! there. This crate trains that index, fills it, searches it, and reads and writes it as faiss does, byte for byte:
//!
//! ```
//! use rvc_gpu_index::cluster::KMeansParams;
//! use rvc_gpu_index::device::Device;
//! use rvc_gpu_index::factory::{IndexSpec, Metric};
//! use rvc_gpu_index::features::{FeatureSource, NpyFiles};
//! use rvc_gpu_index::index::{Index, SearchParams, Searcher};
//! use rvc_gpu_index::{Existing, faiss};
//!
//! let voice = NpyFiles::open(&["tests/data/voice-sample"])?;
//! let device = Device::auto(); // the best GPU here, else the CPU engine
//! let mut index = Index::new(&"IVF77,Flat".parse::<IndexSpec>()?, Metric::L2, voice.dim())?;
//! index.train(&device, &voice, &KMeansParams::default(), &mut |_| ())?;
//! index.add(&device, &voice, None, &mut |_| ())?;
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("voice.index");
//! faiss::write_index(&index, &path, Existing::Keep)?;
//!
//! let searcher = Searcher::new(faiss::read_index(&path)?, &device)?;
//! let mut frame = vec![0.0; voice.dim()];
//! voice.read(1000, &mut frame)?;
//! let neighbors = searcher.search(&frame, 8, &SearchParams::default())?;
//! assert_eq!((neighbors.ids[0], neighbors.distances[0]), (1000, 0.0));
//! # Ok::<(), rvc_gpu_index::Error>(())
//! ```
//!
//! # The rooms
//!
//! | module | what |
//! |---|---|
//! | [`features`] | what comes in: experiment folders and `.npy` files, read in batches |
//! | [`factory`] | what is asked for: faiss's factory strings, metrics |
//! | [`device`] | where it runs: the CPU engine or a GPU, and the stages both offer |
//! | [`selftest`] | whether a device computes right: every stage against float64 |
//! | [`cluster`] | k-means over those stages; the rows that stand for a voice |
//! | [`index`] | the index, recipes for its parameters, and the searcher |
//! | [`faiss`] | faiss files, in and out |
//! | [`retrieval`] | what a voice host does with neighbours: blending, alpha query expansion |
//! | [`mod@bench`] | what benchmarks measured: result files, and a page about many of them |
//!
//! A GPU is reached through [`wgpu`], which this crate re-exports: a host that computes with wgpu itself hands over its
//! own device with [`device::Device::from_wgpu`].
#![deny(missing_docs)]

pub mod bench;
pub mod cluster;
pub mod device;
mod error;
pub mod factory;
pub mod faiss;
pub mod features;
pub mod index;
mod memory;
mod output;
pub mod retrieval;
pub mod selftest;

pub use error::{Error, Result};
pub use memory::{check_memory, free_memory};
pub use output::{Existing, check_free, is_same_file, remove_unfinished, stale_names, write_bytes};
pub use wgpu;

// The code of this page compiles as long as it is tested.
#[cfg(doctest)]
#[doc = include_str!("../docs/host.md")]
struct HostPage;
