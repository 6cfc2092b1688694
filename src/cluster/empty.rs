//! Empty clusters, which k-means fills by splitting populous ones.

use rand::{Rng, RngExt};

/// How far the halves of a split cluster move apart, relative (faiss's EPS).
const NUDGE: f32 = 1.0 / 1024.0;

/// Gives each empty cluster half of another one, chosen with a probability that grows with its size: both take its
/// centroid, nudged apart (faiss's `split_clusters`). Returns the number of splits.
pub(super) fn split(centroids: &mut [f32], counts: &mut [u32], dim: usize, rng: &mut impl Rng) -> usize {
    let spare: u64 = counts.iter().map(|&count| u64::from(count.saturating_sub(1))).sum();
    let empty: Vec<usize> = (0..counts.len()).filter(|&cluster| counts[cluster] == 0).collect();
    let mut splits = 0;
    for (cluster, left) in empty.into_iter().zip((1..=spare).rev()) {
        // The n-th spare row decides: a cluster of c rows can be halved c − 1 times.
        let mut pick = rng.random_range(0..left);
        let Some(donor) = counts.iter().position(|&count| {
            let spare = u64::from(count.saturating_sub(1));
            let found = pick < spare;
            pick = pick.saturating_sub(spare);
            found
        }) else {
            break;
        };
        for i in 0..dim {
            let value = centroids[donor * dim + i];
            let nudge = if i % 2 == 0 { NUDGE } else { -NUDGE };
            centroids[cluster * dim + i] = value * (1.0 + nudge);
            centroids[donor * dim + i] = value * (1.0 - nudge);
        }
        counts[cluster] = counts[donor] / 2;
        counts[donor] -= counts[cluster];
        splits += 1;
    }
    splits
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn an_empty_cluster_takes_half_of_a_populous_one() {
        let mut centroids = vec![1.0, 2.0, 0.0, 0.0, 8.0, 8.0];
        let mut counts = vec![9, 0, 1];
        assert_eq!(split(&mut centroids, &mut counts, 2, &mut ChaCha8Rng::seed_from_u64(1)), 1);
        assert_eq!(counts, [5, 4, 1]); // a cluster of one row is never split
        let (up, down) = (1.0 + 1.0 / 1024.0, 1.0 - 1.0 / 1024.0);
        assert_eq!(centroids, [down, 2.0 * up, up, 2.0 * down, 8.0, 8.0]);
    }

    #[test]
    fn splitting_ends_when_nothing_is_left_to_split() {
        let mut counts = vec![2, 0, 0, 0];
        assert_eq!(split(&mut [1.0; 4], &mut counts, 1, &mut ChaCha8Rng::seed_from_u64(1)), 1);
        let mut none = vec![0; 3];
        assert_eq!(split(&mut [1.0; 3], &mut none, 1, &mut ChaCha8Rng::seed_from_u64(1)), 0);
    }

    #[test]
    fn many_splits_keep_every_row() {
        let mut counts = vec![0; 100];
        counts[3] = 70;
        counts[40] = 500;
        let splits = split(&mut [1.0; 100], &mut counts, 1, &mut ChaCha8Rng::seed_from_u64(5));
        assert_eq!(splits, 98);
        assert_eq!(counts.iter().sum::<u32>(), 570);
        assert!(counts.iter().all(|&count| count > 0));
    }
}
