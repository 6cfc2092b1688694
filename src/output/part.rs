//! The hidden file beside a target that becomes it.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, PathPersistError};

use super::{Existing, folder_of};

const PREFIX: &str = ".rvc-gpu-index-";
const SUFFIX: &str = ".part";
/// Another process may take an unlocked file for one that was left behind; it does not do so again and again.
const TRIES: usize = 16;

/// The part files of this process.
static UNFINISHED: Mutex<Unfinished> = Mutex::new(Unfinished { paths: BTreeSet::new(), closed: false });

struct Unfinished {
    paths: BTreeSet<PathBuf>,
    closed: bool,
}

fn unfinished() -> MutexGuard<'static, Unfinished> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the hidden files of all outputs that this process is writing, and has it begin no others: for a program that
/// is about to exit, such as on a signal. What was finished stays.
pub fn remove_unfinished() {
    let mut unfinished = unfinished();
    unfinished.closed = true;
    for path in mem::take(&mut unfinished.paths) {
        let _ = fs::remove_file(path);
    }
}

/// A file that goes away by itself unless it is renamed. It is locked as long as it is written, by which others know
/// that it was not left behind.
pub(super) struct Part(Option<NamedTempFile>);

impl Part {
    /// Makes one for `target`, with the mode and the owner of what is there, and removes those that killed processes left.
    pub fn create(target: &Path) -> io::Result<Self> {
        sweep(target);
        for _ in 0..TRIES {
            let part = Self::unlocked(target)?;
            match part.file().try_lock() {
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks has no use for them: nobody removes what cannot be locked.
                Ok(()) | Err(TryLockError::Error(_)) if part.path().exists() => return Ok(part),
                _ => {}
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    fn unlocked(target: &Path) -> io::Result<Self> {
        let mut unfinished = unfinished();
        if unfinished.closed {
            return Err(ErrorKind::Interrupted.into());
        }
        let file = create_like(target)?;
        unfinished.paths.insert(file.path().to_path_buf());
        Ok(Self(Some(file)))
    }

    fn temporary(&self) -> &NamedTempFile {
        match &self.0 {
            Some(file) => file,
            None => unreachable!("a part that was renamed is gone"),
        }
    }

    fn path(&self) -> &Path {
        self.temporary().path()
    }

    pub fn file(&self) -> &File {
        self.temporary().as_file()
    }

    /// Gives the file its name. The lock ends with it.
    pub fn rename(mut self, target: &Path, existing: Existing) -> io::Result<()> {
        let Some(file) = self.0.take() else { return Ok(()) };
        let path = file.path().to_path_buf();
        let (file, part) = file.into_parts();
        // Elsewhere a lock is advice; here it would keep readers of the finished file out.
        if cfg!(windows) {
            let _ = file.unlock();
        }
        let renamed = match existing {
            Existing::Replace => part.persist(target),
            Existing::Keep => part.persist_noclobber(target).or_else(|refused| rename_unguarded(refused, target)),
        };
        unfinished().paths.remove(&path);
        renamed.map_err(|refused| refused.error)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            unfinished().paths.remove(file.path());
        }
    }
}

/// Where the file system has neither hard links nor renames that replace nothing (exFAT, some network drives): looks
/// for the name, then renames.
fn rename_unguarded(refused: PathPersistError, target: &Path) -> Result<(), PathPersistError> {
    let taken = refused.error.kind() == ErrorKind::AlreadyExists || target.symlink_metadata().is_ok();
    if taken { Err(refused) } else { refused.path.persist(target) }
}

/// Hidden files of one target have one beginning, whatever the length of its name.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    format!("{PREFIX}{:08x}-", crc32fast::hash(name))
}

/// True for a hidden file of this program.
pub(super) fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// An empty file with the mode and the owner of what `target` names, else as the umask has it.
fn create_like(target: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(target);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        let old = target.metadata().ok();
        // A temporary file is private by default. It is never more open than what it replaces.
        let mode = old.as_ref().map_or(0o666, |old| old.mode() & 0o777);
        builder.permissions(fs::Permissions::from_mode(mode));
        let file = builder.tempfile_in(folder_of(target))?;
        if let Some(old) = old {
            let new = file.as_file().metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                // Only the administrator gives files away; another user's copy is their own.
                let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
            }
            // Where a drive has no modes, there is nothing to keep.
            let _ = file.as_file().set_permissions(old.permissions());
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    builder.tempfile_in(folder_of(target))
}

/// Makes `name` a name of `target`, in place of what it names.
pub(super) fn relink(target: &Path, name: &Path) -> io::Result<()> {
    let prefix = prefix(name);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    let link = builder.make_in(folder_of(name), |path| fs::hard_link(target, path))?;
    link.into_temp_path().persist(name).map_err(|refused| refused.error)
}

/// Removes hidden files of `target` whose writer is gone.
pub(super) fn sweep(target: &Path) {
    let prefix = prefix(target);
    for entry in fs::read_dir(folder_of(target)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_part = name.starts_with(&prefix) && name.ends_with(SUFFIX);
        if is_part && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let path = entry.path();
            // The lock is held until the file is gone.
            if let Ok(file) = File::open(&path)
                && file.try_lock().is_ok()
            {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_stays_and_what_was_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (target, other) = (folder.path().join("a.index"), folder.path().join("b.index"));
        let part = Part::create(&target).unwrap();
        let kept = Part::create(&other).unwrap();
        // A killed process leaves the file without its lock.
        let left = folder.path().join(format!("{}abc{SUFFIX}", prefix(&target)));
        let foreign = folder.path().join(format!("{}abc{SUFFIX}", prefix(&other)));
        fs::write(&left, "half").unwrap();
        fs::write(&foreign, "half").unwrap();
        fs::write(folder.path().join("mine.part"), "").unwrap();
        sweep(&target);
        assert!(part.path().exists() && kept.path().exists() && foreign.exists() && !left.exists());
        sweep(&other);
        assert!(part.path().exists() && kept.path().exists() && !foreign.exists());
        part.rename(&target, Existing::Keep).unwrap();
        drop(kept);
        assert_eq!(names(folder.path()), ["a.index", "mine.part"]);
    }

    #[test]
    fn drives_without_links_take_new_names_and_no_taken_ones() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.index");
        let refused = |kind: ErrorKind| {
            let part = Part::create(&target).unwrap().0.take().unwrap().into_temp_path();
            PathPersistError { error: kind.into(), path: part }
        };
        // As exFAT has it: neither renames that replace nothing nor links.
        rename_unguarded(refused(ErrorKind::PermissionDenied), &target).unwrap();
        assert_eq!(names(folder.path()), ["a.index"]);
        fs::write(&target, "taken").unwrap();
        for kind in [ErrorKind::PermissionDenied, ErrorKind::AlreadyExists] {
            assert!(rename_unguarded(refused(kind), &target).is_err());
        }
        assert_eq!((names(folder.path()), fs::read(&target).unwrap()), (vec!["a.index".into()], b"taken".to_vec()));
    }
}
