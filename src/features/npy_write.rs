//! Writing a matrix as one `.npy` file.

use std::io::Write;
use std::path::Path;

use super::npy_header::Header;
use super::{FeatureSource, for_each_batch};
use crate::error::{Error, Result};
use crate::output::{Existing, write_file};

/// Writes all rows of `source` as one float32 `.npy` file, as RVC's `total_fea.npy`, `batch_rows` rows at a time.
pub fn write_npy(path: &Path, existing: Existing, source: &dyn FeatureSource, batch_rows: usize) -> Result<()> {
    write_file(path, existing, |file| {
        file.write_all(&Header::float32(source.rows(), source.dim())).map_err(Error::io(path, "write"))?;
        for_each_batch(source, batch_rows, |_, rows| {
            rows.iter().try_for_each(|x| file.write_all(&x.to_le_bytes())).map_err(Error::io(path, "write"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    #[test]
    fn writes_every_row_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("total_fea.npy");
        let rows = MemoryRows::new(&[1.0, -2.5, f32::MAX, 0.0, 3.0, 4.0], 2).unwrap();
        assert!(write_npy(&path, Existing::Keep, &rows, 0).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        write_npy(&path, Existing::Keep, &rows, 2).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(bytes[128..140], [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0xff, 0xff, 0x7f, 0x7f]);
        assert!(write_npy(&path, Existing::Keep, &rows, 2).is_err());
    }
}
