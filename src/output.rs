//! Files that appear whole or not at all: written beside the target, flushed, then renamed over it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

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
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    check_name(path, existing)?;
    let part = part_file(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, part.as_file());
    fill(&mut writer)?;
    writer.flush().map_err(Error::io(path, "write"))?;
    drop(writer);
    part.as_file().sync_all().map_err(Error::io(path, "write"))?;
    let renamed = match existing {
        Existing::Keep => part.persist_noclobber(path),
        Existing::Replace => part.persist(path),
    };
    renamed.map(drop).map_err(|e| Error::io(path, "rename a finished file to")(e.error))
}

/// Writes `bytes` as a file, whole or not at all.
///
/// # Errors
/// As [`check_free`].
pub fn write_bytes(path: impl AsRef<Path>, bytes: &[u8], existing: Existing) -> Result<()> {
    let path = path.as_ref();
    write_file(path, existing, |out| out.write_all(bytes).map_err(Error::io(path, "write")))
}

/// Fails early, before any work, where a file could not be written: its folder is missing or takes no files, or what
/// has its name already may not be replaced.
///
/// # Errors
/// [`Error::Input`] and [`Error::Io`] name the file, or its folder where that is what is wrong.
pub fn check_free(path: &Path, existing: Existing) -> Result<()> {
    check_name(path, existing)?;
    part_file(path).map(drop)
}

fn check_name(path: &Path, existing: Existing) -> Result<()> {
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::input(path, "is a folder", "name an output file"));
    }
    if path.exists() && !path.is_file() {
        return Err(Error::input(path, "is not a regular file", "choose another output"));
    }
    // Not `exists`: a link that leads nowhere has the name, too.
    if existing == Existing::Keep && path.symlink_metadata().is_ok() {
        return Err(Error::input(path, "already exists", "pass --force to replace it, or choose another output"));
    }
    Ok(())
}

/// The file that is to become `path`, in the same folder. It goes away by itself unless it is renamed.
fn part_file(path: &Path) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::input(folder, "is no folder", "make it first, or choose another output"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rvc-gpu-index-").suffix(".part");
    #[cfg(unix)]
    {
        // A temporary file is private by default; the result is an ordinary file, as the umask has it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // The kind alone: the whole error would name the temporary file.
    builder.tempfile_in(folder).map_err(|error| Error::io(path, "create")(error.kind().into()))
}
