//! Inverted lists of 4-bit codes: for each centroid the ids and the blocks of the rows that fell to it.

use std::ops::Range;

use super::code_blocks::{CodeBlocks, count_codes};
use super::places::{NewPlaces, grown_sizes, starts_of};
use crate::device::BLOCK_ROWS;
use crate::error::{Error, Result};
use crate::memory;

/// What stands for an id where a block has no row.
const NO_ID: i64 = -1;

/// nlist lists of whole blocks, one behind the other in one array: a device takes them over as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockLists {
    /// List i is blocks `starts[i]..starts[i + 1]`; nlist + 1 of them.
    starts: Vec<usize>,
    /// Rows of each list.
    sizes: Vec<usize>,
    /// One a place, [`NO_ID`] behind the rows of a list.
    ids: Vec<i64>,
    codes: CodeBlocks,
}

/// One list: `ids.len()` rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockList<'a> {
    /// faiss ids of the rows.
    pub ids: &'a [i64],
    /// The blocks of the rows, the last one filled up with zeros.
    pub blocks: &'a [u8],
}

impl BlockLists {
    /// `nlist` lists with a flat code for each of `labels`, which names its list. The codes get the ids from 0 on.
    ///
    /// # Errors
    /// [`Error::Parameter`] where M is 0, a label is no list, or there is not one code for each label.
    pub fn from_codes(m: usize, nlist: usize, labels: &[u32], codes: &[u8]) -> Result<Self> {
        let found = count_codes(m, codes)?;
        if found != labels.len() {
            let found = format!("{found} for {} labels", labels.len());
            return Err(Error::parameter("codes", found, "pass one for each label"));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= nlist) {
            return Err(Error::parameter("labels", label, format!("there are {nlist} lists")));
        }
        let empty = Self::with_sizes(m, vec![0; nlist])?;
        let mut grown = empty.grown(labels, 0)?;
        grown.put(codes);
        Ok(grown.finish())
    }

    /// Lists of the given sizes, whose blocks come list by list; `ids` are those of the rows alone.
    pub(crate) fn from_blocks(sizes: Vec<usize>, ids: &[i64], codes: CodeBlocks) -> Result<Self> {
        let starts = starts_of(sizes.iter().map(|size| size.div_ceil(BLOCK_ROWS)));
        let rows = sizes.iter().sum::<usize>();
        if starts[sizes.len()] != codes.blocks() || rows != ids.len() {
            let found = format!("{} ids and {} blocks for {rows} rows", ids.len(), codes.blocks());
            return Err(Error::parameter("lists", found, "pass an id for each row, and the blocks that rows need"));
        }
        let mut lists = Self { ids: no_ids(codes.blocks())?, starts, sizes, codes };
        let mut rest = ids;
        for list in 0..lists.nlist() {
            let places = lists.places(list);
            let (ids, behind) = rest.split_at(places.len());
            lists.ids[places].copy_from_slice(ids);
            rest = behind;
        }
        Ok(lists)
    }

    /// Number of lists.
    pub fn nlist(&self) -> usize {
        self.sizes.len()
    }

    /// Rows in all lists together.
    pub fn ntotal(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// Rows of each list.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The block that each list starts with, and how many there are.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The id of each place in the blocks, −1 where there is no row.
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// The blocks, list by list.
    pub fn codes(&self) -> &CodeBlocks {
        &self.codes
    }

    /// The places of a list's rows in the blocks.
    pub fn places(&self, list: usize) -> Range<usize> {
        let start = self.starts[list] * BLOCK_ROWS;
        start..start + self.sizes[list]
    }

    /// The lists, in the order of their centroids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BlockList<'_>> {
        let bytes = self.codes.block_bytes();
        (0..self.nlist()).map(move |list| BlockList {
            ids: &self.ids[self.places(list)],
            blocks: &self.codes.bytes()[self.starts[list] * bytes..self.starts[list + 1] * bytes],
        })
    }

    /// These lists with room for one more row for each of `labels`, which get the ids from `first_id`
    /// on. The codes themselves follow through [`GrownBlocks::put`], in the order of the labels. Arrays are made once,
    /// at their final size.
    pub(crate) fn grown<'a>(&self, labels: &'a [u32], first_id: i64) -> Result<GrownBlocks<'a>> {
        let mut lists = Self::with_sizes(self.codes.m(), grown_sizes(&self.sizes, labels))?;
        let mut next = Vec::with_capacity(self.nlist());
        for (number, list) in self.iter().enumerate() {
            let places = lists.places(number);
            lists.ids[places.start..][..list.ids.len()].copy_from_slice(list.ids);
            lists.codes.copy_blocks(lists.starts[number], list.blocks);
            next.push(places.start + list.ids.len());
        }
        Ok(GrownBlocks { places: NewPlaces::new(labels, next, first_id), lists })
    }

    fn with_sizes(m: usize, sizes: Vec<usize>) -> Result<Self> {
        let starts = starts_of(sizes.iter().map(|size| size.div_ceil(BLOCK_ROWS)));
        let blocks = starts[sizes.len()];
        Ok(Self { starts, sizes, ids: no_ids(blocks)?, codes: CodeBlocks::zeroed(m, blocks)? })
    }
}

fn no_ids(blocks: usize) -> Result<Vec<i64>> {
    memory::filled(blocks.saturating_mul(BLOCK_ROWS), NO_ID, "the ids of the index")
}

/// Lists with places that still wait for their codes.
pub(crate) struct GrownBlocks<'a> {
    lists: BlockLists,
    places: NewPlaces<'a>,
}

impl GrownBlocks<'_> {
    /// Takes the next flat codes.
    pub fn put(&mut self, codes: &[u8]) {
        let BlockLists { ids, codes: blocks, .. } = &mut self.lists;
        let places = self.places.by_ref().map(|(place, id)| {
            ids[place] = id;
            place
        });
        blocks.pack(places, codes);
    }

    /// The lists, once every label has its code.
    pub fn finish(self) -> BlockLists {
        self.lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists_of(lists: &BlockLists) -> Vec<(Vec<i64>, Vec<u8>)> {
        let codes = (0..lists.nlist()).map(|list| lists.codes().unpack(lists.places(list)));
        lists.iter().map(|list| list.ids.to_vec()).zip(codes).collect()
    }

    #[test]
    fn codes_fill_up_the_blocks_of_their_list() {
        // 40 rows for list 2, 31 for list 0, then one more for each of three lists, in two batches.
        let labels = [[2; 40].as_slice(), &[0; 31]].concat();
        let codes: Vec<u8> = (0..71).collect();
        let mut lists = BlockLists::from_codes(2, 4, &labels, &codes).unwrap();
        let mut grown = lists.grown(&[0, 3, 2], 71).unwrap();
        grown.put(&[100]);
        grown.put(&[101, 102]);
        lists = grown.finish();
        let expected = [
            ((40..72).collect(), (40..71).chain([100]).collect()),
            (vec![], vec![]),
            ((0..40).chain([73]).collect(), (0..40).chain([102]).collect()),
            (vec![72], vec![101]),
        ];
        assert_eq!(lists_of(&lists), expected);
        assert_eq!((lists.sizes(), lists.starts()), (&[32, 0, 41, 1][..], &[0, 1, 1, 3, 4][..]));
        assert_eq!((lists.ntotal(), lists.ids()[72..74].to_vec()), (74, vec![73, NO_ID]));
        let ids: Vec<_> = lists.iter().flat_map(|list| list.ids).copied().collect();
        let again = BlockLists::from_blocks(lists.sizes().to_vec(), &ids, lists.codes().clone()).unwrap();
        assert_eq!(again, lists);
    }

    #[test]
    fn parts_that_disagree_are_refused() {
        assert!(BlockLists::from_codes(3, 2, &[0, 1], &[0; 4]).is_ok());
        assert!(BlockLists::from_codes(3, 2, &[0, 1], &[0; 2]).is_err());
        assert!(BlockLists::from_codes(3, 2, &[0, 1], &[0; 3]).is_err());
        assert!(BlockLists::from_codes(3, 2, &[0, 2], &[0; 4]).is_err());
        assert!(BlockLists::from_codes(0, 2, &[], &[]).is_err());
        let blocks = |count: usize| CodeBlocks::new(2, vec![0; 32 * count]).unwrap();
        assert!(BlockLists::from_blocks(vec![33, 1], &[0; 34], blocks(3)).is_ok());
        assert!(BlockLists::from_blocks(vec![33, 1], &[0; 33], blocks(3)).is_err());
        assert!(BlockLists::from_blocks(vec![33, 1], &[0; 34], blocks(2)).is_err());
    }
}
