//! faiss index files, in and out.
//!
//! A faiss file is one object after another, each opened by four characters that name its type. This module reads and
//! writes `Flat` and `PQMx4fs`, alone or with `IVFn,`, `L2norm,` and `,RFlat`, byte for byte as faiss does. Files come
//! from anywhere, so nothing in them is believed before it was checked: every count against the bytes that are left,
//! every number that the layout repeats against its first mention.

mod block_lists;
mod flat;
mod fourcc;
mod header;
mod inverted_lists;
mod ivf;
mod ivf_flat;
mod pq_fast_scan;
mod pre_transform;
mod product_quantizer;
mod reader;
mod refine;
mod writer;

use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::index::{Index, IndexKind, MappedFloats};
use crate::output::{Existing, write_file};
use fourcc::FourCc;
use header::Header;
use reader::Reader;

/// Reads a faiss index file.
///
/// The file is refused, with the field and what stood there, where it is damaged, is of a family this version does not
/// read, or holds a value that no search can use (NaN, infinity, a negative id). Rows that faiss counts but has in no list
/// are [`Index::unlisted`]; an nprobe of 0 stays, and searches have to name another. A direct map is dropped: it can be
/// made again from the lists.
pub fn read_index(path: impl AsRef<Path>) -> Result<Index> {
    read(Reader::open(path.as_ref(), None)?)
}

/// Reads a faiss index file but for the rows that `,RFlat` re-ranks with: they stay in the file, mapped, and a search
/// reads those of its candidates. For other indexes, and where the file system maps nothing, this is [`read_index`].
///
/// The file is checked as by [`read_index`], except that nobody looks for NaN and infinity in rows that are not read; a
/// row of NaN is never found. The file has to stay as it is while the index is there: what another program writes over
/// it turns up in the distances, and where one cuts it short the system may end this process. [`write_index`] may
/// replace it, as it never writes into a file that is there; Windows refuses that while the file is mapped.
pub fn map_index(path: impl AsRef<Path>) -> Result<Index> {
    read(Reader::open(path.as_ref(), Some(MappedFloats::new))?)
}

fn read(mut reader: Reader) -> Result<Index> {
    let index = match reader.fourcc("the index type")? {
        FourCc::REFINE => refine::read(&mut reader)?,
        fourcc => read_unrefined(&mut reader, fourcc, "the index")?,
    };
    reader.finish()?;
    Ok(index)
}

/// Writes `index` as a faiss index file, whole or not at all.
pub fn write_index(index: &Index, path: impl AsRef<Path>, existing: Existing) -> Result<()> {
    let path = path.as_ref();
    write_file(path, existing, |out| write(index, out).map_err(Error::io(path, "write")))
}

/// Reads an index that no refinement stands around; `place` names it in an error.
fn read_unrefined(reader: &mut Reader, fourcc: FourCc, place: &str) -> Result<Index> {
    match fourcc {
        FourCc::PRE_TRANSFORM => pre_transform::read(reader),
        _ => read_plain(reader, fourcc, place),
    }
}

/// Reads an index that no transform stands before; `place` names it in an error.
fn read_plain(reader: &mut Reader, fourcc: FourCc, place: &str) -> Result<Index> {
    match fourcc {
        FourCc::FLAT_L2 | FourCc::FLAT_IP => {
            let (Header { dim, metric, .. }, rows) = flat::read(reader, fourcc, "the rows")?;
            Ok(Index::of_kind(dim, metric, IndexKind::Flat { rows: rows.into() }))
        }
        FourCc::IVF_FLAT => ivf_flat::read(reader),
        FourCc::PQ_FAST_SCAN => pq_fast_scan::read(reader),
        FourCc::IVF_PQ_FAST_SCAN => pq_fast_scan::read_ivf(reader),
        _ => Err(reader.unsupported(place, fourcc)),
    }
}

fn write(index: &Index, out: &mut impl Write) -> io::Result<()> {
    let header = Header::of(index);
    if index.refine.is_some() {
        refine::write_head(&header, out)?;
    }
    if index.l2norm {
        pre_transform::write(&header, out)?;
    }
    match &index.kind {
        IndexKind::Flat { rows } => flat::write(&header, rows, out),
        IndexKind::IvfFlat(ivf) => ivf_flat::write(&header, ivf, out),
        IndexKind::PqFastScan(codes) => pq_fast_scan::write(&header, codes, out),
        IndexKind::IvfPqFastScan(ivf) => pq_fast_scan::write_ivf(&header, ivf, out),
    }?;
    index.refine.as_ref().map_or(Ok(()), |refine| refine::write_tail(&header, refine, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::Metric;

    #[test]
    fn what_cannot_be_mapped_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refined.index");
        let rows = [1.0, 2.0, 3.0, 4.0];
        let index = Index::flat(2, Metric::L2, rows.to_vec()).unwrap().with_refine(rows.to_vec(), 2.0).unwrap();
        write_index(&index, &path, Existing::Keep).unwrap();
        let refused = |_: &std::fs::File, _, _| Err(io::ErrorKind::Unsupported.into());
        let found = read(Reader::open(&path, Some(refused)).unwrap()).unwrap();
        assert!(found == index && found == map_index(&path).unwrap());
        assert!(matches!(found.refine.unwrap().rows, crate::index::RefineRows::InMemory(_)));
    }
}
