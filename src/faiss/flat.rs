//! `Flat`: `IxF2` by L2, `IxFI` by inner product. An index of its own, and the coarse quantizer of an IVF index.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::factory::Metric;

fn fourcc_of(metric: Metric) -> FourCc {
    match metric {
        Metric::L2 => FourCc::FLAT_L2,
        Metric::InnerProduct => FourCc::FLAT_IP,
    }
}

/// Reads what follows `fourcc`; `field` names the rows in an error.
pub(super) fn read(reader: &mut Reader, fourcc: FourCc, field: &str) -> Result<(Header, Vec<f32>)> {
    let header = read_head(reader, fourcc, field)?;
    let mut rows = Vec::new();
    reader.rows(&mut rows, header.ntotal, header.dim, field)?;
    Ok((header, rows))
}

/// Reads what stands between `fourcc` and the rows.
pub(super) fn read_head(reader: &mut Reader, fourcc: FourCc, field: &str) -> Result<Header> {
    let header = Header::read(reader, fourcc)?;
    if fourcc != fourcc_of(header.metric) || !header.is_trained {
        return Err(reader.damaged(format_args!("{fourcc} cannot have {header}")));
    }
    let floats = reader.count(format_args!("the number of floats in {field}"))?;
    if header.ntotal.checked_mul(header.dim) != Some(floats) {
        return Err(reader.damaged(format_args!("{fourcc} has {header}, but {floats} floats")));
    }
    Ok(header)
}

pub(super) fn write(header: &Header, rows: &[f32], out: &mut impl Write) -> io::Result<()> {
    write_bytes(header, bytemuck::cast_slice(rows), out)
}

/// Writes rows that come as they lie in a file.
pub(super) fn write_bytes(header: &Header, rows: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.fourcc(fourcc_of(header.metric))?;
    header.write(out)?;
    out.count(rows.len() / size_of::<f32>())?;
    out.write_all(rows)
}
