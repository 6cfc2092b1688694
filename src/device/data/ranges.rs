//! Which rows each query is compared with, and how that work is grouped so that a row is read once for many queries.

use std::ops::Range;
use std::sync::Arc;

use super::buffer::Buffer;

/// Row ranges for each of a batch of queries: one range over all rows for a Flat search, one a probed list for IVF.
#[derive(Clone, Debug, Default)]
pub struct RowRanges {
    ranges: Vec<Range<u32>>,
    /// Number of each range among all that were pushed, empty ones too.
    numbers: Vec<u32>,
    pushed: u32,
    /// Query q's ranges are `ranges[ends[q − 1]..ends[q]]`.
    ends: Vec<usize>,
    /// Stands for all of them on a GPU, where the probes lie that they are made from.
    pub(crate) visited: Option<Visited>,
}

/// Lists that queries visit, as far as the host knows.
#[derive(Clone, Debug)]
pub(crate) struct Visited {
    pub lists: ListPlaces,
    /// Queries × nprobe lists; a number that no list has stands for none.
    pub probes: Buffer<u32>,
    pub nprobe: usize,
    /// Rows that a query is compared with, at most.
    pub room: usize,
}

/// Where the rows of lists stand, made resident on a device for [`Device::list_ranges_into`].
#[derive(Clone, Debug)]
pub(crate) struct ListPlaces {
    /// First row and number of rows of each list.
    pub places: Buffer<[u32; 2]>,
    /// Numbers of rows, the largest first.
    pub sizes: Arc<Vec<u32>>,
    pub end: u32,
}

impl ListPlaces {
    /// Number of lists.
    pub fn nlist(&self) -> usize {
        self.sizes.len()
    }

    /// Pieces of up to `rows` rows that `lists` of the lists are cut into, at most.
    pub fn most_pieces(&self, lists: usize, rows: u32) -> usize {
        self.sizes.iter().take(lists).map(|size| size.div_ceil(rows) as usize).sum()
    }
}

/// One row range and the queries that are compared with it.
pub(crate) struct Group<'a> {
    pub rows: Range<u32>,
    pub visits: &'a [GroupVisit],
}

/// A query of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupVisit {
    rows: (u32, u32),
    pub query: u32,
    /// Where the range's first row stands among all candidates of the query.
    pub place: u32,
    /// Number of the range among the ranges of all queries, empty ones too.
    pub number: u32,
}

/// Visits in the order of the rows as groups.
pub(crate) fn groups(visits: &[GroupVisit]) -> impl Iterator<Item = Group<'_>> {
    let group = |visits: &'_ [GroupVisit]| -> Range<u32> { visits[0].rows.0..visits[0].rows.1 };
    visits.chunk_by(|a, b| a.rows == b.rows).map(move |visits| Group { rows: group(visits), visits })
}

impl RowRanges {
    /// The same single range for `queries` queries.
    pub fn all(queries: usize, rows: u32) -> Self {
        let mut all = Self::default();
        for _ in 0..queries {
            all.push(std::iter::once(0..rows));
        }
        all
    }

    /// Makes this ranges of no queries, in the memory it has.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.numbers.clear();
        self.ends.clear();
        (self.pushed, self.visited) = (0, None);
    }

    /// Adds the next query's ranges; they must not overlap, or a row is found twice.
    pub fn push(&mut self, ranges: impl IntoIterator<Item = Range<u32>>) {
        for range in ranges {
            if !range.is_empty() {
                self.ranges.push(range);
                self.numbers.push(self.pushed);
            }
            self.pushed += 1;
        }
        self.ends.push(self.ranges.len());
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.visited.as_ref().map_or(self.ends.len(), |visited| visited.probes.len() / visited.nprobe)
    }

    /// The ranges of one query.
    pub(crate) fn of(&self, query: usize) -> &[Range<u32>] {
        &self.ranges[self.start_of(query)..self.ends[query]]
    }

    fn start_of(&self, query: usize) -> usize {
        query.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Number of rows one query is compared with; where that is known on a GPU only, the most that it may be.
    pub(crate) fn candidates(&self, query: usize) -> usize {
        let here = || self.of(query).iter().map(|range| range.len()).sum();
        self.visited.as_ref().map_or_else(here, |visited| visited.room)
    }

    /// Greatest row number named by any range, plus one.
    pub(crate) fn end(&self) -> u32 {
        let here = || self.ranges.iter().map(|range| range.end).max().unwrap_or(0);
        self.visited.as_ref().map_or_else(here, |visited| visited.lists.end)
    }

    /// Puts what some queries visit into `visits`, in the order of the rows and then of the queries: see [`groups`].
    pub(crate) fn visits(&self, queries: Range<usize>, visits: &mut Vec<GroupVisit>) {
        visits.clear();
        for query in queries {
            let mut place = 0;
            for (range, &number) in self.of(query).iter().zip(&self.numbers[self.start_of(query)..]) {
                visits.push(GroupVisit { rows: (range.start, range.end), query: query as u32, place, number });
                place += range.end - range.start;
            }
        }
        visits.sort_unstable_by_key(|visit| (visit.rows, visit.number));
    }
}
