//! Which files a build writes.

use std::path::{Path, PathBuf};

use rvc_gpu_index::device::MAX_K;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::NpyFiles;
use rvc_gpu_index::index::{Index, Refine, RvcFiles};
use rvc_gpu_index::{Error, Existing, Result, check_free, is_same_file, stale_names};

use super::build_args::BuildArgs;

pub struct Outputs {
    /// The index after training.
    pub trained: Option<PathBuf>,
    /// The whole index.
    pub index: PathBuf,
    pub total_fea: Option<PathBuf>,
}

impl Outputs {
    /// The files for an index that is searched as `index` is. In an experiment they are called after `planned`, as RVC
    /// calls them, whatever lists were dissolved since.
    pub fn new(args: &BuildArgs, voice: &NpyFiles, index: &Index, planned: &IndexSpec) -> Result<Self> {
        let k_factor = index.refine().map_or(1.0, Refine::k_factor);
        Self::of(args, voice, planned, index.metric(), index.nprobe().unwrap_or(1), k_factor)
    }

    fn of(
        args: &BuildArgs,
        voice: &NpyFiles,
        planned: &IndexSpec,
        metric: Metric,
        nprobe: usize,
        k_factor: f32,
    ) -> Result<Self> {
        let experiment = voice.experiment();
        let (trained, index) = match (&args.output, experiment) {
            (Some(output), _) => (None, output.clone()),
            (None, Some(experiment)) => {
                let RvcFiles { trained, added } = RvcFiles::new(experiment, planned, metric, nprobe, k_factor);
                (trained, added)
            }
            (None, None) => (None, beside(&args.inputs[0])?),
        };
        let total_fea = args.save_total_fea.then(|| match experiment {
            Some(experiment) => experiment.folder.join("total_fea.npy"),
            None => index.with_file_name("total_fea.npy"),
        });
        Ok(Self { trained, index, total_fea })
    }

    /// The files under the longest names that a tuning may give them.
    pub fn longest(args: &BuildArgs, voice: &NpyFiles, index: &Index, planned: &IndexSpec) -> Result<Self> {
        Self::of(args, voice, planned, index.metric(), index.nlist().unwrap_or(1), MAX_K as f32)
    }

    /// The files, in the order in which they are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let Self { trained, index, total_fea } = self;
        trained.iter().chain(total_fea).chain([index]).map(PathBuf::as_path)
    }

    /// Fails where one of the files could not be written, or would replace what the index is built from. What has the
    /// present name of an index that is not `named` for good is let be.
    pub fn check(&self, voice: &NpyFiles, existing: Existing, named: bool) -> Result<()> {
        for output in self.paths() {
            check_no_input(output, voice.paths())?;
            let settled = named || self.total_fea.as_deref() == Some(output);
            check_free(output, if settled { existing } else { Existing::Replace })?;
        }
        self.total_fea.iter().try_for_each(|total_fea| check_apart(total_fea, &self.index, "the index"))
    }

    /// What there is to warn of before the files are replaced.
    pub fn stale_names(&self) -> Vec<String> {
        self.paths().filter_map(stale_names).collect()
    }
}

/// `voice.npy` and the folder `voice` both become `voice.index`.
fn beside(input: &Path) -> Result<PathBuf> {
    if !input.is_dir() {
        return Ok(input.with_extension("index"));
    }
    // `.` has a name all the same.
    let folder = match input.file_name() {
        Some(_) => input.to_path_buf(),
        None => {
            input.canonicalize().map_err(|source| Error::Io { path: input.to_path_buf(), action: "read", source })?
        }
    };
    let Some(name) = folder.file_name() else {
        return Err(taken(input, "has no name to call the index by".into()));
    };
    let mut name = name.to_os_string();
    name.push(".index");
    Ok(folder.with_file_name(name))
}

/// Fails where `output` would replace one of `inputs`.
pub fn check_no_input<'a>(output: &Path, mut inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
    match inputs.find(|input| is_same_file(input, output)) {
        Some(input) => Err(taken(output, format!("is an input, too, as {}", input.display()))),
        None => Ok(()),
    }
}

/// Fails where two outputs are one file; `other` is to hold what `holds` says.
pub fn check_apart(output: &Path, other: &Path, holds: &str) -> Result<()> {
    if is_same_file(output, other) { Err(taken(output, format!("is to hold {holds}, too"))) } else { Ok(()) }
}

fn taken(path: &Path, found: String) -> Error {
    Error::Input { path: path.to_path_buf(), found, remedy: "name another output with -o".into() }
}
