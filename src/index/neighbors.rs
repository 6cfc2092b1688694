//! What a search finds.

use std::io;
use std::path::Path;

use ndarray::ArrayView2;
use ndarray_npy::NpzWriter;

use crate::error::{Error, Result};
use crate::output::{Existing, FirstError, write_file};

/// The neighbours of a batch of queries: k a query, nearest first, as faiss returns them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbors {
    /// Squared distances (L2) or inner products, queries × k; +`f32::MAX` (L2) or −`f32::MAX` where there is none.
    pub distances: Vec<f32>,
    /// Ids of the rows, queries × k; −1 where a query found fewer than k.
    pub ids: Vec<i64>,
    /// Neighbours a query.
    pub k: usize,
}

impl Neighbors {
    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.ids.len().checked_div(self.k).unwrap_or(0)
    }

    /// Number of queries that found fewer than k neighbours.
    pub fn incomplete(&self) -> usize {
        self.ids.chunks_exact(self.k.max(1)).filter(|ids| ids.contains(&-1)).count()
    }

    /// Makes this the neighbours of no queries yet, k each, in the memory it has.
    pub(super) fn renew(&mut self, k: usize) {
        self.distances.clear();
        self.ids.clear();
        self.k = k;
    }

    /// Takes in the neighbours of further queries, found with the same k.
    pub fn append(&mut self, mut further: Self) {
        self.distances.append(&mut further.distances);
        self.ids.append(&mut further.ids);
        self.k = further.k;
    }

    /// Writes the arrays `ids` (int64) and `distances` (float32), each queries × k, as an `.npz` file that NumPy loads.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the numbers of ids and distances disagree with k; [`Error::Io`] from the file.
    pub fn write_npz(&self, path: impl AsRef<Path>, existing: Existing) -> Result<()> {
        let path = path.as_ref();
        let ids = self.matrix("ids", &self.ids)?;
        let distances = self.matrix("distances", &self.distances)?;
        write_file(path, existing, |out| {
            let mut npz = NpzWriter::new(FirstError::new(out));
            npz.add_array("ids", &ids)
                .and_then(|()| npz.add_array("distances", &distances))
                .and_then(|()| npz.finish())
                .map_err(io::Error::other)
                .and_then(FirstError::finish)
                .map_err(Error::io(path, "write"))
        })
    }

    fn matrix<'a, T>(&self, name: &'static str, values: &'a [T]) -> Result<ArrayView2<'a, T>> {
        ArrayView2::from_shape((self.queries(), self.k), values).map_err(|_| {
            let found = format_args!("{} for {} queries and k = {}", values.len(), self.queries(), self.k);
            Error::parameter(name, found, "pass k for each query")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ndarray::{Array2, array};
    use ndarray_npy::NpzReader;

    use super::*;

    #[test]
    fn an_npz_file_holds_both_arrays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("found.npz");
        let mut found = Neighbors::default();
        found.append(Neighbors { distances: vec![0.5, 1.5], ids: vec![7, 1], k: 2 });
        found.append(Neighbors { distances: vec![2.0, f32::MAX], ids: vec![3, -1], k: 2 });
        assert_eq!((found.queries(), found.incomplete()), (2, 1));
        found.write_npz(&path, Existing::Keep).unwrap();
        let mut npz = NpzReader::new(File::open(&path).unwrap()).unwrap();
        let ids: Array2<i64> = npz.by_name("ids").unwrap();
        let distances: Array2<f32> = npz.by_name("distances").unwrap();
        assert_eq!((ids, distances), (array![[7, 1], [3, -1]], array![[0.5, 1.5], [2.0, f32::MAX]]));
    }

    #[test]
    fn arrays_that_disagree_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let found = Neighbors { distances: vec![0.5], ids: vec![7, 1], k: 2 };
        assert!(found.write_npz(folder.path().join("found.npz"), Existing::Keep).unwrap_err().is_usage());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!((Neighbors::default().queries(), Neighbors::default().incomplete()), (0, 0));
    }
}
