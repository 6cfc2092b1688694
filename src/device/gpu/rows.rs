//! Rows that stay on a GPU, in as many buffers as its bindings take.

use half::f16;

use super::{Gpu, padded, stride_of};
use crate::device::data::rows::{RowData, RowFormat, RowPart, halves};
use crate::error::Result;
use crate::memory;

/// Rows that fit one binding.
pub(crate) fn part_rows(gpu: &Gpu, dim: usize, format: RowFormat) -> usize {
    let value = if format == RowFormat::F16 { 2 } else { 4 };
    (gpu.max_binding() as usize / (value * stride_of(dim))).max(1)
}

pub(crate) fn upload(gpu: &Gpu, rows: &[f32], dim: usize, format: RowFormat) -> Result<RowPart> {
    let padded = padded(rows, dim);
    let data = match format {
        RowFormat::F32 => RowData::F32(gpu.upload(&padded)?),
        RowFormat::F16 => {
            let halves = halves(&padded)?;
            let mut words = memory::with_capacity(halves.len() / 2, "the rows of a search")?;
            // The first of two values lies in the low half of its word, whatever the host's byte order.
            let word = |&[low, high]: &[f16; 2]| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            words.extend(halves.as_chunks().0.iter().map(word));
            RowData::F16(gpu.upload::<u32>(&words)?)
        }
    };
    Ok(RowPart { data, rows: rows.len() / dim })
}
