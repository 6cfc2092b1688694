//! Block inverted lists (`ilbl`): for each list its ids, then its codes in whole blocks.

use std::io::{self, Write};

use super::fourcc::FourCc;
use super::header::Header;
use super::inverted_lists::check_total;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::device::BLOCK_ROWS;
use crate::error::Result;
use crate::index::{BlockLists, CodeBlocks, ProductQuantizer};
use crate::memory;

/// Stands where other lists say how many bytes a row has: in blocks, rows have no bytes of their own.
const NO_CODE_SIZE: i64 = -1;

/// Reads `nlist` lists of the quantizer's codes, as many as the index header says or fewer.
pub(super) fn read(reader: &mut Reader, header: &Header, nlist: usize, pq: &ProductQuantizer) -> Result<BlockLists> {
    let block_bytes = read_head(reader, nlist, pq)?;
    // Two counts for each list and an id for each row; more than the file holds is never made room for.
    reader.expect_room(nlist, 2 * size_of::<u64>(), "the lists")?;
    let most_rows = header.ntotal.min(reader.room_for(size_of::<i64>()));
    let mut sizes = memory::with_capacity(nlist, "the sizes of the lists")?;
    let mut ids = memory::with_capacity(most_rows, "the ids of the index")?;
    // All blocks are full but for one a list at most.
    let most_blocks = most_rows / BLOCK_ROWS + nlist;
    let most_bytes = most_blocks.min(reader.room_for(block_bytes)) * block_bytes;
    let mut bytes = memory::with_capacity(most_bytes, "the codes of the index")?;
    for list in 0..nlist {
        let size = reader.count(format_args!("the number of ids of list {list}"))?;
        if size > header.ntotal - ids.len() {
            let found = format_args!("list {list} has {size} ids, more than the index's {} leave", header.ntotal);
            return Err(reader.damaged(found));
        }
        let first = ids.len();
        reader.append(&mut ids, size, format_args!("the ids of list {list}"))?;
        if let Some(id) = ids[first..].iter().find(|&&id| id < 0) {
            return Err(reader.unread(format_args!("list {list} has the id {id}, below 0")));
        }
        let blocks = size.div_ceil(BLOCK_ROWS).saturating_mul(block_bytes);
        reader.expect_count(blocks, format_args!("the number of bytes in the blocks of list {list}"))?;
        reader.append(&mut bytes, blocks, format_args!("the blocks of list {list}"))?;
        sizes.push(size);
    }
    check_total(reader, header, ids.len() as u128)?;
    BlockLists::from_blocks(sizes, &ids, CodeBlocks::new(pq.m(), bytes)?)
}

/// Reads what stands before the lists, and returns the bytes of a block.
fn read_head(reader: &mut Reader, nlist: usize, pq: &ProductQuantizer) -> Result<usize> {
    let fourcc = reader.fourcc("the type of the inverted lists")?;
    if fourcc != FourCc::BLOCK_LISTS {
        return Err(reader.unsupported("what holds the inverted lists", fourcc));
    }
    reader.expect_count(nlist, "nlist of ilbl")?;
    let code_size = reader.i64("code_size of ilbl")?;
    if code_size != NO_CODE_SIZE {
        return Err(reader.damaged(format_args!("code_size of ilbl is {code_size}, where {NO_CODE_SIZE} belongs")));
    }
    reader.expect_count(BLOCK_ROWS, "the rows of a block of ilbl")?;
    let block_bytes = BLOCK_ROWS * pq.code_size();
    reader.expect_count(block_bytes, "the bytes of a block of ilbl")?;
    Ok(block_bytes)
}

pub(super) fn write(lists: &BlockLists, out: &mut impl Write) -> io::Result<()> {
    out.fourcc(FourCc::BLOCK_LISTS)?;
    out.count(lists.nlist())?;
    out.items(&[NO_CODE_SIZE])?;
    out.count(BLOCK_ROWS)?;
    out.count(lists.codes().block_bytes())?;
    for list in lists.iter() {
        out.counted(list.ids)?;
        out.counted(list.blocks)?;
    }
    Ok(())
}
