//! New centroids of a k-means: means, and halves of populous clusters for empty ones.

use super::Failed;
use crate::device::{ClusterSums, Device, HostTally, Matrix};
use crate::factory::Metric;

use super::oracle::{DIMS, close, ensure};
use super::{Listed, Run};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    let mut case = |name: String, counts: Vec<u32>, groups: usize, dim: usize| {
        let seeds = if counts.len() < 1000 { &[0, 1 << 31, 0xdead_beef, u32::MAX][..] } else { &[5] };
        let run: Run = Box::new(move |device| seeds.iter().try_for_each(|&s| check(device, &counts, groups, dim, s)));
        cases.push((name, run));
    };
    for dim in DIMS {
        case(format!("d{dim}"), vec![5, 0, 1, 40, 0, 0, 2, 17], 1, dim);
        case(format!("5_groups_of_16_d{dim}"), uneven(5 * 16), 5, dim);
    }
    case("no_cluster_is_empty".into(), vec![1, 7, 2, 30], 1, 5);
    case("every_cluster_is_empty".into(), vec![0; 7], 1, 5);
    case("one_centroid".into(), vec![9], 1, 3);
    case("one_centroid_without_rows".into(), vec![0], 1, 3);
    case("more_are_empty_than_rows_are_to_spare".into(), vec![0, 3, 0, 0, 1, 2, 0, 0, 0], 1, 6);
    case("none_are_to_spare".into(), vec![0, 1, 1, 0], 1, 2);
    case("as_many_are_empty_as_are_to_spare".into(), vec![0, 3, 0, 0, 1, 2], 1, 2);
    case(
        "one_is_empty_and_many_could_give".into(),
        (0..600).map(|i| u32::from(i != 411) * (1 + i % 3)).collect(),
        1,
        2,
    );
    for nlist in [255, 256, 257, 511, 600] {
        case(format!("half_of_{nlist}"), (0..nlist).map(|i| if i % 2 == 0 { 0 } else { 1 + i % 5 }).collect(), 1, 4);
    }
    for (nlist, rows) in [(255, 2000), (257, 258), (600, 2000), (3000, 4000), (3000, 2000)] {
        let counts = (0..nlist).map(|i| u32::from(i == 70) * rows).collect();
        case(format!("{rows}_rows_in_one_of_{nlist}"), counts, 1, 3);
    }
    case("groups_do_not_give_to_others".into(), vec![9, 1, 0, 0, 1, 1, 1, 0, 0, 1, 2, 2], 3, 2);
    case("a_centroid_a_group".into(), vec![3, 0, 1, 9, 0], 5, 2);
    case("37_groups_of_16".into(), uneven(37 * 16), 37, 2);
    case("3_groups_of_300".into(), uneven(3 * 300), 3, 2);
    case("384_groups_of_16".into(), (0..384 * 16).map(|i| u32::from(i % 16 == i / 16 % 16) * 4).collect(), 384, 2);
    cases.push(("many_are_empty".into(), Box::new(many_are_empty)));
    cases.push(("updates_add_up".into(), Box::new(updates_add_up)));
    cases.push(("overflow_is_told".into(), Box::new(overflow)));
    cases.push(("other_shapes".into(), Box::new(other_shapes)));
    cases
}

/// Rows of clusters, some of many and some of none.
fn uneven(nlist: u32) -> Vec<u32> {
    (0..nlist).map(|i| (i * i % 11).saturating_sub(3) * u32::from(i / 16 % 4 != 2)).collect()
}

/// Clusters of so many rows each, in float64 where they are not the device's.
struct Clusters {
    old: Vec<f32>,
    uploaded: Matrix,
    sums: ClusterSums,
    means: Vec<Vec<f64>>,
}

/// Rows around centroids that lie on a line, a quarter apart; clusters without rows lie far from all of them.
fn clusters(device: &Device, counts: &[u32], dim: usize) -> Result<Clusters, Failed> {
    let (mut old, mut rows, mut means, mut populated) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (cluster, &count) in counts.iter().enumerate() {
        let place = if count > 0 { populated as f32 / 4.0 } else { -50.0 - (cluster % 97) as f32 / 97.0 };
        populated += u32::from(count > 0);
        let centroid: Vec<f32> = (0..dim).map(|i| if i == 0 { place } else { (i % 5) as f32 + 1.0 }).collect();
        let first = rows.len();
        for row in 0..count {
            rows.extend(centroid.iter().enumerate().map(|(i, c)| c + ((row as usize + i) % 8) as f32 / 256.0));
        }
        let sum = |i: usize| rows[first..].iter().skip(i).step_by(dim).map(|&x| f64::from(x)).sum::<f64>();
        means.push((0..dim).map(|i| sum(i) / f64::from(count)).collect());
        old.extend(centroid);
    }
    let uploaded = device.upload(&old, dim)?;
    let table = device.centroid_table_of(uploaded.clone(), Metric::L2, None)?;
    let rows = device.upload(&rows, dim)?;
    let mut sums = device.cluster_sums(counts.len(), dim)?;
    device.centroid_update(&rows, &device.nearest_centroid(&rows, &table)?, &mut sums)?;
    let found = device.download_sums(&sums)?.counts;
    ensure(found == counts, || format!("the rows fell otherwise than they should: {found:?}"))?;
    Ok(Clusters { old, uploaded, sums, means })
}

/// PCG's hash, in words of 64 bits.
fn hash(input: u64) -> u64 {
    let state = (input * 747_796_405 + 2_891_336_453) % (1 << 32);
    let word = (((state >> ((state >> 28) + 4)) ^ state) * 277_803_737) % (1 << 32);
    (word >> 22) ^ word
}

/// What each cluster's centroid should be, in float64, and the number of splits: cluster by cluster, a row of all that
/// its group has to spare is drawn for an empty one, and the row's owner is halved.
fn expected(counts: &[u32], clusters: &Clusters, groups: usize, dim: usize, seed: u32) -> (Vec<f64>, usize) {
    let (mut counts, mut splits) = (counts.to_vec(), 0);
    let stays = |cluster: usize| clusters.old[cluster * dim..][..dim].iter().map(|&c| f64::from(c)).collect();
    let mean = |cluster: usize| if counts[cluster] > 0 { clusters.means[cluster].clone() } else { stays(cluster) };
    let mut centroids: Vec<Vec<f64>> = (0..counts.len()).map(mean).collect();
    let group = counts.len() / groups;
    for group in (0..groups).map(|number| number * group..(number + 1) * group) {
        for cluster in group.clone() {
            if counts[cluster] > 0 {
                continue;
            }
            let spare_of = |owner| std::iter::repeat_n(owner, (counts[owner] as usize).max(1) - 1);
            let owners: Vec<usize> = group.clone().flat_map(spare_of).collect();
            if owners.is_empty() {
                break;
            }
            let drawn = hash((hash(cluster as u64) + u64::from(seed)) % (1 << 32));
            let donor = owners[((drawn * owners.len() as u64) >> 32) as usize];
            counts[cluster] = counts[donor] / 2;
            counts[donor] -= counts[cluster];
            let nudged = |size: f64| {
                let sign = |i: usize| if i.is_multiple_of(2) { size } else { -size };
                centroids[donor].iter().enumerate().map(|(i, c)| c * (1.0 + sign(i) / 1024.0)).collect::<Vec<_>>()
            };
            (centroids[cluster], centroids[donor]) = (nudged(1.0), nudged(-1.0));
            splits += 1;
        }
    }
    (centroids.concat(), splits)
}

fn check(device: &Device, counts: &[u32], groups: usize, dim: usize, seed: u32) -> Result<(), Failed> {
    let clusters = clusters(device, counts, dim)?;
    let (expected, splits) = expected(counts, &clusters, groups, dim, seed);
    let mut tally = device.update_tally()?;
    let found = device.centroid_means(clusters.sums, &clusters.uploaded, groups, seed, &mut tally)?;
    let found = device.download_matrix(&found)?;
    ensure(found.len() == expected.len(), || format!("{} floats", found.len()))?;
    for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        close(found, expected, 1e-7, || format!("seed {seed}: centroid {}, float {}", i / dim, i % dim))?;
    }
    let tally = device.download_tally(&tally)?;
    ensure(tally == HostTally { splits, overflowed: false }, || format!("{tally:?}, expected {splits} splits"))
}

/// More than one dimension of a grid holds, and fewer rows to spare than empty clusters.
fn many_are_empty(device: &Device) -> Result<(), Failed> {
    let mut counts = vec![0; 33_000];
    (counts[0], counts[20_001], counts[32_999]) = (90, 7, 40);
    check(device, &counts, 1, 1, 5)
}

fn updates_add_up(device: &Device) -> Result<(), Failed> {
    let mut tally = device.update_tally()?;
    for counts in [&[0, 9, 0][..], &[4, 2], &[0, 2, 0, 0]] {
        let clusters = clusters(device, counts, 3)?;
        device.centroid_means(clusters.sums, &clusters.uploaded, 1, 7, &mut tally)?;
    }
    let tally = device.download_tally(&tally)?;
    ensure(tally == HostTally { splits: 3, overflowed: false }, || format!("{tally:?}"))
}

fn overflow(device: &Device) -> Result<(), Failed> {
    let old = device.upload(&[0.0; 10], 5)?;
    let table = device.centroid_table_of(old.clone(), Metric::L2, None)?;
    let mut tally = device.update_tally()?;
    for (value, overflowed) in [(1e38, false), (2e38, true), (1.0, true)] {
        let rows = device.upload(&[0.0, 0.0, 0.0, 0.0, value].repeat(3)[..10], 5)?;
        let mut sums = device.cluster_sums(2, 5)?;
        device.centroid_update(&rows, &device.nearest_centroid(&rows, &table)?, &mut sums)?;
        device.centroid_means(sums, &old, 1, 7, &mut tally)?;
        let told = device.download_tally(&tally)?;
        ensure(told.overflowed == overflowed, || format!("twice {value}: {told:?}"))?;
    }
    Ok(())
}

fn other_shapes(device: &Device) -> Result<(), Failed> {
    let old = device.upload(&[0.0; 12], 3)?;
    for (nlist, dim, groups) in [(3, 3, 1), (4, 4, 1), (12, 1, 1), (4, 3, 0), (4, 3, 3), (4, 3, 8)] {
        let sums = device.cluster_sums(nlist, dim)?;
        let taken = device.centroid_means(sums, &old, groups, 0, &mut device.update_tally()?);
        ensure(taken.is_err(), || format!("{groups} groups of {nlist} × {dim} sums were taken for 4 centroids of 3"))?;
    }
    Ok(())
}
