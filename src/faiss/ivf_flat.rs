//! `IVFn,Flat`: `IwFl`.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::inverted_lists;
use super::ivf::{self, IvfHeader};
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::index::{Index, IndexKind, IvfFlat};

/// Reads what follows `IwFl`.
pub(super) fn read(reader: &mut Reader) -> Result<Index> {
    let IvfHeader { header, nlist, nprobe, centroids } = ivf::read_header(reader, FourCc::IVF_FLAT)?;
    let lists = inverted_lists::read(reader, &header, nlist)?;
    let unlisted = header.ntotal - lists.ntotal();
    let ivf = IndexKind::IvfFlat(IvfFlat { centroids, nprobe, lists });
    Ok(Index { unlisted, ..Index::of_kind(header.dim, header.metric, ivf) })
}

pub(super) fn write(header: &Header, index: &IvfFlat, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::IVF_FLAT)?;
    ivf::write_header(header, index.lists.nlist(), index.nprobe, &index.centroids, out)?;
    inverted_lists::write(&index.lists, out)
}
