//! The other side: real faiss, in Python.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{MemoryRows, write_npy};
use rvc_gpu_index::index::Neighbors;
use serde_json::Value;

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub const METRICS: [Metric; 2] = [Metric::L2, Metric::InnerProduct];

/// A Python interpreter that has faiss. To start one takes longer than most cases, so they are kept.
#[derive(Clone)]
pub struct Faiss {
    python: PathBuf,
    /// Those that have nothing to do.
    idle: Arc<Mutex<Vec<Helper>>>,
}

/// One process, which answers a line with a line. It ends with its input.
struct Helper {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(python: &Path) -> Outcome<Self> {
        let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/faiss_interop.py");
        let mut command = Command::new(python);
        // Its threads would spin while they wait, on cores that other cases need.
        command.arg(helper).arg("serve").env("OMP_WAIT_POLICY", "PASSIVE");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (input, output) = process.stdin.take().zip(process.stdout.take()).ok_or("no pipes")?;
        Ok(Self { process, input, output: BufReader::new(output) })
    }

    fn answer(&mut self, arguments: &[&str]) -> Outcome<Value> {
        writeln!(self.input, "{}", Value::from(arguments))?;
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(format!("faiss ended with {}", self.process.wait()?).into()),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }
}

impl Faiss {
    pub fn find() -> Result<Self, String> {
        let python = match std::env::var_os("RVC_GPU_INDEX_PYTHON") {
            Some(python) => python.into(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"),
        };
        let faiss = Self { python, idle: Arc::default() };
        match faiss.run(["version"]) {
            Ok(_) => Ok(faiss),
            Err(reason) => Err(format!(
                "{} lacks something ({reason}); install faiss-cpu and scikit-learn there, or set RVC_GPU_INDEX_PYTHON",
                faiss.python.display()
            )),
        }
    }

    /// What the helper prints. One that crashed is not asked again.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut helper = kept.map_or_else(|| Helper::start(&self.python), Ok)?;
        let answer = helper.answer(&arguments.into_iter().collect::<Vec<_>>())?;
        idle().push(helper);
        match answer["output"].as_str() {
            Some(output) => Ok(output.to_string()),
            None => Err(answer["error"].as_str().unwrap_or("no message").into()),
        }
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
