//! What comes in: matrices of frame features, read in batches.

use crate::error::Result;

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
