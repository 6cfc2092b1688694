//! The files of a voice as one matrix.

use std::mem;
use std::ops::Range;
use std::path::Path;

use super::discovery::{self, Experiment, FeatureFile, FeatureFiles};
use super::layouts::{self, Layout};
use super::npy::NpyFile;
use super::repeated::without_repeats;
use super::{FeatureSource, for_each_batch, rows_asked};
use crate::error::{Error, Result};

/// Floats that the search for non-finite values reads at a time.
const SCAN: usize = 1 << 20;

/// The rows of `.npy` files, one after the other: those of an RVC experiment, of a folder, or any.
#[derive(Debug)]
pub struct NpyFiles {
    files: Vec<NpyFile>,
    segments: Segments,
    dim: usize,
    experiment: Option<Experiment>,
    notes: Vec<String>,
}

/// What to do about rows that hold NaN or infinity, which have no nearest neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Fail, and name the first of them.
    Refuse,
    /// Leave them out.
    Skip,
}

impl NpyFiles {
    /// Opens `inputs`: experiment folders of RVC (with `3_feature256`, `3_feature768` or `3_feature1024` in them), RVC_CLI
    /// (`v1_extracted`, `v2_extracted`) or Applio (`extracted`), folders of `.npy` files, or `.npy` files. Their files are
    /// put together in the order of their names, as RVC's training does.
    ///
    /// # Errors
    /// [`Error::Input`] for a folder without features, or with those of several speakers or widths, and for features that
    /// do not have the width that their folder's name tells.
    pub fn open(inputs: &[impl AsRef<Path>]) -> Result<Self> {
        let FeatureFiles { files: found, mut notes } = discovery::feature_files(inputs)?;
        let files = found.iter().map(|file| NpyFile::open(&file.path)).collect::<Result<Vec<_>>>()?;
        files.iter().zip(&found).filter(|(file, _)| file.rows() > 0).try_for_each(check_width)?;
        let files = without_repeats(files, &mut notes);
        let Some(first) = files.iter().find(|file| file.rows() > 0).or(files.first()) else {
            return Err(Error::parameter("features", "no input is named", "name an experiment folder or .npy files"));
        };
        let dim = first.dim();
        let mut segments = Segments::default();
        // Files without rows are passed over, whatever their width.
        for (index, file) in files.iter().enumerate().filter(|(_, file)| file.rows() > 0) {
            if file.dim() != dim {
                let found = format_args!("has rows of {}, where {} has {dim}", file.dim(), first.path().display());
                return Err(Error::input(file.path(), found, "build one index from features of one width"));
            }
            if segments.rows().checked_add(file.rows()).is_none() {
                return Err(Error::input(
                    file.path(),
                    "brings the rows to more than can be counted",
                    "name fewer files",
                ));
            }
            segments.push(index, 0..file.rows());
        }
        if segments.rows() == 0 {
            let found = "has no rows, and no other file of this input has any";
            return Err(Error::input(first.path(), found, "extract the features again"));
        }
        let experiment = match inputs {
            [folder] => discovery::experiment(folder.as_ref(), dim)?,
            _ => None,
        };
        Ok(Self { dim, segments, experiment, files, notes })
    }

    /// The experiment, where exactly one input was given and it was an experiment folder.
    pub fn experiment(&self) -> Option<&Experiment> {
        self.experiment.as_ref()
    }

    /// What was left out, and why: a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The files, in the order of their rows.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(NpyFile::path)
    }

    /// Reads all rows once in search of NaN and infinity, and does what `policy` says about them. `progress` is told
    /// the number of rows searched so far. Returns the number of rows left out.
    pub fn check_finite(&mut self, policy: NonFinite, mut progress: impl FnMut(usize)) -> Result<usize> {
        let mut dropped = Vec::new();
        for_each_batch(self, (SCAN / self.dim).max(1), |start, rows| {
            for (row, values) in (start..).zip(rows.chunks_exact(self.dim)) {
                if values.iter().all(|x| x.is_finite()) {
                    continue;
                }
                match policy {
                    NonFinite::Refuse => return Err(self.non_finite(row)),
                    NonFinite::Skip => dropped.push(row),
                }
            }
            progress(start + rows.len() / self.dim);
            Ok(())
        })?;
        if dropped.len() == self.rows() {
            return Err(self.all_non_finite());
        }
        self.segments = self.segments.without(&dropped);
        Ok(dropped.len())
    }

    fn non_finite(&self, row: usize) -> Error {
        let (file, row) = self.segments.locate(row).map_or((0, row), |(segment, at)| (segment.file, at));
        Error::input(
            self.files[file].path(),
            format_args!("holds NaN or infinity in row {row} (counted from 0 in this file, read as float32)"),
            "pass --skip-non-finite to leave such rows out, or extract the features again",
        )
    }

    fn all_non_finite(&self) -> Error {
        let found = "holds NaN or infinity in every row, and so does all of this input";
        Error::input(self.files[0].path(), found, "extract the features again")
    }
}

/// Fails where a file's rows do not have the width that its folder's name tells.
fn check_width((file, found): (&NpyFile, &FeatureFile)) -> Result<()> {
    let (rows, dim) = (file.rows(), file.dim());
    let Some(width) = found.width.filter(|width| *width != dim) else { return Ok(()) };
    let folder = found.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    if rows == width {
        let said = format_args!("holds {rows} × {dim}, frames in columns, where {folder} has rows of {width}");
        return Err(Error::input(&found.path, said, "save its transpose, numpy's x.T, so that a frame is a row"));
    }
    let belongs = layouts::folder_of(Layout::Rvc, dim).map_or(String::new(), |name| format!("move it to {name}, or "));
    let remedy = format!("{belongs}extract the features again");
    Err(Error::input(&found.path, format_args!("has rows of {dim}, where {folder} has rows of {width}"), remedy))
}

impl FeatureSource for NpyFiles {
    fn rows(&self) -> usize {
        self.segments.rows()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, start: usize, mut out: &mut [f32]) -> Result<()> {
        let mut rows = rows_asked(self, start, out.len())?;
        while let Some((segment, first)) = self.segments.locate(rows.start)
            && !rows.is_empty()
        {
            let count = rows.len().min(segment.rows.end - first);
            let (now, later) = mem::take(&mut out).split_at_mut(count * self.dim);
            self.files[segment.file].read(first, now)?;
            (rows.start, out) = (rows.start + count, later);
        }
        Ok(())
    }
}

/// Which rows of which file make up the matrix.
#[derive(Debug, Default)]
struct Segments(Vec<Segment>);

/// Consecutive rows of one file.
#[derive(Debug)]
struct Segment {
    file: usize,
    rows: Range<usize>,
    /// The row of the matrix after the last of these.
    end: usize,
}

impl Segments {
    fn rows(&self) -> usize {
        self.0.last().map_or(0, |segment| segment.end)
    }

    fn push(&mut self, file: usize, rows: Range<usize>) {
        if !rows.is_empty() {
            let end = self.rows() + rows.len();
            self.0.push(Segment { file, rows, end });
        }
    }

    /// The segment that has a row of the matrix, and that row's number in its file.
    fn locate(&self, row: usize) -> Option<(&Segment, usize)> {
        let segment = self.0.get(self.0.partition_point(|segment| segment.end <= row))?;
        Some((segment, segment.rows.end - (segment.end - row)))
    }

    /// The same without some rows of the matrix, which come in ascending order.
    fn without(&self, dropped: &[usize]) -> Self {
        let mut dropped = dropped.iter().peekable();
        let mut kept = Self::default();
        for &Segment { file, ref rows, end } in &self.0 {
            let mut first = rows.start;
            while let Some(row) = dropped.next_if(|&&row| row < end) {
                let gap = rows.end - (end - row);
                kept.push(file, first..gap);
                first = gap + 1;
            }
            kept.push(file, first..rows.end);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(parts: &[(usize, Range<usize>)]) -> Segments {
        let mut segments = Segments::default();
        parts.iter().for_each(|(file, rows)| segments.push(*file, rows.clone()));
        segments
    }

    fn parts(segments: &Segments) -> Vec<(usize, Range<usize>)> {
        segments.0.iter().map(|segment| (segment.file, segment.rows.clone())).collect()
    }

    #[test]
    fn a_row_is_found_in_its_file() {
        let segments = segments(&[(0, 0..2), (1, 0..0), (2, 5..8)]);
        assert_eq!(segments.rows(), 5);
        let found = [0, 1, 2, 4, 5].map(|row| segments.locate(row).map(|(segment, at)| (segment.file, at)));
        assert_eq!(found, [Some((0, 0)), Some((0, 1)), Some((2, 5)), Some((2, 7)), None]);
    }

    #[test]
    fn dropped_rows_split_their_segments() {
        let all = segments(&[(0, 0..3), (1, 0..4), (2, 0..1)]);
        assert_eq!(parts(&all.without(&[])), parts(&all));
        let some = all.without(&[0, 4, 5, 7]);
        assert_eq!(parts(&some), [(0, 1..3), (1, 0..1), (1, 3..4)]);
        assert_eq!(some.rows(), 4);
        assert_eq!(parts(&some.without(&[2])), [(0, 1..3), (1, 3..4)]);
        assert_eq!(all.without(&[0, 1, 2, 3, 4, 5, 6, 7]).rows(), 0);
    }
}
