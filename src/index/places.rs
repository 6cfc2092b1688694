//! Where rows stand in lists that lie one behind the other in one array.

use std::slice;

/// Where each list starts, and where the last one ends.
pub(super) fn starts_of(sizes: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(sizes.into_iter().scan(0, |end, size| {
        *end += size;
        Some(*end)
    }));
    starts
}

/// Sizes of the lists once each of `labels` has one more row in its list.
pub(super) fn grown_sizes(sizes: &[usize], labels: &[u32]) -> Vec<usize> {
    let mut sizes = sizes.to_vec();
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    sizes
}

/// The places and the ids of new rows, in the order of their labels.
pub(super) struct NewPlaces<'a> {
    labels: slice::Iter<'a, u32>,
    /// The next free place of each list.
    next: Vec<usize>,
    id: i64,
}

impl<'a> NewPlaces<'a> {
    /// Rows that get the ids from `first_id` on, each at the place that `next` holds for its list.
    pub(super) fn new(labels: &'a [u32], next: Vec<usize>, first_id: i64) -> Self {
        Self { labels: labels.iter(), next, id: first_id }
    }
}

impl Iterator for NewPlaces<'_> {
    type Item = (usize, i64);

    fn next(&mut self) -> Option<Self::Item> {
        let place = &mut self.next[*self.labels.next()? as usize];
        let found = (*place, self.id);
        *place += 1;
        self.id += 1;
        Some(found)
    }
}
