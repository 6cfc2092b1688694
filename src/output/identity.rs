//! Which file a name leads to.

use std::io;
use std::path::Path;

use super::folder_of;

/// True where both paths lead to one file, by whatever names, or will once it is there.
pub fn is_same_file(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    let (a, b) = (a.as_ref(), b.as_ref());
    if let (Ok(a), Ok(b)) = (Identity::of(a), Identity::of(b)) {
        return a == b;
    }
    let place = |path: &Path| match path.canonicalize() {
        Ok(place) => Some(place),
        Err(_) => Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?)),
    };
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// A file whatever its name: its number on its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    volume: u64,
    number: u64,
}

impl Identity {
    /// Of the file that `path` leads to.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::with_links(path).map(|(identity, _)| identity)
    }

    /// The same with the number of names (hard links) that the file has.
    #[cfg(unix)]
    pub fn with_links(path: &Path) -> io::Result<(Self, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata()?;
        Ok((Self { volume: metadata.dev(), number: metadata.ino() }, metadata.nlink()))
    }

    #[cfg(windows)]
    pub fn with_links(path: &Path) -> io::Result<(Self, u64)> {
        let information = winapi_util::file::information(std::fs::File::open(path)?)?;
        let identity = Self { volume: information.volume_serial_number(), number: information.file_index() };
        Ok((identity, information.number_of_links()))
    }
}
