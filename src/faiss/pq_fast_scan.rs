//! `PQMx4fs`: `IPfs`, and `IVFn,PQMx4fs`: `IwPf`.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::ivf::{self, IvfHeader};
use super::reader::Reader;
use super::writer::WriteFields;
use super::{block_lists, product_quantizer};
use crate::device::BLOCK_ROWS;
use crate::error::Result;
use crate::index::{CodeBlocks, Index, IndexKind, IvfPqFastScan, PqFastScan, ProductQuantizer};

/// `implem`, `qbs` and `qbs2`: which of its search loops faiss takes; 0 leaves it the choice. Read from no file.
const ANY_LOOP: u8 = 0;

/// Reads what follows `IPfs`.
pub(super) fn read(reader: &mut Reader) -> Result<Index> {
    let header = Header::read(reader, FourCc::PQ_FAST_SCAN)?;
    let Header { dim, metric, ntotal, is_trained } = header;
    if ntotal > 0 && !is_trained {
        return Err(reader.damaged(format_args!("IPfs has {header}, where an untrained index has no rows")));
    }
    let pq = product_quantizer::read(reader, &header)?;
    reader.i32("implem of IPfs")?;
    read_block_rows(reader, FourCc::PQ_FAST_SCAN)?;
    reader.i32("qbs of IPfs")?;
    let blocks = ntotal.div_ceil(BLOCK_ROWS);
    reader.expect_count(blocks.saturating_mul(BLOCK_ROWS), "ntotal2 of IPfs")?;
    reader.expect_count(padded_m(&pq), "M2 of IPfs")?;
    let bytes = blocks.saturating_mul(BLOCK_ROWS * pq.code_size());
    reader.expect_count(bytes, "the number of bytes in the codes")?;
    let codes = CodeBlocks::new(pq.m(), reader.items(bytes, "the codes")?)?;
    Ok(Index::of_kind(dim, metric, IndexKind::PqFastScan(PqFastScan { pq, ntotal, codes })))
}

pub(super) fn write(header: &Header, index: &PqFastScan, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::PQ_FAST_SCAN)?;
    header.write(out)?;
    product_quantizer::write(&index.pq, out)?;
    out.i32(ANY_LOOP.into())?;
    out.i32(BLOCK_ROWS as i32)?;
    out.i32(ANY_LOOP.into())?;
    out.count(index.codes.blocks() * BLOCK_ROWS)?;
    out.count(padded_m(&index.pq))?;
    out.counted(index.codes.bytes())
}

/// Reads what follows `IwPf`.
pub(super) fn read_ivf(reader: &mut Reader) -> Result<Index> {
    let IvfHeader { header, nlist, nprobe, centroids } = ivf::read_header(reader, FourCc::IVF_PQ_FAST_SCAN)?;
    let by_residual = reader.bool("by_residual of IwPf")?;
    let code_size = reader.count("code_size of IwPf")?;
    read_block_rows(reader, FourCc::IVF_PQ_FAST_SCAN)?;
    let m2 = reader.count("M2 of IwPf")?;
    reader.i32("implem of IwPf")?;
    reader.count("qbs2 of IwPf")?;
    let pq = product_quantizer::read(reader, &header)?;
    if (code_size, m2) != (pq.code_size(), padded_m(&pq)) {
        let (m, expected) = (pq.m(), (pq.code_size(), padded_m(&pq)));
        return Err(reader.damaged(format_args!(
            "IwPf has (code_size, M2) = ({code_size}, {m2}), where {expected:?} belongs to M = {m}"
        )));
    }
    let lists = block_lists::read(reader, &header, nlist, &pq)?;
    let unlisted = header.ntotal - lists.ntotal();
    let ivf = IvfPqFastScan { centroids, nprobe, by_residual, pq, lists };
    Ok(Index { unlisted, ..Index::of_kind(header.dim, header.metric, IndexKind::IvfPqFastScan(ivf)) })
}

pub(super) fn write_ivf(header: &Header, index: &IvfPqFastScan, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::IVF_PQ_FAST_SCAN)?;
    ivf::write_header(header, index.lists.nlist(), index.nprobe, &index.centroids, out)?;
    out.bool(index.by_residual)?;
    out.count(index.pq.code_size())?;
    out.i32(BLOCK_ROWS as i32)?;
    out.count(padded_m(&index.pq))?;
    out.i32(ANY_LOOP.into())?;
    out.count(ANY_LOOP.into())?;
    product_quantizer::write(&index.pq, out)?;
    block_lists::write(&index.lists, out)
}

/// Reads `bbs`, the rows of a block. faiss can be told another number than the one that is laid out here.
fn read_block_rows(reader: &mut Reader, fourcc: FourCc) -> Result<()> {
    let found = reader.i32(format_args!("bbs of {fourcc}"))?;
    if usize::try_from(found) == Ok(BLOCK_ROWS) {
        return Ok(());
    }
    match usize::try_from(found) {
        Ok(rows @ 1..) if rows.is_multiple_of(BLOCK_ROWS) => {
            Err(reader.unread(format_args!("{fourcc} has blocks of {rows} rows (bbs) in place of {BLOCK_ROWS}")))
        }
        _ => Err(reader.damaged(format_args!("bbs of {fourcc} is {found}, where {BLOCK_ROWS} belongs"))),
    }
}

/// `M2`: sub-quantizers with the one that pads an odd number of them.
fn padded_m(pq: &ProductQuantizer) -> usize {
    pq.m().next_multiple_of(2)
}
