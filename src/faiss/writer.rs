//! Writes the fields of a file.

use std::io::{self, Write};

use bytemuck::Pod;

use super::fourcc::FourCc;

/// The fields of a faiss file, on anything that takes bytes.
pub(super) trait WriteFields: Write {
    fn fourcc(&mut self, fourcc: FourCc) -> io::Result<()> {
        self.write_all(&fourcc.0)
    }

    fn bool(&mut self, value: bool) -> io::Result<()> {
        self.write_all(&[value.into()])
    }

    fn i32(&mut self, value: i32) -> io::Result<()> {
        self.write_all(&value.to_le_bytes())
    }

    fn f32(&mut self, value: f32) -> io::Result<()> {
        self.write_all(&value.to_le_bytes())
    }

    /// A `size_t`, or an `idx_t` that is not negative: the same bytes.
    fn count(&mut self, value: usize) -> io::Result<()> {
        self.write_all(&(value as u64).to_le_bytes())
    }

    /// A dimension: an `int`.
    fn dim(&mut self, dim: usize) -> io::Result<()> {
        let dim = i32::try_from(dim).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{dim} dimensions are too many for a faiss file"))
        })?;
        self.i32(dim)
    }

    /// Items as they lie in memory, which is little-endian as the reader makes sure.
    fn items<T: Pod>(&mut self, items: &[T]) -> io::Result<()> {
        self.write_all(bytemuck::cast_slice(items))
    }

    /// A count and as many items.
    fn counted<T: Pod>(&mut self, items: &[T]) -> io::Result<()> {
        self.count(items.len())?;
        self.items(items)
    }
}

impl<W: Write> WriteFields for W {}
