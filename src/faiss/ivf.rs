//! What every IVF index has before its codes: header, coarse quantizer, direct map.

use std::io::{self, Write};

use super::flat;
use super::fourcc::FourCc;
use super::header::Header;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;

/// Most lists an untrained index may have. Each takes memory here, though an untrained index has no bytes in the file to
/// show for it; those of a trained one are backed by their centroids.
const MAX_UNTRAINED_LISTS: usize = 1 << 20;

/// What every IVF index has before its codes.
pub(super) struct IvfHeader {
    pub(super) header: Header,
    pub(super) nlist: usize,
    /// 0 where every search has to name another.
    pub(super) nprobe: usize,
    pub(super) centroids: Vec<f32>,
}

/// Reads the header of the index that `fourcc` opened.
pub(super) fn read_header(reader: &mut Reader, fourcc: FourCc) -> Result<IvfHeader> {
    let header = Header::read(reader, fourcc)?;
    let nlist = reader.count("nlist")?;
    let nprobe = reader.count("nprobe")?;
    if nlist == 0 {
        return Err(reader.damaged(format_args!("{fourcc} has nlist = 0, where 1 or more belongs")));
    }
    if !header.is_trained && (header.ntotal > 0 || nlist > MAX_UNTRAINED_LISTS) {
        return Err(reader.damaged(format_args!(
            "{fourcc} has {header}, nlist = {nlist}, where an untrained index has no rows and at most \
             {MAX_UNTRAINED_LISTS} lists"
        )));
    }
    let centroids = read_quantizer(reader, &header, nlist)?;
    skip_direct_map(reader)?;
    Ok(IvfHeader { header, nlist, nprobe, centroids })
}

/// Writes what [`read_header`] reads, without a direct map.
pub(super) fn write_header(
    header: &Header,
    nlist: usize,
    nprobe: usize,
    centroids: &[f32],
    out: &mut impl Write,
) -> io::Result<()> {
    header.write(out)?;
    out.count(nlist)?;
    out.count(nprobe)?;
    flat::write(&quantizer_header(header, nlist), centroids, out)?;
    write_no_direct_map(out)
}

/// Reads the coarse quantizer and returns its centroids.
fn read_quantizer(reader: &mut Reader, ivf: &Header, nlist: usize) -> Result<Vec<f32>> {
    let fourcc = reader.fourcc("the coarse quantizer's type")?;
    if !matches!(fourcc, FourCc::FLAT_L2 | FourCc::FLAT_IP) {
        return Err(reader.unsupported("the coarse quantizer", fourcc));
    }
    let (found, centroids) = flat::read(reader, fourcc, "the centroids")?;
    let expected = quantizer_header(ivf, nlist);
    if found.metric != expected.metric {
        let found = format!("the lists compare by {}, their coarse quantizer by {}", expected.metric, found.metric);
        return Err(reader.unread(found));
    }
    if found != expected {
        return Err(reader.damaged(format_args!("the coarse quantizer has {found}, where {expected} belongs")));
    }
    Ok(centroids)
}

/// The header of the coarse quantizer: a flat index is always trained, and holds nothing before the IVF index is.
fn quantizer_header(ivf: &Header, nlist: usize) -> Header {
    Header { ntotal: if ivf.is_trained { nlist } else { 0 }, is_trained: true, ..*ivf }
}

/// Reads past the direct map, which leads from an id to its place in the lists.
fn skip_direct_map(reader: &mut Reader) -> Result<()> {
    let kind = reader.u8("the direct map's type")?;
    if kind > 2 {
        return Err(reader.damaged(format_args!("the direct map's type is {kind}, where 0, 1 or 2 belongs")));
    }
    reader.counted::<i64>("the direct map")?;
    if kind == 2 {
        reader.counted::<[i64; 2]>("the direct map's table")?;
    }
    Ok(())
}

fn write_no_direct_map(out: &mut impl Write) -> io::Result<()> {
    out.bool(false)?;
    out.count(0)
}
