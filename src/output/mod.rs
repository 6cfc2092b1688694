//! Files that appear whole or not at all: written beside the target, flushed, then renamed over it.
//!
//! What stood under the name keeps its place in the world: a symbolic link is followed and stays, mode and owner are
//! kept, and hard links in the same folder and in RVC's own folders get the new content, too.

mod first_error;
mod identity;
mod links;
mod part;

use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
pub(crate) use first_error::FirstError;
pub(crate) use identity::Identity;
pub use identity::is_same_file;
pub use links::stale_names;
use part::Part;
pub use part::remove_unfinished;

/// Symbolic links that may lead from one to the next, as on Linux.
const MAX_LINKS: usize = 40;

/// What to do with a file that already has the output's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep it and fail.
    Keep,
    /// Replace it once the new file is complete.
    Replace,
}

/// Writes `path` through `fill`. Until the whole content is on disk nothing stands under `path`, and an error or a
/// kill leaves what stood there before.
pub(crate) fn write_file(
    path: &Path,
    existing: Existing,
    fill: impl FnOnce(&mut BufWriter<&fs::File>) -> Result<()>,
) -> Result<()> {
    let target = target(path, existing)?;
    let links::OtherNames { found: names, hidden, .. } = links::other_names(&target);
    for link in hidden {
        let _ = fs::remove_file(link);
    }
    names.iter().for_each(|name| part::sweep(name));
    let part = part_file(path, &target)?;
    let mut writer = BufWriter::with_capacity(1 << 20, part.file());
    fill(&mut writer)?;
    writer.flush().map_err(Error::io(path, "write"))?;
    drop(writer);
    part.file().sync_all().map_err(Error::io(path, "write"))?;
    part.rename(&target, existing).map_err(Error::io(path, "rename a finished file to"))?;
    sync_folder(&target)?;
    for name in names {
        part::relink(&target, &name).map_err(Error::io(&name, "give the new content to"))?;
        sync_folder(&name)?;
    }
    Ok(())
}

/// Writes `bytes` as a file, whole or not at all.
///
/// # Errors
/// As [`check_free`].
pub fn write_bytes(path: impl AsRef<Path>, bytes: &[u8], existing: Existing) -> Result<()> {
    let path = path.as_ref();
    write_file(path, existing, |out| out.write_all(bytes).map_err(Error::io(path, "write")))
}

/// Fails early, before any work, where a file could not be written: its folder is missing or takes no files or no such
/// name, or what has its name already may not be replaced. Removes what killed writers of the same file left behind.
///
/// # Errors
/// [`Error::Input`] and [`Error::Io`] name the file, or its folder where that is what is wrong.
pub fn check_free(path: &Path, existing: Existing) -> Result<()> {
    let target = target(path, existing)?;
    part_file(path, &target).map(drop)
}

/// The file to write for `path`: that to which its symbolic links lead.
fn target(path: &Path, existing: Existing) -> Result<PathBuf> {
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::input(path, "is a folder", "name an output file"));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::InvalidFilename => {
            return Err(Error::input(
                path,
                format_args!("cannot be the name of a file ({error})"),
                "choose a shorter one",
            ));
        }
        Err(_) => return Ok(path.to_path_buf()),
        // A link that leads nowhere has the name, too.
        Ok(_) if existing == Existing::Keep => {
            return Err(Error::input(path, "already exists", "pass --force to replace it, or choose another output"));
        }
        Ok(_) => {}
    }
    let target = follow(path)?;
    if target.exists() && !target.is_file() {
        return Err(Error::input(path, "is not a regular file", "choose another output"));
    }
    Ok(target)
}

/// Follows symbolic links, also to a file that is not there.
fn follow(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match target.read_link() {
            Ok(next) => target = folder_of(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(Error::input(path, "is a symbolic link that leads back to itself", "remove it, or choose another output"))
}

/// The file that is to become `target`; errors name `path`, which led there.
fn part_file(path: &Path, target: &Path) -> Result<Part> {
    let folder = folder_of(target);
    if !folder.is_dir() {
        return Err(Error::input(folder, "is no folder", "make it first, or choose another output"));
    }
    // The kind alone: the whole error would name the temporary file.
    Part::create(target).map_err(|error| Error::io(path, "create")(error.kind().into()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Has the new name of a file survive a power cut. Windows writes names through by itself.
fn sync_folder(path: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = folder_of(path);
    match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot; a folder that may be written to need not be readable.
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
            ) =>
        {
            Err(Error::io(folder, "flush")(error))
        }
        _ => Ok(()),
    }
}
