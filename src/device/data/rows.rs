//! Rows that stay on a device, to be compared with queries and blended with frames.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::buffer::{Buffer, GpuId};
use super::engine_cache::EngineCache;
use crate::error::{Error, Result};
use crate::memory;

/// How a device keeps rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowFormat {
    /// 32-bit floats, as they are.
    #[default]
    F32,
    /// 16-bit floats: half the memory, and half the time of a search where reading rows takes it all. Each value is off
    /// by 2⁻¹¹ of itself at most; below 2⁻¹⁴ by 2⁻²⁵, and some GPUs take such values for 0.
    F16,
}

/// Rows made resident on a device. On a GPU they may be spread over several buffers, because one binding is limited.
#[derive(Clone, Debug)]
pub struct RowSet {
    pub(crate) parts: Vec<RowPart>,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) format: RowFormat,
    /// The engine's sketches of all rows, by metric.
    pub(crate) prepared: Arc<[Prepared; 2]>,
}

/// What rows are made ready with when that is first needed. No lock is held meanwhile: it is work for a thread pool, and a
/// thread that waits for its part may begin another search, which needs it as well.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub made: EngineCache,
    /// Set by the first search that makes them ready; others go on without.
    pub begun: AtomicBool,
}

/// The rows of one buffer.
#[derive(Clone, Debug)]
pub(crate) struct RowPart {
    pub data: RowData,
    pub rows: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum RowData {
    F32(Buffer<f32>),
    /// Two values a word.
    F16(Buffer<u32>),
}

impl RowSet {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How the rows are kept.
    pub fn format(&self) -> RowFormat {
        self.format
    }

    /// All rows of a set on the CPU engine.
    pub(crate) fn host(&self, stage: &'static str) -> Result<&[f32]> {
        match self.parts.as_slice() {
            [RowPart { data: RowData::F32(rows), .. }] => rows.host(stage),
            _ => Err(Error::ForeignBuffer { stage }),
        }
    }

    /// The buffers of a set on a GPU, each with the number of its first row and the number of its rows.
    pub(crate) fn gpu(&self, id: GpuId, stage: &'static str) -> Result<Vec<(&wgpu::Buffer, u32, u32)>> {
        let mut first_row = 0;
        let mut parts = Vec::with_capacity(self.parts.len());
        for RowPart { data, rows } in &self.parts {
            let buffer = match data {
                RowData::F32(rows) => rows.gpu(id, stage)?,
                RowData::F16(rows) => rows.gpu(id, stage)?,
            };
            parts.push((buffer, first_row, *rows as u32));
            first_row += *rows as u32;
        }
        Ok(parts)
    }
}

/// Rows as 16-bit floats.
///
/// # Errors
/// [`Error::Parameter`] for a value that 16 bits cannot hold.
pub(crate) fn halves(rows: &[f32]) -> Result<Vec<f16>> {
    let mut halves = memory::filled(rows.len(), f16::ZERO, "the rows of a search")?;
    halves.convert_from_f32_slice(rows);
    match rows.iter().zip(&halves).find(|(row, half)| row.is_finite() && !half.is_finite()) {
        Some((value, _)) => Err(Error::parameter("rows", value, "keep them as 32-bit floats: 16 bits end at 65,504")),
        None => Ok(halves),
    }
}
