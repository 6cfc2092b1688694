//! The k nearest rows of each query among its ranges.

use std::ops::Range;
use std::sync::Arc;

use super::Failed;
use crate::device::{Device, RowFormat, RowRanges, RowSet, TopK};
use crate::factory::Metric;
use crate::features::MemoryRows;

use super::Listed;
use super::oracle::{DIMS, close, correlated, distance, ensure, kept, key, random, tolerance};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for dim in DIMS {
            cases.push((format!("{metric}_all_d{dim}"), Box::new(move |device| all(device, metric, 17, 200, dim, 8))));
            cases.push((format!("{metric}_f16_d{dim}"), Box::new(move |device| halves(device, metric, dim))));
        }
        for (queries, rows, k) in [(1, 1, 1), (1, 63, 64), (33, 65, 1), (2, 5000, 1024), (3, 70_000, 10), (0, 10, 2)] {
            let name = format!("{metric}_all_{queries}x{rows}_k{k}");
            cases.push((name, Box::new(move |device| all(device, metric, queries, rows, 8, k))));
        }
        for (queries, rows, dim, k) in [(130, 700, 128, 8), (150, 4100, 130, 1), (128, 300, 257, 300)] {
            let name = format!("{metric}_correlated_{queries}x{rows}_d{dim}_k{k}");
            cases.push((name, Box::new(move |device| many(device, metric, queries, rows, dim, k))));
        }
        cases.push((format!("{metric}_lists"), Box::new(move |device| lists(device, metric))));
    }
    cases.push(("one_long_list".into(), Box::new(one_long_list)));
    cases.push(("rows_spread_over_buffers".into(), Box::new(spread)));
    cases.push(("no_rows".into(), Box::new(|device| all(device, Metric::L2, 3, 0, 4, 5))));
    cases.push(("duplicate_rows_in_order".into(), Box::new(duplicates)));
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

fn all(device: &Device, metric: Metric, queries: usize, rows: usize, dim: usize, k: usize) -> Result<(), Failed> {
    let ranges = vec![vec![0..rows as u32]; queries];
    check(device, metric, &random(queries * dim, 40), &random(rows * dim, 41), dim, &ranges, k)
}

/// Many queries of a voice's kind; every third leaves some rows out. Rows that were made ready are found just so.
fn many(device: &Device, metric: Metric, queries: usize, rows: usize, dim: usize, k: usize) -> Result<(), Failed> {
    let end = rows as u32;
    let left_out = |query: u32| if query.is_multiple_of(3) { query..query + 20 } else { 0..0 };
    let ranges: Vec<Vec<_>> = (0..queries as u32).map(left_out).map(|out| vec![0..out.start, out.end..end]).collect();
    let (queries, rows) = (correlated(queries, dim, 48), correlated(rows, dim, 50));
    let set = device.row_set(&Arc::new(rows.clone()), dim)?;
    check_set(device, metric, &queries, (&set, &rows), &ranges, k)?;
    set.prepare(metric);
    check_set(device, metric, &queries, (&set, &rows), &ranges, k)
}

/// Rows kept as 16-bit floats: distances are those to the rows as they are kept.
fn halves(device: &Device, metric: Metric, dim: usize) -> Result<(), Failed> {
    let rows = random(150 * dim, 41);
    let set = device.row_set_of(&MemoryRows::new(&rows, dim)?, RowFormat::F16)?;
    let ranges = vec![vec![0..150]; 5];
    check_set(device, metric, &random(5 * dim, 40), (&set, &kept(&rows, RowFormat::F16)), &ranges, 8)
}

/// Inverted lists of uneven lengths, empty ones among them, probed by overlapping sets of queries.
fn lists(device: &Device, metric: Metric) -> Result<(), Failed> {
    let lengths = [0u32, 1, 63, 64, 65, 130, 0, 7, 300];
    let mut lists: Vec<Range<u32>> = Vec::new();
    for length in lengths {
        let start = lists.last().map_or(0, |list| list.end);
        lists.push(start..start + length);
    }
    let rows = lists[lists.len() - 1].end as usize;
    let ranges: Vec<Vec<_>> =
        (0..40).map(|q| (0..q % 5).map(|p| lists[(q * 2 + p * 5) % 9].clone()).collect()).collect();
    check(device, metric, &random(40 * 33, 42), &random(rows * 33, 43), 33, &ranges, 20)
}

/// One query among many has a long list, and all want many neighbours.
fn one_long_list(device: &Device) -> Result<(), Failed> {
    let mut ranges = vec![vec![0..3]; 200];
    ranges[7] = std::iter::once(3..140_000).collect();
    check(device, Metric::L2, &random(200 * 2, 46), &random(140_000 * 2, 47), 2, &ranges, 1024)
}

/// More rows than the smallest binding (128 MiB) holds; the ranges lie around the seam.
fn spread(device: &Device) -> Result<(), Failed> {
    let seam = (128 << 20) / (64 * 4);
    let rows = random((seam as usize + 500) * 64, 44);
    let ranges = vec![vec![seam - 70..seam + 70], vec![0..10, seam..seam + 500], vec![seam - 1..seam]];
    check(device, Metric::L2, &random(3 * 64, 45), &rows, 64, &ranges, 12)
}

fn check(
    device: &Device,
    metric: Metric,
    queries: &[f32],
    rows: &[f32],
    dim: usize,
    ranges: &[Vec<Range<u32>>],
    k: usize,
) -> Result<(), Failed> {
    check_set(device, metric, queries, (&device.row_set(&Arc::new(rows.to_vec()), dim)?, rows), ranges, k)
}

fn check_set(
    device: &Device,
    metric: Metric,
    queries: &[f32],
    (set, rows): (&RowSet, &[f32]),
    ranges: &[Vec<Range<u32>>],
    k: usize,
) -> Result<(), Failed> {
    let dim = set.dim();
    let mut row_ranges = RowRanges::default();
    ranges.iter().for_each(|ranges| row_ranges.push(ranges.iter().cloned()));
    let top = device.exact_topk(&device.upload(queries, dim)?, set, &row_ranges, metric, k)?;
    ensure(top.rows.len() == ranges.len() * k && top.distances.len() == top.rows.len(), || "wrong size".into())?;
    let row = |number: u32| &rows[number as usize * dim..][..dim];
    let holds = |ranges: &[Range<u32>], number: u32| ranges.iter().any(|range| range.contains(&number));
    for (i, (query, ranges)) in queries.chunks(dim).zip(ranges).enumerate() {
        let (found, distances) = (&top.rows[i * k..][..k], &top.distances[i * k..][..k]);
        let mut expected: Vec<f64> = ranges.iter().cloned().flatten().map(|r| key(metric, query, row(r))).collect();
        expected.sort_by(f64::total_cmp);
        let mut seen = std::collections::HashSet::new();
        for rank in 0..k {
            let what = || format!("query {i} rank {rank}");
            if rank >= expected.len() {
                let worst = if metric == Metric::L2 { f32::MAX } else { -f32::MAX };
                let none = found[rank] == TopK::NONE && distances[rank] == worst;
                ensure(none, || format!("{}: {} at {}, expected none", what(), found[rank], distances[rank]))?;
                continue;
            }
            let number = found[rank];
            ensure(holds(ranges, number), || format!("{}: row {number} is in no range", what()))?;
            ensure(seen.insert(number), || format!("{}: row {number} twice", what()))?;
            let bound = tolerance(query, row(number));
            let over = (key(metric, query, row(number)) - expected[rank]).abs();
            ensure(over <= bound, || format!("{}: row {number} is {over} off", what()))?;
            close(distances[rank], distance(metric, query, row(number)), bound, what)?;
        }
    }
    Ok(())
}

/// Of equally near rows the lowest comes first, on every device.
fn duplicates(device: &Device) -> Result<(), Failed> {
    let rows: Vec<f32> = (0..600).flat_map(|i| [(i % 3) as f32, 1.0]).collect();
    let set = device.row_set(&Arc::new(rows), 2)?;
    let top = device.exact_topk(&device.upload(&[0.0, 1.0], 2)?, &set, &RowRanges::all(1, 600), Metric::L2, 300)?;
    let expected: Vec<u32> = (0..200).map(|i| i * 3).chain((0..100).map(|i| i * 3 + 1)).collect();
    ensure(top.rows == expected, || format!("{:?}", top.rows))
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    let set = device.row_set(&Arc::new(random(40, 1)), 4)?;
    let queries = device.upload(&random(8, 2), 4)?;
    for (ranges, k) in [(RowRanges::all(2, 10), 0), (RowRanges::all(2, 10), 1025), (RowRanges::all(2, 11), 3)] {
        ensure(device.exact_topk(&queries, &set, &ranges, Metric::L2, k).is_err(), || format!("k {k} was taken"))?;
    }
    let wider = device.upload(&random(10, 2), 5)?;
    ensure(device.exact_topk(&wider, &set, &RowRanges::all(2, 10), Metric::L2, 3).is_err(), || "wider queries".into())
}
