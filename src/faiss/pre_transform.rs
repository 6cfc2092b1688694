//! `L2norm,`: a pre-transform index (`IxPT`) with one normalisation (`VNrm`) before the index it holds.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::read_plain;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::index::Index;

/// The p of the p-norm that `L2norm` scales by.
const NORM: f32 = 2.0;

/// Reads what follows `IxPT`, the index inside included.
pub(super) fn read(reader: &mut Reader) -> Result<Index> {
    let outer = Header::read(reader, FourCc::PRE_TRANSFORM)?;
    let transforms = reader.i32("the number of transforms")?;
    if transforms != 1 {
        return Err(reader.unread(format_args!("the index has {transforms} transforms before it (IxPT)")));
    }
    read_normalization(reader, outer.dim)?;
    let fourcc = reader.fourcc("the type of the index in IxPT")?;
    let inner = read_plain(reader, fourcc, "the index in IxPT")?;
    let header = Header::of(&inner);
    if header != outer {
        return Err(reader.damaged(format_args!("IxPT has {outer}, but the index in it has {header}")));
    }
    Ok(Index { l2norm: true, ..inner })
}

fn read_normalization(reader: &mut Reader, dim: usize) -> Result<()> {
    let fourcc = reader.fourcc("the transform type")?;
    if fourcc != FourCc::NORMALIZATION {
        return Err(reader.unsupported("the transform", fourcc));
    }
    let norm = reader.f32("norm of VNrm")?;
    let d_in = reader.i32("d_in of VNrm")?;
    let d_out = reader.i32("d_out of VNrm")?;
    let is_trained = reader.bool("is_trained of VNrm")?;
    let keeps_dim = [d_in, d_out].into_iter().all(|d| usize::try_from(d) == Ok(dim));
    if norm != NORM || !keeps_dim || !is_trained {
        return Err(reader.damaged(format_args!(
            "VNrm has norm = {norm}, d_in = {d_in}, d_out = {d_out}, is_trained = {is_trained}, \
             where norm = {NORM} and d = {dim}, trained, belongs"
        )));
    }
    Ok(())
}

/// Writes everything that stands before the index inside, which has the same header.
pub(super) fn write(header: &Header, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::PRE_TRANSFORM)?;
    header.write(out)?;
    out.i32(1)?;
    out.fourcc(FourCc::NORMALIZATION)?;
    out.f32(NORM)?;
    out.dim(header.dim)?;
    out.dim(header.dim)?;
    out.bool(true)
}
