//! Hard links: other names of a file that is replaced.
//!
//! A new file takes the name of the old one, which lives on under its other names. Those get the new file, too, where
//! they can be found: in the same folder and where RVC keeps indexes, which on Windows links an experiment's index into
//! `assets/indices` that way. Each name shows the whole old file until it shows the whole new one; a crash in between
//! leaves some names with the one and some with the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Identity, folder_of, follow, part};

/// Folders above a file in which RVC's own are looked for: `logs/voice/added.index`, `assets/indices/voice.index`.
const LEVELS: usize = 4;

/// The names of a file besides the one that was asked for.
#[derive(Default)]
pub(super) struct OtherNames {
    pub found: Vec<PathBuf>,
    /// Hidden ones, of a process that was killed before it gave them a name.
    pub hidden: Vec<PathBuf>,
    /// How many more there are.
    elsewhere: u64,
}

/// What to warn of before `path` is replaced: hard links to it that are not found, and so keep the old content. `None`
/// where there are none.
pub fn stale_names(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    let elsewhere = other_names(&follow(path).ok()?).elsewhere;
    (elsewhere > 0).then(|| {
        let names = if elsewhere == 1 { "another name".into() } else { format!("{elsewhere} other names") };
        format!(
            "{} has {names} (hard links) outside its folder and RVC's logs and assets/indices; there the old content \
             stays: link again",
            path.display()
        )
    })
}

/// Finds the other names of `target`.
pub(super) fn other_names(target: &Path) -> OtherNames {
    let mut names = OtherNames::default();
    let Ok((identity, links)) = Identity::with_links(target) else { return names };
    if links < 2 {
        return names;
    }
    let (Ok(folder), Some(name)) = (folder_of(target).canonicalize(), target.file_name()) else { return names };
    let own = folder.join(name);
    for folder in folders(&folder) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // A symbolic link to the file is a file of its own.
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let linked = files.map(|entry| entry.path()).filter(|path| *path != own);
        let same = linked.filter(|path| Identity::of(path).is_ok_and(|other| other == identity));
        let (hidden, found): (Vec<_>, Vec<_>) = same.partition(|path| part::is_part(path));
        names.hidden.extend(hidden);
        names.found.extend(found);
    }
    names.elsewhere = (links - 1).saturating_sub((names.found.len() + names.hidden.len()) as u64);
    names
}

/// Where other names are looked for: the file's own folder, and RVC's around it.
fn folders(folder: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::from([folder.to_path_buf()]);
    for root in folder.ancestors().take(LEVELS) {
        folders.extend(root.join("assets/indices").canonicalize());
        let experiments = fs::read_dir(root.join("logs")).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(experiments.filter(|path| path.is_dir()).filter_map(|path| path.canonicalize().ok()));
    }
    folders
}
