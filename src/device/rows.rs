//! Rows that stay on a device, to be compared with queries and blended with frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::buffer::{Buffer, TopK};
use super::cpu::bounds::SketchTable;
use super::cpu::sketch::Basis;
use super::gpu::{self, Gpu};
use super::{Device, Engine, checked_rows};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::FeatureSource;
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
    /// By metric.
    sketches: Arc<[LazySketches; 2]>,
}

/// Sketches of all rows, made when they are first needed. No lock is held meanwhile: making them is work for a thread
/// pool, and a thread that waits for its part may begin another search, which needs them as well.
#[derive(Debug, Default)]
struct LazySketches {
    /// None where they would not pay.
    made: OnceLock<Option<SketchTable>>,
    /// Set by the first search that makes them; others go on without.
    begun: AtomicBool,
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

    /// Makes rows on the CPU engine ready for being searched as a whole again and again: takes as long as a search of about
    /// two hundred queries, and half a byte a float. Others are ready as they are.
    pub fn prepare(&self, metric: Metric) {
        let sketches = &self.sketches[metric as usize];
        let Ok(rows) = self.host("prepare") else { return };
        if sketches.made.get().is_some() {
            return;
        }
        sketches.begun.store(true, Ordering::Relaxed);
        let table = Basis::of(rows, self.dim).map(|basis| SketchTable::new(Arc::new(basis), rows, metric));
        // Whoever made them at the same time made the same ones.
        let _ = sketches.made.set(table);
    }

    /// The same from within a search, unless another one is making the rows ready.
    pub(crate) fn prepare_lazily(&self, metric: Metric) {
        if !self.sketches[metric as usize].begun.swap(true, Ordering::Relaxed) {
            self.prepare(metric);
        }
    }

    /// What spares most comparisons with all rows, where it was prepared.
    pub(crate) fn sketch(&self, metric: Metric) -> Option<&SketchTable> {
        self.sketches[metric as usize].made.get()?.as_ref()
    }

    /// All rows of a set on the CPU engine.
    pub(crate) fn host(&self, stage: &'static str) -> Result<&[f32]> {
        match self.parts.as_slice() {
            [RowPart { data: RowData::F32(rows), .. }] => rows.host(stage),
            _ => Err(Error::ForeignBuffer { stage }),
        }
    }

    /// The buffers of a set on a GPU, each with the number of its first row and the number of its rows.
    pub(crate) fn gpu(&self, gpu: &Gpu, stage: &'static str) -> Result<Vec<(&wgpu::Buffer, u32, u32)>> {
        let mut first_row = 0;
        let mut parts = Vec::with_capacity(self.parts.len());
        for RowPart { data, rows } in &self.parts {
            let buffer = match data {
                RowData::F32(rows) => rows.gpu(gpu, stage)?,
                RowData::F16(rows) => rows.gpu(gpu, stage)?,
            };
            parts.push((buffer, first_row, *rows as u32));
            first_row += *rows as u32;
        }
        Ok(parts)
    }
}

impl Device {
    /// Makes rows resident for [`Device::exact_topk`]. The CPU engine shares the vector, a GPU gets a copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room; [`Error::Parameter`] from 2³²−1 rows on.
    pub fn row_set(&self, rows: &Arc<Vec<f32>>, dim: usize) -> Result<RowSet> {
        let (count, format) = (checked_count(checked_rows(rows.len(), dim)?)?, RowFormat::F32);
        let parts = match &self.engine {
            Engine::Cpu => vec![RowPart { data: RowData::F32(Buffer::on_host(rows.clone())), rows: count }],
            // There is a part where there are no rows, too: something has to be bound.
            Engine::Gpu(gpu) if count == 0 => vec![upload(gpu, rows, dim, format)?],
            Engine::Gpu(gpu) => {
                let parts = rows.chunks(part_rows(gpu, dim, format) * dim);
                parts.map(|part| upload(gpu, part, dim, format)).collect::<Result<_>>()?
            }
        };
        Ok(RowSet { parts, rows: count, dim, format, sketches: Default::default() })
    }

    /// The same for the rows of a source, which are read buffer by buffer. The CPU engine keeps 16-bit floats as the
    /// 32-bit floats that they stand for.
    ///
    /// # Errors
    /// As [`Device::row_set`] and the source's own; [`Error::Parameter`] for a value that 16 bits cannot hold.
    pub fn row_set_of(&self, source: &dyn FeatureSource, format: RowFormat) -> Result<RowSet> {
        let (count, dim) = (checked_count(source.rows())?, source.dim());
        checked_rows(0, dim)?;
        let at_a_time = match &self.engine {
            Engine::Cpu => count.max(1),
            Engine::Gpu(gpu) => part_rows(gpu, dim, format),
        };
        let mut parts = Vec::new();
        for start in (0..count.max(1)).step_by(at_a_time) {
            let mut rows = memory::zeros(at_a_time.min(count - start) * dim, "the rows of a search")?;
            source.read(start, &mut rows)?;
            parts.push(match &self.engine {
                Engine::Cpu => {
                    if format == RowFormat::F16 {
                        rows = halves(&rows)?.to_f32_vec();
                    }
                    RowPart { rows: rows.len() / dim, data: RowData::F32(Buffer::on_host(rows)) }
                }
                Engine::Gpu(gpu) => upload(gpu, &rows, dim, format)?,
            });
        }
        Ok(RowSet { parts, rows: count, dim, format, sketches: Default::default() })
    }
}

fn checked_count(rows: usize) -> Result<usize> {
    if rows >= TopK::NONE as usize {
        return Err(Error::parameter("rows", rows, "search fewer than 4,294,967,295 rows at a time"));
    }
    Ok(rows)
}

/// Rows that fit one binding.
fn part_rows(gpu: &Gpu, dim: usize, format: RowFormat) -> usize {
    let value = if format == RowFormat::F16 { 2 } else { 4 };
    (gpu.max_binding() as usize / (value * gpu::stride_of(dim))).max(1)
}

fn upload(gpu: &Gpu, rows: &[f32], dim: usize, format: RowFormat) -> Result<RowPart> {
    let padded = gpu::padded(rows, dim);
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

fn halves(rows: &[f32]) -> Result<Vec<f16>> {
    let mut halves = memory::filled(rows.len(), f16::ZERO, "the rows of a search")?;
    halves.convert_from_f32_slice(rows);
    match rows.iter().zip(&halves).find(|(row, half)| row.is_finite() && !half.is_finite()) {
        Some((value, _)) => Err(Error::parameter("rows", value, "keep them as 32-bit floats: 16 bits end at 65,504")),
        None => Ok(halves),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    #[test]
    fn halves_are_as_near_as_they_are_said_to_be() {
        let values: Vec<f32> = (0..4000).map(|i| (i as f32 * 0.37).sin() * 10f32.powi(i % 9 - 5)).collect();
        let set = Device::cpu().row_set_of(&MemoryRows::new(&values, 4).unwrap(), RowFormat::F16).unwrap();
        assert_eq!((set.rows(), set.dim(), set.format()), (1000, 4, RowFormat::F16));
        for (kept, value) in set.host("test").unwrap().iter().zip(&values) {
            let bound = if value.abs() < 2f32.powi(-14) { 2f32.powi(-25) } else { value.abs() * 2f32.powi(-11) };
            assert!((kept - value).abs() <= bound, "{value} is kept as {kept}");
        }
    }

    #[test]
    fn what_halves_cannot_hold_is_refused() {
        let set = |value| Device::cpu().row_set_of(&MemoryRows::new(&[value], 1).unwrap(), RowFormat::F16);
        assert!(set(65504.0).is_ok() && set(f32::NAN).is_ok());
        let error = set(65520.0).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("65520"), "{error}");
        let none = Device::cpu().row_set_of(&MemoryRows::new(&[], 3).unwrap(), RowFormat::F32).unwrap();
        assert_eq!((none.rows(), none.host("test").unwrap()), (0, &[][..]));
    }
}
