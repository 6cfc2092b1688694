//! Rows made resident, and made ready for being searched.

use std::sync::Arc;

use half::slice::HalfFloatSliceExt;

use super::transfer::checked_rows;
use crate::device::data::buffer::{Buffer, TopK};
use crate::device::data::rows::{RowData, RowFormat, RowPart, RowSet, halves};
use crate::device::{Device, Engine, cpu, gpu};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::FeatureSource;
use crate::memory;

impl RowSet {
    /// Makes rows on the CPU engine ready for being searched as a whole again and again: takes as long as a search of about
    /// two hundred queries, and half a byte a float. Others are ready as they are.
    pub fn prepare(&self, metric: Metric) {
        cpu::exact_topk::prepare(self, metric);
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
            Engine::Gpu(gpu) if count == 0 => vec![gpu::rows::upload(gpu, rows, dim, format)?],
            Engine::Gpu(gpu) => {
                let parts = rows.chunks(gpu::rows::part_rows(gpu, dim, format) * dim);
                parts.map(|part| gpu::rows::upload(gpu, part, dim, format)).collect::<Result<_>>()?
            }
        };
        Ok(RowSet { parts, rows: count, dim, format, prepared: Default::default() })
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
            Engine::Gpu(gpu) => gpu::rows::part_rows(gpu, dim, format),
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
                Engine::Gpu(gpu) => gpu::rows::upload(gpu, &rows, dim, format)?,
            });
        }
        Ok(RowSet { parts, rows: count, dim, format, prepared: Default::default() })
    }
}

fn checked_count(rows: usize) -> Result<usize> {
    if rows >= TopK::NONE as usize {
        return Err(Error::parameter("rows", rows, "search fewer than 4,294,967,295 rows at a time"));
    }
    Ok(rows)
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
