//! Rows that stay on a GPU, in as many buffers as its bindings take.

use half::f16;

use super::{Gpu, padded, stride_of};
use crate::device::data::rows::{RowData, RowFormat, RowPart, halves};
use crate::error::Result;

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
            // The first of two values lies in the low half of its word, whatever the host's byte order.
            let words = halves
                .as_chunks()
                .0
                .iter()
                .map(|&[low, high]| u32::from(f16::to_bits(low)) | u32::from(f16::to_bits(high)) << 16);
            RowData::F16(gpu.upload(&words.collect::<Vec<u32>>())?)
        }
    };
    Ok(RowPart { data, rows: rows.len() / dim })
}
