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
pub(crate) struct Group {
    pub rows: Range<u32>,
    /// Of each query its number and the place of the range's first row among all its candidates.
    pub queries: Vec<(u32, u32)>,
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
        let start = if query == 0 { 0 } else { self.ends[query - 1] };
        &self.ranges[start..self.ends[query]]
    }

    /// Number of rows one query is compared with.
    pub(crate) fn candidates(&self, query: usize) -> usize {
        self.of(query).iter().map(|range| range.len()).sum()
    }

    /// Greatest row number named by any range, plus one.
    pub(crate) fn end(&self) -> u32 {
        self.ranges.iter().map(|range| range.end).max().unwrap_or(0)
    }

    /// The ranges of some queries, each with the queries that share it, in the order of the rows.
    pub(crate) fn groups(&self, queries: Range<usize>) -> Vec<Group> {
        let mut visits = Vec::new();
        for query in queries {
            let mut place = 0;
            for range in self.of(query) {
                visits.push((range.start, range.end, query as u32, place));
                place += range.end - range.start;
            }
        }
        visits.sort_unstable();
        visits
            .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
            .map(|run| Group {
                rows: run[0].0..run[0].1,
                queries: run.iter().map(|&(_, _, query, place)| (query, place)).collect(),
            })
            .collect()
    }
}
