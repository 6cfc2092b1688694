//! How evenly rows fall to their lists.

use serde::Serialize;

use super::{BlockLists, InvertedLists};

/// The sizes of inverted lists, summed up. Uneven lists make some searches slow and others poor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListSpread {
    /// Rows in the smallest list.
    pub min: usize,
    /// Rows a list.
    pub mean: f64,
    /// As many lists are smaller as are larger.
    pub median: f64,
    /// Rows in the largest list.
    pub max: usize,
    /// Lists without a row.
    pub empty: usize,
    /// faiss's imbalance factor, nlist·Σs² / (Σs)² over the list sizes s: 1 where all are equal, 2 where a search visits
    /// twice as many rows. None without rows.
    pub imbalance: Option<f64>,
}

impl InvertedLists {
    /// How evenly rows fell to the lists.
    pub fn spread(&self) -> ListSpread {
        ListSpread::of(self.iter().map(|list| list.ids.len()).collect())
    }
}

impl BlockLists {
    /// How evenly rows fell to the lists.
    pub fn spread(&self) -> ListSpread {
        ListSpread::of(self.sizes().to_vec())
    }
}

impl ListSpread {
    fn of(mut sizes: Vec<usize>) -> Self {
        sizes.sort_unstable();
        let (nlist, ntotal) = (sizes.len() as f64, sizes.iter().sum::<usize>() as f64);
        let squares: f64 = sizes.iter().map(|&size| (size as f64).powi(2)).sum();
        let middle = [sizes.len().saturating_sub(1) / 2, sizes.len() / 2].map(|at| sizes.get(at).copied().unwrap_or(0));
        Self {
            min: sizes.first().copied().unwrap_or(0),
            mean: ntotal / nlist.max(1.0),
            median: (middle[0] as f64 + middle[1] as f64) / 2.0,
            max: sizes.last().copied().unwrap_or(0),
            empty: sizes.partition_point(|&size| size == 0),
            imbalance: (ntotal > 0.0).then(|| nlist * squares / ntotal.powi(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(sizes: &[usize]) -> ListSpread {
        let rows = sizes.iter().sum();
        InvertedLists::from_parts(1, sizes, (0..rows as i64).collect(), vec![0.0; rows]).unwrap().spread()
    }

    #[test]
    fn sums_up_the_sizes() {
        let expected = ListSpread { min: 0, mean: 1.5, median: 1.0, max: 4, empty: 1, imbalance: Some(2.0) };
        assert_eq!(spread(&[4, 0, 1, 1]), expected);
        assert_eq!(spread(&[2, 2, 2]).imbalance, Some(1.0));
        assert_eq!(spread(&[1, 5, 3]).median, 3.0);
    }

    #[test]
    fn lists_without_rows_have_no_imbalance() {
        let nothing = ListSpread { min: 0, mean: 0.0, median: 0.0, max: 0, empty: 2, imbalance: None };
        assert_eq!(spread(&[0, 0]), nothing);
        assert_eq!(spread(&[]), ListSpread { empty: 0, ..nothing });
    }
}
