//! Where hosts keep the features of an experiment.

/// A host's habits: where its features lie, and how it names its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// RVC: features in `3_feature256`, `3_feature768` or `3_feature1024`.
    Rvc,
    /// RVC_CLI: features in `v1_extracted` or `v2_extracted`.
    RvcCli,
    /// Applio: features in `extracted`.
    Applio,
}

/// The folders of features in an experiment folder, with the floats a row of each; `None` where both widths lie there.
pub(super) const FOLDERS: [(&str, Option<usize>, Layout); 6] = [
    ("3_feature256", Some(256), Layout::Rvc),
    ("3_feature768", Some(768), Layout::Rvc),
    ("3_feature1024", Some(1024), Layout::Rvc),
    ("v1_extracted", Some(256), Layout::RvcCli),
    ("v2_extracted", Some(768), Layout::RvcCli),
    ("extracted", None, Layout::Applio),
];

/// True for a folder of features in an experiment folder.
pub(super) fn is_known(folder: &str) -> bool {
    FOLDERS.iter().any(|(name, ..)| *name == folder)
}

/// Floats a row in a folder of this name, where that is known.
pub(super) fn width(folder: &str) -> Option<usize> {
    FOLDERS.iter().find(|(name, ..)| *name == folder).and_then(|(_, width, _)| *width)
}

/// The folder that features of a width belong to.
pub(super) fn folder_of(layout: Layout, width: usize) -> Option<&'static str> {
    FOLDERS.iter().find(|known| (known.1, known.2) == (Some(width), layout)).map(|(name, ..)| *name)
}
