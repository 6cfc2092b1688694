//! The other side: real faiss, in Python.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{MemoryRows, write_npy};
use rvc_gpu_index::index::Neighbors;
use serde_json::Value;

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub const METRICS: [Metric; 2] = [Metric::L2, Metric::InnerProduct];

/// A Python interpreter that has faiss.
#[derive(Clone)]
pub struct Faiss {
    python: PathBuf,
}

impl Faiss {
    pub fn find() -> Result<Self, String> {
        let python = match std::env::var_os("RVC_GPU_INDEX_PYTHON") {
            Some(python) => python.into(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
        };
        let faiss = Self { python };
        match faiss.run(["version"]) {
            Ok(_) => Ok(faiss),
            Err(reason) => Err(format!(
                "{} cannot import faiss ({reason}); install faiss-cpu there, or set RVC_GPU_INDEX_PYTHON",
                faiss.python.display()
            )),
        }
    }

    /// Runs the helper and returns what it printed.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
        let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/faiss_interop.py");
        // Its threads would spin while they wait, on cores that other cases need.
        let output =
            Command::new(&self.python).arg(helper).args(arguments).env("OMP_WAIT_POLICY", "PASSIVE").output()?;
        if !output.status.success() {
            let report = String::from_utf8_lossy(&output.stderr);
            return Err(report.lines().last().unwrap_or("no message").into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Has faiss build and write an index; `options` are the helper's, without the file.
    pub fn write(&self, options: &str, file: &Path) -> Outcome {
        self.run(["write"].into_iter().chain(options.split(' ')).chain([utf8(file)?]))?;
        Ok(())
    }

    /// What faiss reads from a file, and its rows in the order of their ids.
    pub fn describe(&self, file: &Path) -> Outcome<(Value, Vec<f32>)> {
        let rows = file.with_extension("rows");
        let description = self.run(["describe", utf8(file)?, utf8(&rows)?])?;
        let rows = fs::read(rows)?.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok((serde_json::from_str(&description)?, rows))
    }

    /// faiss's own searches in a file, one for each setting.
    pub fn search(&self, file: &Path, queries: &[f32], dim: usize, settings: &[Setting]) -> Outcome<Vec<Neighbors>> {
        let [asked, ids, distances] = ["queries.npy", "ids", "distances"].map(|end| file.with_extension(end));
        write_npy(&asked, Existing::Replace, &MemoryRows::new(queries, dim)?, 1000)?;
        let text = |setting: &Setting| format!("{}:{}:{}", setting.k, setting.nprobe, setting.k_factor);
        let settings_text: Vec<_> = settings.iter().map(text).collect();
        let arguments = ["search", utf8(file)?, utf8(&asked)?, utf8(&ids)?, utf8(&distances)?];
        self.run(arguments.into_iter().chain(settings_text.iter().map(String::as_str)))?;
        let (ids, distances) = (fs::read(ids)?, fs::read(distances)?);
        let mut ids = ids.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes));
        let mut distances = distances.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
        let neighbors = settings.iter().map(|&Setting { k, .. }| {
            let count = queries.len() / dim * k;
            Neighbors {
                k,
                ids: ids.by_ref().take(count).collect(),
                distances: distances.by_ref().take(count).collect(),
            }
        });
        Ok(neighbors.collect())
    }
}

/// A search that both sides do; `k_factor` counts for an index that re-ranks.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub k: usize,
    pub nprobe: usize,
    pub k_factor: usize,
}

pub fn utf8(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "the temporary folder's name is not UTF-8".into())
}
