//! The nearest centroid of each row.

use super::Failed;
use crate::device::{Assignment, Device, Method, Tile};
use crate::factory::Metric;

use super::oracle::{DIMS, close, correlated, distance, ensure, key, random, tolerance};
use super::{Listed, Run};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for tile in Tile::ALL {
        cases.push((format!("tile_{tile}"), Box::new(move |device| every_edge(device, tile))));
    }
    cases.push(("tile_is_tuned".into(), Box::new(tuned)));
    for metric in [Metric::L2, Metric::InnerProduct] {
        for dim in DIMS {
            cases
                .push((format!("{metric}_d{dim}"), Box::new(move |device| random_case(device, metric, 150, 131, dim))));
        }
        for (rows, nlist) in [(1, 1), (127, 1), (128, 127), (129, 128), (257, 129), (1000, 300)] {
            let name = format!("{metric}_{rows}x{nlist}");
            cases.push((name, Box::new(move |device| random_case(device, metric, rows, nlist, 20))));
        }
        for (rows, nlist, dim) in [(75, 256, 128), (200, 700, 257), (40, 300, 768)] {
            let data = move || (correlated(rows, dim, 7), correlated(nlist, dim, 9));
            let name = format!("{metric}_correlated_{rows}x{nlist}_d{dim}");
            cases.push((name, Box::new(move |device| check(device, metric, &data().0, &data().1, dim).map(drop))));
        }
        cases.push((
            format!("{metric}_random_700_d200"),
            Box::new(move |device| random_case(device, metric, 80, 700, 200)),
        ));
        // So many rows that a workgroup of a GPU goes through several tiles of centroids, but not through all.
        let run: Run = Box::new(move |device| random_case(device, metric, 70_000, 300, 3));
        cases.push((format!("{metric}_70000x300"), run));
        cases.push((format!("{metric}_no_rows"), Box::new(move |device| random_case(device, metric, 0, 5, 8))));
    }
    cases.push(("ties_take_the_lowest_label".into(), Box::new(ties)));
    cases.push(("ties_among_many".into(), Box::new(ties_among_many)));
    cases.push(("rows_of_nan_among_many".into(), Box::new(nan_among_many)));
    cases.push(("zero_vectors".into(), Box::new(zeros)));
    cases.push(("rows_asked_again".into(), Box::new(rows_asked_again)));
    cases.push(("norms_large_against_distances".into(), Box::new(far_from_the_origin)));
    cases
}

fn check(device: &Device, metric: Metric, rows: &[f32], centroids: &[f32], dim: usize) -> Result<Vec<u32>, Failed> {
    let table = device.centroid_table(centroids, dim, metric)?;
    let found = device.nearest_centroid(&device.upload(rows, dim)?, &table)?;
    check_found(device, metric, rows, centroids, dim, &found)
}

/// The labels, each of a centroid that is as near as any in float64.
pub fn check_found(
    device: &Device,
    metric: Metric,
    rows: &[f32],
    centroids: &[f32],
    dim: usize,
    found: &Assignment,
) -> Result<Vec<u32>, Failed> {
    let (labels, distances) = (device.download(&found.labels)?, device.download(&found.distances)?);
    ensure(labels.len() == rows.len() / dim, || format!("{} labels", labels.len()))?;
    for (i, (row, (&label, &found))) in rows.chunks(dim).zip(labels.iter().zip(&distances)).enumerate() {
        ensure((label as usize) < centroids.len() / dim, || format!("row {i}: label {label}"))?;
        let chosen = &centroids[label as usize * dim..][..dim];
        let best = centroids.chunks(dim).map(|c| key(metric, row, c)).fold(f64::INFINITY, f64::min);
        let over = key(metric, row, chosen) - best;
        ensure(over <= tolerance(row, chosen), || {
            format!("row {i}: centroid {label} is {over} farther than the best")
        })?;
        close(found, distance(metric, row, chosen), tolerance(row, chosen), || format!("row {i}: distance"))?;
    }
    Ok(labels)
}

fn random_case(device: &Device, metric: Metric, rows: usize, nlist: usize, dim: usize) -> Result<(), Failed> {
    check(device, metric, &random(rows * dim, 1), &random(nlist * dim, 2), dim).map(drop)
}

/// Sizes around each edge of a tile, and of a block of dimensions.
fn every_edge(device: &Device, tile: Tile) -> Result<(), Failed> {
    for metric in [Metric::L2, Metric::InnerProduct] {
        for (rows, nlist, dim) in
            [(1, 1, 1), (63, 65, 16), (64, 128, 17), (65, 127, 31), (129, 129, 33), (300, 257, 100)]
        {
            let (rows, centroids) = (random(rows * dim, 7), random(nlist * dim, 8));
            let table = device.centroid_table(&centroids, dim, metric)?;
            let uploaded = device.upload(&rows, dim)?;
            let found = device.nearest_centroid_by(&uploaded, &table, Method::Tile(tile))?;
            let labels = check_found(device, metric, &rows, &centroids, dim, &found)?;
            // Products are summed in one order whatever the tile.
            let usual = device.download(&device.nearest_centroid(&uploaded, &table)?.labels)?;
            ensure(labels == usual, || format!("{} rows: other labels than by the usual tile", rows.len() / dim))?;
        }
    }
    Ok(())
}

fn tuned(device: &Device) -> Result<(), Failed> {
    let tile = device.tune();
    ensure(tile.is_none() == device.is_cpu() && tile.is_none_or(|tile| Tile::ALL.contains(&tile)), || {
        format!("{tile:?}")
    })?;
    ensure(device.tune() == tile, || "another tile the second time".into())?;
    if !device.is_cpu() {
        let (rows, table) = (device.upload(&[1.0], 1)?, device.centroid_table(&[1.0], 1, Metric::L2)?);
        let refused = device.nearest_centroid_by(&rows, &table, Method::Tile(Tile { rows: 96, centroids: 64 }));
        ensure(refused.is_err(), || "a tile that no kernel has was taken".into())?;
    }
    Ok(())
}

fn ties(device: &Device) -> Result<(), Failed> {
    // Small whole numbers, so that equal is equal on every device; each centroid stands there three times.
    let dim = 5;
    let thrice: Vec<f32> = (0..3).flat_map(|_| (0..140 * dim).map(|i| ((i * 7) % 11) as f32)).collect();
    let rows = thrice[..140 * dim].to_vec();
    for metric in [Metric::L2, Metric::InnerProduct] {
        let labels = check(device, metric, &rows, &thrice, dim)?;
        for (row, label) in rows.chunks(dim).zip(labels) {
            let best = thrice.chunks(dim).map(|c| key(metric, row, c)).fold(f64::INFINITY, f64::min);
            let lowest = thrice.chunks(dim).position(|c| key(metric, row, c) == best);
            // For L2 the mean is subtracted first, so only exact copies are sure to tie.
            let copy = label as usize % 140;
            ensure((label as usize) < 140, || format!("label {label} is a later copy of {copy}"))?;
            ensure(metric == Metric::L2 || lowest == Some(label as usize), || format!("{label}, not {lowest:?}"))?;
        }
    }
    Ok(())
}

/// Each of many centroids stands there three times, and the rows are among them.
fn ties_among_many(device: &Device) -> Result<(), Failed> {
    let (dim, count) = (130, 200);
    let once = correlated(count, dim, 21);
    let thrice = once.repeat(3);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let labels = check(device, metric, &once, &thrice, dim)?;
        let later = labels.iter().find(|&&label| label as usize >= count);
        ensure(later.is_none(), || format!("label {later:?} is a later copy"))?;
        let own = labels.iter().zip(0..).all(|(&label, row)| label == row);
        ensure(metric == Metric::InnerProduct || own, || format!("{labels:?}"))?;
    }
    Ok(())
}

fn nan_among_many(device: &Device) -> Result<(), Failed> {
    let (dim, count) = (128, 300);
    let mut rows = correlated(5, dim, 31);
    rows[dim] = f32::NAN;
    rows[3 * dim..4 * dim].fill(1e30);
    let centroids = correlated(count, dim, 33);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let table = device.centroid_table(&centroids, dim, metric)?;
        let found = device.nearest_centroid(&device.upload(&rows, dim)?, &table)?;
        let labels = device.download(&found.labels)?;
        ensure(labels.iter().all(|&label| (label as usize) < count), || format!("{labels:?}"))?;
        let good = [&rows[..dim], &rows[2 * dim..3 * dim], &rows[4 * dim..]].concat();
        let expected = check(device, metric, &good, &centroids, dim)?;
        ensure([labels[0], labels[2], labels[4]] == expected[..], || format!("{labels:?}, not {expected:?}"))?;
    }
    Ok(())
}

/// What was nearest to rows the last time is a hint, and changes nothing: not among moved centroids, nor among fewer.
fn rows_asked_again(device: &Device) -> Result<(), Failed> {
    let dim = 130;
    let mut values = correlated(400, dim, 41);
    values[7 * dim] = f32::NAN;
    for metric in [Metric::L2, Metric::InnerProduct] {
        let rows = device.upload(&values, dim)?;
        for (nlist, seed) in [(300, 42), (300, 43), (270, 44), (330, 42)] {
            let table = device.centroid_table(&correlated(nlist, dim, seed), dim, metric)?;
            let [again, first] = [&rows, &device.upload(&values, dim)?].map(|rows| -> Result<_, Failed> {
                let found = device.nearest_centroid(rows, &table)?;
                let distances = device.download(&found.distances)?;
                Ok((device.download(&found.labels)?, distances.into_iter().map(f32::to_bits).collect::<Vec<_>>()))
            });
            ensure(again? == first?, || format!("{metric}, {nlist} centroids: not what rows find that are new"))?;
        }
    }
    Ok(())
}

fn zeros(device: &Device) -> Result<(), Failed> {
    for metric in [Metric::L2, Metric::InnerProduct] {
        check(device, metric, &[0.0; 12], &random(9 * 4, 3), 4)?;
        let labels = check(device, metric, &random(8 * 4, 4), &[0.0; 16], 4)?;
        ensure(labels.iter().all(|&label| label == 0), || format!("{labels:?}"))?;
    }
    Ok(())
}

/// ‖x‖² − 2x·c + ‖c‖² would lose the distances here altogether: norms are 10⁴ times larger.
fn far_from_the_origin(device: &Device) -> Result<(), Failed> {
    let dim = 64;
    let shift = |mut values: Vec<f32>| -> Vec<f32> {
        values.iter_mut().for_each(|v| *v = 1000.0 + (*v * 8.0).round() / 8.0);
        values
    };
    let (rows, centroids) = (shift(random(200 * dim, 5)), shift(random(150 * dim, 6)));
    let table = device.centroid_table(&centroids, dim, Metric::L2)?;
    let found = device.nearest_centroid(&device.upload(&rows, dim)?, &table)?;
    let distances = device.download(&found.distances)?;
    for (i, (row, found)) in rows.chunks(dim).zip(distances).enumerate() {
        let best = centroids.chunks(dim).map(|c| distance(Metric::L2, row, c)).fold(f64::INFINITY, f64::min);
        let worst_of_good = best * 1.01;
        ensure(f64::from(found) <= worst_of_good, || format!("row {i}: {found}, but {best} is there"))?;
    }
    Ok(())
}
