//! From what a user names to the feature files in it.

use std::fs;
use std::path::{Path, PathBuf};

use super::layouts::{self, Layout};
use crate::error::{Error, Result};

/// A copy of all other features of a voice, which RVC keeps beside its index.
const TOTAL_FEA: &str = "total_fea.npy";
/// Speakers whose command is printed.
const SPEAKERS: usize = 8;

/// An experiment: a folder of a host's `logs`, with the features in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// The folder, as it was named.
    pub folder: PathBuf,
    /// The folder's own name, which RVC writes into the names of its index files.
    pub name: String,
    /// RVC's model version: `v1` for rows of 256 floats, `v2` for others.
    pub version: &'static str,
    /// Whose folder it is.
    pub layout: Layout,
}

/// The feature files that inputs stand for.
#[derive(Debug, Default)]
pub(super) struct FeatureFiles {
    /// In the order of RVC's training: by name, as bytes.
    pub files: Vec<FeatureFile>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub(super) struct FeatureFile {
    pub path: PathBuf,
    /// Floats a row, where the name of its folder tells.
    pub width: Option<usize>,
}

/// The `.npy` files that `inputs` stand for.
pub(super) fn feature_files(inputs: &[impl AsRef<Path>]) -> Result<FeatureFiles> {
    let mut found = FeatureFiles::default();
    for input in inputs {
        let input = input.as_ref();
        if !fs::metadata(input).map_err(Error::io(input, "read"))?.is_dir() {
            found.files.push(FeatureFile { path: input.to_path_buf(), width: None });
        } else if let Some((name, _)) = feature_folder(input)? {
            found.add_folder(&input.join(name))?;
        } else {
            found.add_folder(input)?;
        }
    }
    // Equal names, of several folders, stay in the order given.
    found.files.sort_by(|a, b| name_bytes(&a.path).cmp(name_bytes(&b.path)));
    Ok(found)
}

/// The experiment whose folder this is, if it is one; its rows have `width` floats.
pub(super) fn experiment(folder: &Path, width: usize) -> Result<Option<Experiment>> {
    let Some((_, layout)) = feature_folder(folder)? else { return Ok(None) };
    let canonical;
    let name = match folder.file_name() {
        Some(name) => name,
        // `.` and `..` have a name all the same.
        None => {
            canonical = folder.canonicalize().map_err(Error::io(folder, "read"))?;
            canonical.file_name().ok_or_else(|| Error::input(folder, "has no name", "name an experiment folder"))?
        }
    };
    let (name, version) = (name.to_string_lossy().into_owned(), if width == 256 { "v1" } else { "v2" });
    Ok(Some(Experiment { folder: folder.to_path_buf(), name, version, layout }))
}

/// The folder of features in an experiment. Empty ones, which extraction leaves behind, do not count beside a full one.
fn feature_folder(folder: &Path) -> Result<Option<(&'static str, Layout)>> {
    let there: Vec<_> = layouts::FOLDERS.into_iter().filter(|(name, ..)| folder.join(name).is_dir()).collect();
    let mut full = Vec::new();
    for known in &there {
        if !Content::of(&folder.join(known.0))?.is_empty() {
            full.push(*known);
        }
    }
    match full[..] {
        [(a, ..), (b, ..), ..] => {
            Err(Error::input(folder, format_args!("holds both {a} and {b}"), "name one of the two"))
        }
        [(name, _, layout)] => Ok(Some((name, layout))),
        [] => Ok(there.first().map(|&(name, _, layout)| (name, layout))),
    }
}

/// What is in a folder of features.
struct Content {
    /// `.npy` files.
    files: Vec<PathBuf>,
    /// Names of the folders that hold some.
    speakers: Vec<String>,
    /// Files of so-vits-svc.
    tensors: bool,
}

impl Content {
    fn of(folder: &Path) -> Result<Self> {
        let mut content = Self { files: Vec::new(), speakers: Vec::new(), tensors: false };
        for path in entries(folder)? {
            content.tensors |= path.to_string_lossy().ends_with(".soft.pt");
            if is_npy(&path) {
                content.files.push(path);
            } else if path.is_dir() && entries(&path).is_ok_and(|inner| inner.iter().any(|path| is_npy(path))) {
                content.speakers.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
        content.speakers.sort();
        Ok(content)
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.speakers.is_empty()
    }
}

impl FeatureFiles {
    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let Content { files, speakers, tensors } = Content::of(folder)?;
        match (files.is_empty(), speakers.is_empty()) {
            (false, true) => {}
            (false, false) => {
                let (folder, speakers) = (folder.display(), speakers.join(", "));
                self.notes
                    .push(format!("{folder}: the folders in it hold .npy files, too, and are left out: {speakers}"));
            }
            (true, false) => return Err(speakers_apart(folder, &speakers)),
            (true, true) if tensors => {
                let remedy =
                    "save each as .npy first: numpy.save(\"0.npy\", torch.load(\"0.wav.soft.pt\")[0].T.numpy())";
                return Err(Error::input(folder, "holds .soft.pt files of so-vits-svc and no .npy files", remedy));
            }
            (true, true) => {
                let remedy = "name an RVC experiment folder, a folder of .npy files, or .npy files";
                return Err(Error::input(folder, "holds no .npy files", remedy));
            }
        }
        let width = folder.file_name().and_then(|name| layouts::width(&name.to_string_lossy()));
        let mut left_out = Vec::new();
        let used = |path: &&PathBuf| match why_left_out(path) {
            Some(reason) => {
                left_out.push(format!("{}: left out, as it {reason}", path.display()));
                false
            }
            None => true,
        };
        let mut kept: Vec<_> = files.iter().filter(used).cloned().collect();
        match kept.is_empty() {
            // There is nothing else.
            true => kept = files,
            false => self.notes.append(&mut left_out),
        }
        self.files.extend(kept.into_iter().map(|path| FeatureFile { path, width }));
        Ok(())
    }
}

/// Why a file among others holds none of the voice's own features.
fn why_left_out(path: &Path) -> Option<&'static str> {
    if name_bytes(path).eq_ignore_ascii_case(TOTAL_FEA.as_bytes()) {
        return Some("is a copy of all the others");
    }
    path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0).then_some("is empty")
}

/// The error for folders of several speakers, with the command for each.
fn speakers_apart(folder: &Path, speakers: &[String]) -> Error {
    let known = folder.file_name().is_some_and(|name| layouts::is_known(&name.to_string_lossy()));
    let voice = if known { folder.parent().unwrap_or(folder) } else { folder };
    let voice = voice.file_name().map_or(String::new(), |name| format!("{}.", name.to_string_lossy()));
    let mut remedy = String::from("build an index for each:");
    for speaker in speakers.iter().take(SPEAKERS) {
        let input = folder.join(speaker);
        let command = format!("build \"{}\" -o \"{voice}{speaker}.index\" --min-list 8", input.display());
        remedy.push_str(&format!("\n  rvc-gpu-index {command}"));
    }
    if speakers.len() > SPEAKERS {
        remedy.push_str(&format!("\n  and so on, for {} more", speakers.len() - SPEAKERS));
    }
    Error::input(folder, format_args!("holds {} folders of .npy files, one a speaker", speakers.len()), remedy)
}

/// What is in a folder, but for what operating systems leave there: `._0_0.npy`, `.DS_Store`, `__MACOSX`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        if !name_bytes(&path).starts_with(b".") && name_bytes(&path) != b"__MACOSX" {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) && !path.is_dir()
}

fn name_bytes(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "features").unwrap();
    }

    fn paths(inputs: &[PathBuf]) -> Vec<PathBuf> {
        feature_files(inputs).unwrap().files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn files_of_all_inputs_come_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/10.npy", "a/9.npy", "a/b.npy", "a/B.NPY", "a/notes.txt", "b/9.npy", "1.data"] {
            touch(&at(name));
        }
        fs::create_dir_all(at("a/0.npy")).unwrap();
        assert_eq!(
            paths(&[at("b"), at("a"), at("1.data")]),
            ["1.data", "a/10.npy", "b/9.npy", "a/9.npy", "a/B.NPY", "a/b.npy"].map(at)
        );
    }

    #[test]
    fn an_experiment_is_known_by_its_feature_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        touch(&at("声 ö/3_feature768/0_0.npy"));
        touch(&at("声 ö/total_fea.npy"));
        touch(&at("both/3_feature256/0_0.npy"));
        touch(&at("both/3_feature768/0_0.npy"));
        assert_eq!(paths(&[at("声 ö")]), [at("声 ö/3_feature768/0_0.npy")]);
        for name in ["声 ö", "声 ö/", "声 ö/.", "声 ö/3_feature768/.."] {
            let found = experiment(&at(name), 768).unwrap().unwrap();
            let (name, folder) = ("声 ö".to_owned(), at(name));
            assert_eq!(found, Experiment { folder, name, version: "v2", layout: Layout::Rvc });
        }
        assert_eq!(experiment(&at("声 ö/3_feature768"), 768).unwrap(), None);
        let error = experiment(&at("both"), 256).unwrap_err().to_string();
        assert!(error.ends_with("holds both 3_feature256 and 3_feature768; name one of the two"), "{error}");
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(matches!(feature_files(&[&missing]), Err(Error::Io { path, .. }) if path == missing));
        let error = feature_files(&[folder.path()]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: holds no .npy files; ", folder.path().display())), "{error}");
    }
}
