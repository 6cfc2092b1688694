//! New centroids of a k-means: the mean of each cluster's rows. An empty cluster becomes a part of a populous one, and
//! where no rows are to spare its centroid stays.

use crate::device::buffer::{CentroidTable, ClusterSums, Matrix, UpdateTally};
use crate::error::Result;

/// How far the parts of a split cluster move from its centroid, relative (faiss's EPS).
pub(crate) const NUDGE: f32 = 1.0 / 1024.0;

pub(crate) fn centroid_means(
    sums: ClusterSums,
    old: &CentroidTable,
    seed: u32,
    tally: &mut UpdateTally,
) -> Result<Matrix> {
    let name = "centroid_means";
    let ClusterSums { mut sums, counts, .. } = sums;
    let (values, dim) = (sums.data.host_mut(name)?, sums.dim);
    let overflows = values.iter().any(|sum| !sum.is_finite());
    let splits = means(values, counts.host(name)?, old.centroids.data.host(name)?, dim, seed);
    let words = tally.words.host_mut(name)?;
    words[0] += splits as u32;
    words[1] |= u32::from(overflows);
    Ok(sums)
}

/// Makes sums of `dim` floats the new centroids; returns how many empty clusters became parts of others.
pub(crate) fn means(sums: &mut [f32], counts: &[u32], old: &[f32], dim: usize, seed: u32) -> usize {
    for ((sum, old), &count) in sums.chunks_exact_mut(dim).zip(old.chunks_exact(dim)).zip(counts) {
        if count > 0 {
            sum.iter_mut().for_each(|s| *s /= count as f32);
        } else {
            sum.copy_from_slice(old);
        }
    }
    split(sums, counts, dim, seed)
}

/// Puts empty clusters beside populous ones, which k-means then parts (faiss's `split_clusters`).
///
/// All rows of a cluster but one are to spare. Systematic sampling draws as many of them as clusters are empty, evenly
/// spread from a random start, which is `seed` · 2⁻³² of a step: a cluster gives with a probability that grows with its
/// size, and never more than it has.
fn split(centroids: &mut [f32], counts: &[u32], dim: usize, seed: u32) -> usize {
    let empty: Vec<usize> = (0..counts.len()).filter(|&cluster| counts[cluster] == 0).collect();
    let spare_of = |count: u32| u64::from(count.saturating_sub(1));
    let spare: u64 = counts.iter().copied().map(spare_of).sum();
    let served = |before| served(before, empty.len() as u64, spare, seed) as usize;
    let (mut before, mut last) = (0, 0);
    for (donor, &count) in counts.iter().enumerate() {
        before += spare_of(count);
        let first = std::mem::replace(&mut last, served(before));
        for (part, &cluster) in (1_usize..).zip(&empty[first..last]) {
            centroids.copy_within(donor * dim..(donor + 1) * dim, cluster * dim);
            // There are as many directions as dimensions; parts beyond come nearer.
            nudge(&mut centroids[cluster * dim..][..dim], NUDGE / part.div_ceil(dim) as f32, part);
        }
        if last > first {
            nudge(&mut centroids[donor * dim..][..dim], -NUDGE, 1);
        }
    }
    last
}

/// How many of the empty clusters are served by the rows to spare before one of them.
fn served(before: u64, empty: u64, spare: u64, seed: u32) -> u64 {
    if empty >= spare {
        return before;
    }
    // Empty clusters a spare row, in 2⁻³²: the same integers on every device choose the same donors.
    let rate = (empty << 32).div_ceil(spare);
    ((before * rate + u64::from(seed)) >> 32).min(empty)
}

/// Moves a centroid by a Walsh function: these are orthogonal, and the first is faiss's alternation.
fn nudge(centroid: &mut [f32], size: f32, walsh: usize) {
    for (i, value) in centroid.iter_mut().enumerate() {
        *value *= if (i & walsh).count_ones().is_multiple_of(2) { 1.0 + size } else { 1.0 - size };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start after this share of a step.
    fn start(share: f64) -> u32 {
        (share * 2f64.powi(32)) as u32
    }

    #[test]
    fn centroids_are_means_and_an_empty_cluster_takes_half_of_a_populous_one() {
        let mut sums = [9.0, 18.0, 0.0, 0.0, 8.0, 8.0];
        // A cluster of one row is never split.
        assert_eq!(means(&mut sums, &[9, 0, 1], &[7.0; 6], 2, start(0.5)), 1);
        let (up, down) = (1.0 + 1.0 / 1024.0, 1.0 - 1.0 / 1024.0);
        assert_eq!(sums, [down, 2.0 * up, up, 2.0 * down, 8.0, 8.0]);
    }

    #[test]
    fn parts_of_one_cluster_lie_in_different_directions() {
        let mut sums = [[0.0; 4], [0.0; 4], [1024.0 * 1024.0; 4], [0.0; 4], [0.0; 4], [0.0; 4]];
        assert_eq!(means(sums.as_flattened_mut(), &[0, 0, 1024, 0, 0, 0], &[7.0; 24], 4, start(0.25)), 5);
        assert_eq!(sums[0], [1025.0, 1023.0, 1025.0, 1023.0]);
        assert_eq!(sums[1], [1025.0, 1025.0, 1023.0, 1023.0]);
        assert_eq!(sums[2], [1023.0, 1025.0, 1023.0, 1025.0]); // the donor
        assert_eq!(sums[3], [1025.0, 1023.0, 1023.0, 1025.0]);
        assert_eq!(sums[4], [1025.0, 1025.0, 1025.0, 1025.0]);
        assert_eq!(sums[5], [1024.5, 1023.5, 1024.5, 1023.5]); // as the first, but nearer
    }

    #[test]
    fn where_no_rows_are_to_spare_centroids_stay() {
        let mut sums = [2048.0, 0.0, 0.0, 0.0];
        assert_eq!(means(&mut sums, &[2, 0, 0, 0], &[7.0, 8.0, 9.0, 10.0], 1, 0), 1);
        assert_eq!(sums, [1023.0, 1025.0, 9.0, 10.0]);
        let mut none = [0.0; 3];
        assert_eq!(means(&mut none, &[0; 3], &[1.0, 2.0, 3.0], 1, 9), 0);
        assert_eq!(none, [1.0, 2.0, 3.0]);
    }

    /// Of ten rows to spare the first cluster has eight, the third two, and ten starts draw each of them once.
    #[test]
    fn clusters_give_as_often_as_they_have_rows_to_spare() {
        let donors = (0..10).map(|i| {
            let mut centroids = [1.0, 0.0, 1.0, 1.0];
            assert_eq!(split(&mut centroids, &[9, 0, 3, 1], 1, start((f64::from(i) + 0.5) / 10.0)), 1);
            centroids.iter().position(|&c| c < 1.0 && c > 0.5)
        });
        let donors: Vec<_> = donors.flatten().collect();
        assert_eq!(donors.iter().filter(|&&donor| donor == 0).count(), 8, "{donors:?}");
        assert_eq!(donors.iter().filter(|&&donor| donor == 2).count(), 2, "{donors:?}");
    }

    #[test]
    fn every_step_serves_one_cluster_and_all_are_served() {
        for (empty, spare) in [(1, 1), (1, 2), (3, 7), (6, 7), (7, 7), (9, 7), (999, 1000), (65_535, 3_000_001)] {
            for seed in [0, 1, start(0.5), u32::MAX] {
                let counts: Vec<u64> = (0..=spare).map(|before| served(before, empty, spare, seed)).collect();
                assert!(counts.windows(2).all(|w| w[0] <= w[1] && w[1] <= w[0] + 1), "{empty} {spare} {seed}");
                assert_eq!((counts[0], counts[spare as usize]), (0, empty.min(spare)), "{empty} {spare} {seed}");
            }
        }
    }
}
