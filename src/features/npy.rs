//! One `.npy` file: a matrix of floats, read by row ranges.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::npy_header::{Header, MAX_BYTES};
use crate::error::{Error, Result};

/// Bytes read at a time. Files are not mapped into memory, so a reader's memory is this and its caller's rows.
const CHUNK: usize = 1 << 18;

/// A file whose header is known. It is opened anew for each read: a voice may be cut into more files than a process
/// may hold open.
#[derive(Debug)]
pub(super) struct NpyFile {
    path: PathBuf,
    header: Header,
    rows: usize,
    dim: usize,
}

impl NpyFile {
    /// Reads the header, and checks that the file is long enough for it.
    pub fn open(path: &Path) -> Result<Self> {
        // Before opening: a pipe would wait for its writer.
        if !fs::metadata(path).map_err(Error::io(path, "read"))?.is_file() {
            return Err(Error::input(path, "is not a regular file", "name a .npy file, or a folder of them"));
        }
        let (head, len) = head_and_len(path).map_err(Error::io(path, "read"))?;
        let unusable =
            |found| Error::input(path, found, "save it as a 2-D array of float16, float32 or float64 with numpy.save");
        let header = Header::parse(&head).map_err(unusable)?;
        let Header { rows, dim, data_at, dtype, .. } = header;
        let end = rows
            .checked_mul(dim)
            .and_then(|elements| elements.checked_mul(dtype.size() as u64))
            .and_then(|bytes| bytes.checked_add(data_at));
        match (end, usize::try_from(rows), usize::try_from(dim)) {
            (Some(end), Ok(rows), Ok(dim)) if end <= len => Ok(Self { path: path.to_path_buf(), header, rows, dim }),
            _ => Err(unusable(format!("holds {len} bytes, too few for the {rows} × {dim} floats it claims"))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Copies rows `start ..` into `out`, which holds whole rows inside the file.
    pub fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.read_rows(start as u64, out).map_err(Error::io(&self.path, "read"))
    }

    fn read_rows(&self, start: u64, out: &mut [f32]) -> io::Result<()> {
        let Header { rows, dim, fortran_order, .. } = self.header;
        let mut run = Run { file: File::open(&self.path)?, header: self.header, buffer: Vec::new() };
        if !fortran_order {
            return run.read(start * dim, out.iter_mut());
        }
        for column in 0..self.dim {
            run.read(column as u64 * rows + start, out.iter_mut().skip(column).step_by(self.dim))?;
        }
        Ok(())
    }
}

fn head_and_len(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let mut head = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut head)?;
    Ok((head, file.metadata()?.len()))
}

/// Reads elements that lie side by side in the file.
struct Run {
    file: File,
    header: Header,
    buffer: Vec<u8>,
}

impl Run {
    /// Fills `out` from element `first` on.
    fn read<'a>(&mut self, first: u64, mut out: impl ExactSizeIterator<Item = &'a mut f32>) -> io::Result<()> {
        let Header { dtype, data_at, .. } = self.header;
        let size = dtype.size();
        self.file.seek(SeekFrom::Start(data_at + first * size as u64))?;
        while out.len() > 0 {
            self.buffer.resize(CHUNK.min(out.len() * size), 0);
            self.file.read_exact(&mut self.buffer)?;
            dtype.decode(&self.buffer, out.by_ref());
        }
        Ok(())
    }
}
