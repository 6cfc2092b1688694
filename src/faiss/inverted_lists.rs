//! Array inverted lists (`ilar`): the sizes of all lists, then rows and ids of each.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::index::InvertedLists;
use crate::memory;

/// More rows than an index may have.
const MAX_UNLISTED: u128 = 1 << 32;

/// Reads `nlist` lists of uncompressed rows, as many as the index header says or fewer.
pub(super) fn read(reader: &mut Reader, header: &Header, nlist: usize) -> Result<InvertedLists> {
    let dim = header.dim;
    let fourcc = reader.fourcc("the type of the inverted lists")?;
    if fourcc != FourCc::ARRAY_LISTS {
        return Err(reader.unsupported("what holds the inverted lists", fourcc));
    }
    reader.expect_count(nlist, "nlist of ilar")?;
    reader.expect_count(code_size(dim), "code_size of ilar")?;
    let sizes = read_sizes(reader, nlist)?;
    let total = check_total(reader, header, sizes.iter().map(|&size| size as u128).sum())?;
    // Ids and rows of all lists; more than the file holds is never made room for.
    reader.expect_room(total, code_size(dim).saturating_add(size_of::<i64>()), "the lists")?;
    let mut ids = memory::with_capacity(total, "the ids of the index")?;
    let mut rows = memory::with_capacity(total * dim, "the rows of the index")?;
    for (list, &size) in sizes.iter().enumerate() {
        let first = ids.len();
        reader.rows(&mut rows, size, dim, format_args!("list {list}"))?;
        reader.append(&mut ids, size, format_args!("the ids of list {list}"))?;
        if let Some(id) = ids[first..].iter().find(|&&id| id < 0) {
            return Err(reader.unread(format_args!("list {list} has the id {id}, below 0")));
        }
    }
    InvertedLists::from_parts(dim, &sizes, ids, rows)
}

/// Fails where lists have more rows than their index, or so many fewer that these cannot be rows of NaN, which faiss counts
/// and puts into no list.
pub(super) fn check_total(reader: &Reader, header: &Header, total: u128) -> Result<usize> {
    match (header.ntotal as u128).checked_sub(total) {
        Some(unlisted) if unlisted <= MAX_UNLISTED => Ok(total as usize),
        _ => Err(reader.damaged(format_args!("the lists have {total} rows, the index has {}", header.ntotal))),
    }
}

/// The size of each list, of which a file has either all or those that are not 0.
fn read_sizes(reader: &mut Reader, nlist: usize) -> Result<Vec<usize>> {
    match reader.fourcc("the form of the list sizes")? {
        FourCc::FULL_SIZES => {
            reader.expect_count(nlist, "the number of list sizes")?;
            (0..nlist).map(|list| reader.count(format_args!("the size of list {list}"))).collect()
        }
        FourCc::SPARSE_SIZES => read_sparse_sizes(reader, nlist),
        other => Err(reader.damaged(format_args!("the list sizes open with \"{other}\", where full or sprs belongs"))),
    }
}

fn read_sparse_sizes(reader: &mut Reader, nlist: usize) -> Result<Vec<usize>> {
    let numbers = reader.count("the count of sparse list sizes")?;
    if !numbers.is_multiple_of(2) {
        return Err(reader.damaged(format_args!("the sparse list sizes are {numbers} numbers, which makes no pairs")));
    }
    let mut sizes = memory::zeros(nlist, "the sizes of the lists")?;
    // faiss names the lists in rising order, each once.
    let mut next = 0;
    for _ in 0..numbers / 2 {
        let list = reader.count("a list number of the sparse list sizes")?;
        let size = reader.count(format_args!("the size of list {list}"))?;
        match sizes.get_mut(list).filter(|_| list >= next) {
            Some(slot) => *slot = size,
            None => {
                return Err(reader.damaged(format_args!(
                    "the sparse list sizes name list {list}, where one from {next} on and below {nlist} belongs"
                )));
            }
        }
        next = list + 1;
    }
    Ok(sizes)
}

pub(super) fn write(lists: &InvertedLists, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::ARRAY_LISTS)?;
    out.count(lists.nlist())?;
    out.count(code_size(lists.dim()))?;
    write_sizes(lists, out)?;
    for list in lists.iter() {
        out.items(list.rows)?;
        out.items(list.ids)?;
    }
    Ok(())
}

/// All sizes, or, where at most half of the lists hold a row, a pair (list, size) for each of those.
fn write_sizes(lists: &InvertedLists, out: &mut impl Write) -> io::Result<()> {
    let filled = lists.iter().filter(|list| !list.ids.is_empty()).count();
    if filled > lists.nlist() / 2 {
        out.fourcc(FourCc::FULL_SIZES)?;
        out.count(lists.nlist())?;
        return lists.iter().try_for_each(|list| out.count(list.ids.len()));
    }
    out.fourcc(FourCc::SPARSE_SIZES)?;
    out.count(2 * filled)?;
    for (number, list) in lists.iter().enumerate().filter(|(_, list)| !list.ids.is_empty()) {
        out.count(number)?;
        out.count(list.ids.len())?;
    }
    Ok(())
}

/// Bytes a row: floats as they are.
fn code_size(dim: usize) -> usize {
    dim.saturating_mul(size_of::<f32>())
}
