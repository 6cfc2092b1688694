//! Rows that a query passes over: neither found nor to be found.

use std::ops::Range;

/// Rows that a query passes over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PassedOver {
    /// In ascending order, apart from each other.
    ranges: Vec<Range<usize>>,
}

impl PassedOver {
    /// The rows of all `ranges`, which may overlap.
    pub fn new(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
        Self { ranges }
    }

    pub fn contains(&self, row: usize) -> bool {
        let next = self.ranges.partition_point(|range| range.end <= row);
        self.ranges.get(next).is_some_and(|range| range.start <= row)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The rows of `rows` that are not passed over.
    pub fn others(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let inside = move |row: usize| row.clamp(rows.start, rows.end);
        let starts = [0].into_iter().chain(self.ranges.iter().map(|range| range.end));
        let ends = self.ranges.iter().map(|range| range.start).chain([usize::MAX]);
        starts.zip(ends).map(move |(start, end)| inside(start)..inside(end)).filter(|range| !range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_passed_over() {
        let passed = PassedOver::new(vec![7..9, 2..4, 3..5, 5..6, 8..8, 8..9]);
        assert_eq!((&passed.ranges[..], passed.len()), (&[2..6, 7..9][..], 6));
        let contained: Vec<usize> = (0..12).filter(|&row| passed.contains(row)).collect();
        assert_eq!(contained, [2, 3, 4, 5, 7, 8]);
        let others = |passed: &PassedOver, rows| passed.others(rows).flatten().collect::<Vec<_>>();
        assert_eq!(others(&passed, 0..12), [0, 1, 6, 9, 10, 11]);
        assert_eq!(others(&passed, 3..7), [6]);
        assert_eq!(others(&PassedOver::new(Vec::new()), 3..7), [3, 4, 5, 6]);
    }
}
