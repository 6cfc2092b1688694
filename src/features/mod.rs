//! What comes in: matrices of frame features, read in batches.
//!
//! ```no_run
//! use rvc_gpu_index::features::{FeatureSource, NonFinite, NpyFiles, for_each_batch};
//!
//! let mut voice = NpyFiles::open(&["logs/my-voice"])?;
//! voice.check_finite(NonFinite::Refuse, |_rows_done| ())?;
//! for_each_batch(&voice, 4096, |start, rows| {
//!     println!("{} rows from row {start} on", rows.len() / voice.dim());
//!     Ok(())
//! })?;
//! # Ok::<(), rvc_gpu_index::Error>(())
//! ```

mod batches;
mod discovery;
mod files;
mod layouts;
mod memory;
mod normalize;
mod npy;
mod npy_header;
mod npy_write;
mod repeated;

pub use batches::for_each_batch;
pub use discovery::Experiment;
pub use files::{NonFinite, NpyFiles};
pub use layouts::Layout;
pub use memory::MemoryRows;
pub use normalize::{Normalized, l2_normalize};
pub use npy_write::write_npy;

use std::ops::Range;

use crate::error::{Error, Result};

/// A matrix of features, `rows()` × `dim()`, that can be read from any row on. Everything that walks over a voice
/// (sampling, training, adding) asks for batches through this, so memory is bounded by the batch.
pub trait FeatureSource: Sync {
    /// Number of rows (frames).
    fn rows(&self) -> usize;
    /// Floats a row.
    fn dim(&self) -> usize;
    /// Copies rows `start ..` into `out`, row-major; `out` holds a whole number of rows, all inside the matrix.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()>;
}

impl<T: FeatureSource + ?Sized> FeatureSource for &T {
    fn rows(&self) -> usize {
        (**self).rows()
    }

    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        (**self).read(start, out)
    }
}

/// The rows that `len` floats from row `start` on stand for, where the matrix has them all.
pub(crate) fn rows_asked(source: &dyn FeatureSource, start: usize, len: usize) -> Result<Range<usize>> {
    let (rows, dim) = (source.rows(), source.dim());
    let count = len.checked_div(dim).filter(|count| count * dim == len);
    match count.and_then(|count| start.checked_add(count)) {
        Some(end) if end <= rows => Ok(start..end),
        _ => Err(Error::parameter(
            "read",
            format_args!("{len} floats from row {start} on are not whole rows of a matrix of {rows} × {dim}"),
            "ask for whole rows inside the matrix",
        )),
    }
}
