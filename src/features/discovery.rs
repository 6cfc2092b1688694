//! From what a user names to the feature files in it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where RVC's feature extraction leaves its files in an experiment folder, and the model version that stands for.
const FEATURE_FOLDERS: [(&str, &str); 2] = [("3_feature256", "v1"), ("3_feature768", "v2")];

/// An RVC experiment: a folder of `logs`, with the features in `3_feature256` or `3_feature768`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// The folder, as it was named.
    pub folder: PathBuf,
    /// The folder's own name, which RVC writes into the names of its index files.
    pub name: String,
    /// RVC's model version: `v1` for rows of 256 floats, `v2` for 768.
    pub version: &'static str,
}

/// The `.npy` files that `inputs` stand for, in the order of RVC's training: by name, as bytes.
pub(super) fn feature_files(inputs: &[impl AsRef<Path>]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let input = input.as_ref();
        if !fs::metadata(input).map_err(Error::io(input, "read"))?.is_dir() {
            files.push(input.to_path_buf());
        } else if let Some((name, _)) = feature_folder(input)? {
            files.extend(npy_files_in(&input.join(name))?);
        } else {
            files.extend(npy_files_in(input)?);
        }
    }
    // Equal names, of several folders, stay in the order given.
    files.sort_by(|a, b| name_bytes(a).cmp(name_bytes(b)));
    Ok(files)
}

/// The experiment whose folder this is, if it is one.
pub(super) fn experiment(folder: &Path) -> Result<Option<Experiment>> {
    let Some((_, version)) = feature_folder(folder)? else { return Ok(None) };
    let canonical;
    let name = match folder.file_name() {
        Some(name) => name,
        // `.` and `..` have a name all the same.
        None => {
            canonical = folder.canonicalize().map_err(Error::io(folder, "read"))?;
            canonical.file_name().ok_or_else(|| Error::input(folder, "has no name", "name an experiment folder"))?
        }
    };
    Ok(Some(Experiment { folder: folder.to_path_buf(), name: name.to_string_lossy().into_owned(), version }))
}

fn feature_folder(folder: &Path) -> Result<Option<(&'static str, &'static str)>> {
    match FEATURE_FOLDERS.map(|known| folder.join(known.0).is_dir().then_some(known)) {
        [Some((v1, _)), Some((v2, _))] => {
            Err(Error::input(folder, format_args!("holds both {v1} and {v2}"), "name one of the two"))
        }
        [v1, v2] => Ok(v1.or(v2)),
    }
}

fn npy_files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let remedy = "name an RVC experiment folder, a folder of .npy files, or .npy files";
        return Err(Error::input(folder, "holds no .npy files", remedy));
    }
    Ok(files)
}

fn name_bytes(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn files_of_all_inputs_come_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/10.npy", "a/9.npy", "a/b.npy", "a/B.NPY", "a/notes.txt", "b/9.npy", "1.data"] {
            touch(&at(name));
        }
        fs::create_dir_all(at("a/0.npy")).unwrap();
        let files = feature_files(&[at("b"), at("a"), at("1.data")]).unwrap();
        assert_eq!(files, ["1.data", "a/10.npy", "b/9.npy", "a/9.npy", "a/B.NPY", "a/b.npy"].map(at));
    }

    #[test]
    fn an_experiment_is_known_by_its_feature_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        touch(&at("声 ö/3_feature768/0_0.npy"));
        touch(&at("声 ö/total_fea.npy"));
        touch(&at("both/3_feature256/0_0.npy"));
        touch(&at("both/3_feature768/0_0.npy"));
        assert_eq!(feature_files(&[at("声 ö")]).unwrap(), [at("声 ö/3_feature768/0_0.npy")]);
        for name in ["声 ö", "声 ö/", "声 ö/.", "声 ö/3_feature768/.."] {
            let found = experiment(&at(name)).unwrap().unwrap();
            assert_eq!(found, Experiment { folder: at(name), name: "声 ö".to_owned(), version: "v2" });
        }
        assert_eq!(experiment(&at("声 ö/3_feature768")).unwrap(), None);
        let error = experiment(&at("both")).unwrap_err().to_string();
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
