//! Which rows each query is compared with, and how that work is grouped so that a row is read once for many queries.

use std::ops::Range;

/// Row ranges for each of a batch of queries: one range over all rows for a Flat search, one a probed list for IVF.
#[derive(Clone, Debug, Default)]
pub struct RowRanges {
    ranges: Vec<Range<u32>>,
    /// Query q's ranges are `ranges[ends[q − 1]..ends[q]]`.
    ends: Vec<usize>,
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
    /// Number of the range among the ranges of all queries.
    pub number: usize,
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
        self.ends.clear();
    }

    /// Adds the next query's ranges; they must not overlap, or a row is found twice.
    pub fn push(&mut self, ranges: impl IntoIterator<Item = Range<u32>>) {
        self.ranges.extend(ranges.into_iter().filter(|range| !range.is_empty()));
        self.ends.push(self.ranges.len());
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.ends.len()
    }

    /// The ranges of one query.
    pub(crate) fn of(&self, query: usize) -> &[Range<u32>] {
        &self.ranges[self.start_of(query)..self.ends[query]]
    }

    fn start_of(&self, query: usize) -> usize {
        query.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Number of rows one query is compared with.
    pub(crate) fn candidates(&self, query: usize) -> usize {
        self.of(query).iter().map(|range| range.len()).sum()
    }

    /// Greatest row number named by any range, plus one.
    pub(crate) fn end(&self) -> u32 {
        self.ranges.iter().map(|range| range.end).max().unwrap_or(0)
    }

    /// Puts what some queries visit into `visits`, in the order of the rows and then of the queries: see [`groups`].
    pub(crate) fn visits(&self, queries: Range<usize>, visits: &mut Vec<GroupVisit>) {
        visits.clear();
        for query in queries {
            let mut place = 0;
            for (range, number) in self.of(query).iter().zip(self.start_of(query)..) {
                visits.push(GroupVisit { rows: (range.start, range.end), query: query as u32, place, number });
                place += range.end - range.start;
            }
        }
        visits.sort_unstable_by_key(|visit| (visit.rows, visit.number));
    }
}
