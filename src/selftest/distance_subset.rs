//! Distances of each query to rows of its own choice.

use std::sync::Arc;

use super::Failed;
use crate::device::{Device, RowFormat, TopK};
use crate::factory::Metric;
use crate::features::MemoryRows;

use super::Listed;
use super::oracle::{DIMS, close, distance, ensure, kept, random, tolerance};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for format in [RowFormat::F32, RowFormat::F16] {
            for dim in DIMS {
                let name = format!("{metric}_{format:?}_d{dim}");
                cases.push((name, Box::new(move |device| check(device, metric, format, (5, 70, dim), 13))));
            }
            // Around the 16 pairs of a workgroup, and more than one row of the grid.
            for (queries, rows, subset) in
                [(1, 1, 1), (3, 9, 5), (4, 9, 4), (17, 3, 1), (3, 9, 0), (0, 9, 4), (2, 0, 3)]
            {
                let name = format!("{metric}_{format:?}_{queries}x{subset}_of_{rows}");
                cases.push((name, Box::new(move |device| check(device, metric, format, (queries, rows, 8), subset))));
            }
        }
    }
    cases.push(("many_pairs".into(), Box::new(|d| check(d, Metric::L2, RowFormat::F32, (600, 50, 4), 1000))));
    cases.push(("rows_spread_over_buffers".into(), Box::new(spread)));
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

/// Rows of each query from all over, every fifth place none at all.
fn subset_of(queries: usize, rows: usize, subset: usize) -> Vec<u32> {
    let row = |i: usize| if i % 5 == 3 || rows == 0 { TopK::NONE } else { (i * 7919 % rows) as u32 };
    (0..queries * subset).map(row).collect()
}

fn check(
    device: &Device,
    metric: Metric,
    format: RowFormat,
    (queries, rows, dim): (usize, usize, usize),
    subset: usize,
) -> Result<(), Failed> {
    let (x, y) = (random(queries * dim, 1), random(rows * dim, 2));
    let set = device.row_set_of(&MemoryRows::new(&y, dim)?, format)?;
    let kept = kept(&y, format);
    let candidates = subset_of(queries, rows, subset);
    let found = device.distance_subset(&device.upload(&x, dim)?, &set, &candidates, metric)?;
    ensure(found.len() == candidates.len(), || format!("{} distances", found.len()))?;
    for (i, (&found, &candidate)) in found.iter().zip(&candidates).enumerate() {
        if candidate == TopK::NONE {
            let worst = if metric == Metric::L2 { f32::MAX } else { -f32::MAX };
            ensure(found == worst, || format!("pair {i}: {found} where there is no row"))?;
            continue;
        }
        let (x, y) = (&x[i / subset * dim..][..dim], &kept[candidate as usize * dim..][..dim]);
        close(found, distance(metric, x, y), tolerance(x, y), || format!("pair {i}"))?;
    }
    Ok(())
}

/// More rows than the smallest binding (128 MiB) holds.
fn spread(device: &Device) -> Result<(), Failed> {
    let seam = (128 << 20) / (64 * 4);
    let rows = Arc::new(random((seam + 500) * 64, 44));
    let set = device.row_set(&rows, 64)?;
    let seam = seam as u32;
    let candidates = [0, seam - 1, seam, seam + 499, TopK::NONE, seam + 1];
    let queries = random(2 * 64, 45);
    let found = device.distance_subset(&device.upload(&queries, 64)?, &set, &candidates, Metric::L2)?;
    for (i, (&found, &candidate)) in found.iter().zip(&candidates).enumerate() {
        if candidate == TopK::NONE {
            ensure(found == f32::MAX, || format!("{found} where there is no row"))?;
            continue;
        }
        let (x, y) = (&queries[i / 3 * 64..][..64], &rows[candidate as usize * 64..][..64]);
        close(found, distance(Metric::L2, x, y), tolerance(x, y), || format!("row {candidate}"))?;
    }
    Ok(())
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    let set = device.row_set(&Arc::new(random(40, 1)), 4)?;
    let ask = |values: usize, dim, candidates: &[u32]| {
        device.distance_subset(&device.upload(&random(values, 2), dim)?, &set, candidates, Metric::L2)
    };
    for (values, dim, candidates) in [(8, 4, &[0, 10][..]), (8, 4, &[0, 1, 2]), (10, 5, &[0, 1]), (0, 4, &[1])] {
        ensure(ask(values, dim, candidates).is_err(), || format!("{candidates:?} was taken"))?;
    }
    Ok(())
}
