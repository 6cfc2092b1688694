//! New centroids of a k-means: means, and parts of populous clusters for empty ones.

use super::Failed;
use crate::device::{CentroidTable, ClusterSums, Device, HostTally};
use crate::factory::Metric;

use super::oracle::{DIMS, close, ensure};
use super::{Listed, Run};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    let mut case = |name: String, counts: Vec<u32>, dim: usize| {
        let seeds = [0, 1 << 31, 0xdead_beef, u32::MAX];
        let run: Run = Box::new(move |device| seeds.into_iter().try_for_each(|seed| check(device, &counts, dim, seed)));
        cases.push((name, run));
    };
    for dim in DIMS {
        case(format!("d{dim}"), vec![5, 0, 1, 40, 0, 0, 2, 17], dim);
    }
    case("no_cluster_is_empty".into(), vec![1, 7, 2, 30], 5);
    case("every_cluster_is_empty".into(), vec![0; 7], 5);
    case("one_centroid".into(), vec![9], 3);
    case("one_centroid_without_rows".into(), vec![0], 3);
    case("more_are_empty_than_rows_are_to_spare".into(), vec![0, 3, 0, 0, 1, 2, 0, 0, 0], 6);
    case("none_are_to_spare".into(), vec![0, 1, 1, 0], 2);
    case("as_many_are_empty_as_are_to_spare".into(), vec![0, 3, 0, 0, 1, 2], 2);
    for nlist in [255, 256, 257, 511, 600] {
        case(format!("half_of_{nlist}"), (0..nlist).map(|i| if i % 2 == 0 { 0 } else { 1 + i % 5 }).collect(), 4);
        case(format!("all_but_one_of_{nlist}"), (0..nlist).map(|i| u32::from(i == 70) * 2000).collect(), 3);
    }
    cases.push(("many_are_empty".into(), Box::new(many_are_empty)));
    cases.push(("updates_add_up".into(), Box::new(updates_add_up)));
    cases.push(("overflow_is_told".into(), Box::new(overflow)));
    cases.push(("sums_of_other_centroids".into(), Box::new(other_sums)));
    cases
}

/// Clusters of so many rows each, in float64 where they are not the device's.
struct Clusters {
    table: CentroidTable,
    old: Vec<f32>,
    sums: ClusterSums,
    means: Vec<Vec<f64>>,
}

/// Rows around centroids that lie on a line, a quarter apart; clusters without rows lie far from all of them.
fn clusters(device: &Device, counts: &[u32], dim: usize) -> Result<Clusters, Failed> {
    let (mut old, mut rows, mut means) = (Vec::new(), Vec::new(), Vec::new());
    for (cluster, &count) in counts.iter().enumerate() {
        let place = if count > 0 { (cluster % 700) as f32 / 4.0 } else { -50.0 - (cluster % 97) as f32 / 97.0 };
        let centroid: Vec<f32> = (0..dim).map(|i| if i == 0 { place } else { (i % 5) as f32 + 1.0 }).collect();
        let first = rows.len();
        for row in 0..count {
            rows.extend(centroid.iter().enumerate().map(|(i, c)| c + ((row as usize + i) % 8) as f32 / 256.0));
        }
        let sum = |i: usize| rows[first..].iter().skip(i).step_by(dim).map(|&x| f64::from(x)).sum::<f64>();
        means.push((0..dim).map(|i| sum(i) / f64::from(count)).collect());
        old.extend(centroid);
    }
    let table = device.centroid_table(&old, dim, Metric::L2)?;
    let rows = device.upload(&rows, dim)?;
    let mut sums = device.cluster_sums(counts.len(), dim)?;
    device.centroid_update(&rows, &device.nearest_centroid(&rows, &table)?, &mut sums)?;
    let found = device.download_sums(&sums)?.counts;
    ensure(found == counts, || format!("the rows fell otherwise than they should: {found:?}"))?;
    Ok(Clusters { table, old, sums, means })
}

/// The donor of each empty cluster that gets one: the owners of the rows that are drawn, exactly.
///
/// With E rows to draw of S, the i-th is the one in which i − start of S / E are passed.
fn donors(counts: &[u32], seed: u32) -> Vec<usize> {
    let owners: Vec<usize> = counts
        .iter()
        .enumerate()
        .flat_map(|(cluster, &n)| std::iter::repeat_n(cluster, (n as usize).max(1) - 1))
        .collect();
    let drawn = owners.len().min(counts.iter().filter(|&&n| n == 0).count());
    let passed = |i: usize| ((i as u128) << 32) - u128::from(seed);
    let row = |i: usize| (passed(i) * owners.len() as u128).div_ceil((drawn as u128) << 32) as usize - 1;
    (1..=drawn).map(|i| owners[row(i)]).collect()
}

/// What each cluster's centroid should be, in float64.
fn expected(counts: &[u32], clusters: &Clusters, dim: usize, seed: u32) -> Vec<f64> {
    let stays = |cluster: usize| clusters.old[cluster * dim..][..dim].iter().map(|&c| f64::from(c)).collect();
    let mean = |cluster: usize| if counts[cluster] > 0 { clusters.means[cluster].clone() } else { stays(cluster) };
    let mut expected: Vec<Vec<f64>> = (0..counts.len()).map(mean).collect();
    let mut empty = (0..counts.len()).filter(|&cluster| counts[cluster] == 0);
    for takers in donors(counts, seed).chunk_by(|a, b| a == b) {
        let mean = &clusters.means[takers[0]];
        let part = |size: f64, number: usize| {
            let nudged = |(i, mean): (usize, &f64)| mean * (1.0 + size / 1024.0 * walsh(number, i));
            mean.iter().enumerate().map(nudged).collect()
        };
        expected[takers[0]] = part(-1.0, 1);
        for (number, cluster) in (1..=takers.len()).zip(empty.by_ref()) {
            expected[cluster] = part(1.0 / (1 + (number - 1) / dim) as f64, number);
        }
    }
    expected.concat()
}

/// Walsh functions in their natural order, as Sylvester makes them: [W, W; W, −W].
fn walsh(number: usize, i: usize) -> f64 {
    if number == 0 || i == 0 {
        return 1.0;
    }
    let both_odd = number % 2 == 1 && i % 2 == 1;
    walsh(number / 2, i / 2) * if both_odd { -1.0 } else { 1.0 }
}

fn check(device: &Device, counts: &[u32], dim: usize, seed: u32) -> Result<(), Failed> {
    let clusters = clusters(device, counts, dim)?;
    let expected = expected(counts, &clusters, dim, seed);
    let mut tally = device.update_tally()?;
    let found = device.centroid_means(clusters.sums, &clusters.table, seed, &mut tally)?;
    let found = device.download_matrix(&found)?;
    ensure(found.len() == expected.len(), || format!("{} floats", found.len()))?;
    for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        close(found, expected, 1e-7, || format!("seed {seed}: centroid {}, float {}", i / dim, i % dim))?;
    }
    let tally = device.download_tally(&tally)?;
    let splits = donors(counts, seed).len();
    ensure(tally == HostTally { splits, overflowed: false }, || format!("{tally:?}, expected {splits} splits"))
}

/// More than one dimension of a grid holds, and fewer rows to spare than empty clusters.
fn many_are_empty(device: &Device) -> Result<(), Failed> {
    let mut counts = vec![0; 33_000];
    (counts[0], counts[20_001], counts[32_999]) = (90, 7, 40);
    check(device, &counts, 1, 5)
}

fn updates_add_up(device: &Device) -> Result<(), Failed> {
    let mut tally = device.update_tally()?;
    for counts in [&[0, 9, 0][..], &[4, 2], &[0, 2, 0, 0]] {
        let clusters = clusters(device, counts, 3)?;
        device.centroid_means(clusters.sums, &clusters.table, 7, &mut tally)?;
    }
    let tally = device.download_tally(&tally)?;
    ensure(tally == HostTally { splits: 3, overflowed: false }, || format!("{tally:?}"))
}

fn overflow(device: &Device) -> Result<(), Failed> {
    let table = device.centroid_table(&[0.0; 10], 5, Metric::L2)?;
    let mut tally = device.update_tally()?;
    for (value, overflowed) in [(1e38, false), (2e38, true), (1.0, true)] {
        let rows = device.upload(&[0.0, 0.0, 0.0, 0.0, value].repeat(3)[..10], 5)?;
        let mut sums = device.cluster_sums(2, 5)?;
        device.centroid_update(&rows, &device.nearest_centroid(&rows, &table)?, &mut sums)?;
        device.centroid_means(sums, &table, 7, &mut tally)?;
        let told = device.download_tally(&tally)?;
        ensure(told.overflowed == overflowed, || format!("twice {value}: {told:?}"))?;
    }
    Ok(())
}

fn other_sums(device: &Device) -> Result<(), Failed> {
    let table = device.centroid_table(&[0.0; 12], 3, Metric::L2)?;
    for (nlist, dim) in [(3, 3), (4, 4), (12, 1)] {
        let sums = device.cluster_sums(nlist, dim)?;
        let taken = device.centroid_means(sums, &table, 0, &mut device.update_tally()?);
        ensure(taken.is_err(), || format!("{nlist} × {dim} sums were taken for 4 centroids of 3"))?;
    }
    Ok(())
}
