//! New centroids of a k-means, or of several side by side: the mean of each cluster's rows, and halves of populous
//! clusters for empty ones.

use crate::device::data::buffer::{ClusterSums, Matrix, NUDGE, UpdateTally};
use crate::error::Result;

pub(crate) fn centroid_means(
    sums: ClusterSums,
    old: &Matrix,
    groups: usize,
    seed: u32,
    tally: &mut UpdateTally,
) -> Result<Matrix> {
    let name = "centroid_means";
    let ClusterSums { mut sums, mut counts, .. } = sums;
    let (values, dim, group) = (sums.data.host_mut(name)?, sums.dim, sums.rows / groups);
    let (counts, old, words) = (counts.host_mut(name)?, old.data.host(name)?, tally.words.host_mut(name)?);
    words[1] |= u32::from(values.iter().any(|sum| !sum.is_finite()));
    place_means(values, counts, old, dim);
    for (number, (centroids, counts)) in values.chunks_mut(group * dim).zip(counts.chunks_mut(group)).enumerate() {
        words[0] += halve(centroids, counts, dim, |cluster| draw(seed, (number * group + cluster) as u32));
    }
    Ok(sums)
}

/// Makes sums of `dim` floats means; a cluster without rows keeps its centroid.
fn place_means(sums: &mut [f32], counts: &[u32], old: &[f32], dim: usize) {
    for ((sum, old), &count) in sums.chunks_exact_mut(dim).zip(old.chunks_exact(dim)).zip(counts) {
        if count > 0 {
            sum.iter_mut().for_each(|s| *s /= count as f32);
        } else {
            sum.copy_from_slice(old);
        }
    }
}

/// Gives each empty cluster half of another one, chosen with a probability that grows with its size: both take its
/// centroid, nudged apart (faiss's `split_clusters`). `random` draws for a cluster. Returns the number of splits.
fn halve(centroids: &mut [f32], counts: &mut [u32], dim: usize, random: impl Fn(usize) -> u32) -> u32 {
    let empty: Vec<usize> = (0..counts.len()).filter(|&cluster| counts[cluster] == 0).collect();
    // A cluster of c rows can be halved c − 1 times, and each time there is one row less to spare.
    let spare_of = |count: u32| count.saturating_sub(1);
    let spare: u32 = if empty.is_empty() { 0 } else { counts.iter().copied().map(spare_of).sum() };
    let mut splits = 0;
    for (cluster, left) in empty.into_iter().zip((1..=spare).rev()) {
        let mut before = ((u64::from(random(cluster)) * u64::from(left)) >> 32) as u32;
        let mut donor = 0;
        while before >= spare_of(counts[donor]) {
            before -= spare_of(counts[donor]);
            donor += 1;
        }
        counts[cluster] = counts[donor] / 2;
        counts[donor] -= counts[cluster];
        for i in 0..dim {
            let value = centroids[donor * dim + i];
            let away = if i % 2 == 0 { NUDGE } else { -NUDGE };
            centroids[cluster * dim + i] = value * (1.0 + away);
            centroids[donor * dim + i] = value * (1.0 - away);
        }
        splits += 1;
    }
    splits
}

fn draw(seed: u32, cluster: u32) -> u32 {
    pcg(pcg(cluster).wrapping_add(seed))
}

/// O'Neill's PCG as a hash of 32 bits (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(input: u32) -> u32 {
    let state = input.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Halves with draws of one seed.
    fn halve_by(centroids: &mut [f32], counts: &mut [u32], dim: usize, seed: u32) -> u32 {
        halve(centroids, counts, dim, |cluster| draw(seed, cluster as u32))
    }

    #[test]
    fn an_empty_cluster_takes_half_of_a_populous_one() {
        let (mut centroids, mut counts) = ([9.0, 18.0, 0.0, 0.0, 8.0, 8.0], [9, 0, 1]);
        place_means(&mut centroids, &counts, &[7.0; 6], 2);
        assert_eq!(centroids, [1.0, 2.0, 7.0, 7.0, 8.0, 8.0]);
        assert_eq!(halve_by(&mut centroids, &mut counts, 2, 1), 1);
        assert_eq!(counts, [5, 4, 1]); // a cluster of one row is never split
        let (up, down) = (1.0 + 1.0 / 1024.0, 1.0 - 1.0 / 1024.0);
        assert_eq!(centroids, [down, 2.0 * up, up, 2.0 * down, 8.0, 8.0]);
    }

    #[test]
    fn halving_ends_when_no_rows_are_to_spare() {
        let mut counts = [2, 0, 0, 0];
        assert_eq!(halve_by(&mut [1.0; 4], &mut counts, 1, 1), 1);
        assert_eq!(counts, [1, 1, 0, 0]);
        assert_eq!(halve_by(&mut [1.0; 3], &mut [0; 3], 1, 1), 0);
    }

    #[test]
    fn many_splits_keep_every_row() {
        let mut counts = [0; 100];
        counts[3] = 70;
        counts[40] = 500;
        assert_eq!(halve_by(&mut [1.0; 100], &mut counts, 1, 5), 98);
        assert_eq!(counts.iter().sum::<u32>(), 570);
        assert!(counts.iter().all(|&count| count > 0));
    }

    /// Of ten rows to spare the first cluster has eight, the third two.
    #[test]
    fn clusters_give_as_often_as_they_have_rows_to_spare() {
        let donor_is_first = |seed: &u32| {
            let mut counts = [9, 0, 3, 1];
            halve_by(&mut [1.0; 4], &mut counts, 1, *seed);
            counts[0] < 9
        };
        let given = (0..10_000).filter(donor_is_first).count();
        assert!((7_850..8_150).contains(&given), "{given}");
    }
}
