//! `,RFlat`: a refining index (`IxRF`) around an index and a flat one of the same rows.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::reader::Reader;
use super::writer::WriteFields;
use super::{flat, read_unrefined};
use crate::error::Result;
use crate::index::{Index, K_FACTORS, Refine, RefineRows};

/// What the exact rows are called in an error.
const FIELD: &str = "the refine index";

/// Reads what follows `IxRF`, both indexes inside included.
pub(super) fn read(reader: &mut Reader) -> Result<Index> {
    let outer = Header::read(reader, FourCc::REFINE)?;
    let fourcc = reader.fourcc("the type of the index in IxRF")?;
    let base = read_unrefined(reader, fourcc, "the index in IxRF")?;
    let header = Header::of(&base);
    if header != outer {
        return Err(reader.damaged(format_args!("IxRF has {outer}, but the index in it has {header}")));
    }
    if base.unlisted > 0 {
        return Err(reader.unread(format_args!("the index in IxRF has {} rows of NaN, in no list", base.unlisted)));
    }
    if let Some(id) = base.id_without_row() {
        let found = format_args!("the index in IxRF has the id {id}, where one below {} belongs", outer.ntotal);
        return Err(reader.damaged(found));
    }
    let rows = read_rows(reader, &outer)?;
    let k_factor = reader.f32("k_factor of IxRF")?;
    if !K_FACTORS.contains(&k_factor) {
        return Err(reader.damaged(format_args!("k_factor of IxRF is {k_factor}, where 1 to 1000 belongs")));
    }
    Ok(Index { refine: Some(Refine { rows, k_factor }), ..base })
}

/// Reads the refine index, which has a row for each of the outer one's.
fn read_rows(reader: &mut Reader, outer: &Header) -> Result<RefineRows> {
    let fourcc = reader.fourcc("the refine index's type")?;
    if !matches!(fourcc, FourCc::FLAT_L2 | FourCc::FLAT_IP) {
        return Err(reader.unsupported("the refine index", fourcc));
    }
    let found = flat::read_head(reader, fourcc, FIELD)?;
    let expected = rows_header(outer);
    if found != expected {
        return Err(reader.damaged(format_args!("the refine index has {found}, where {expected} belongs")));
    }
    reader.refine_rows(found.ntotal, found.dim, FIELD)
}

/// Writes what stands before the index inside, which has the same header.
pub(super) fn write_head(header: &Header, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::REFINE)?;
    header.write(out)
}

/// Writes what stands behind the index inside.
pub(super) fn write_tail(header: &Header, refine: &Refine, out: &mut impl Write) -> io::Result<()> {
    flat::write_bytes(&rows_header(header), refine.rows.bytes(), out)?;
    out.f32(refine.k_factor)
}

/// The header of the refine index: a flat index is always trained.
fn rows_header(outer: &Header) -> Header {
    Header { is_trained: true, ..*outer }
}
