//! Bounds: few centroids reach the nearest one's score, and it is always among them.

use super::Failed;
use crate::device::{Device, Method};
use crate::factory::Metric;

use super::Listed;
use super::nearest_centroid::check_found;
use super::oracle::{correlated, ensure, key, random};
use super::sketch::same;

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        cases.push((format!("{metric}_few_are_left"), Box::new(move |device| few_are_left(device, metric))));
        cases.push((format!("{metric}_lengths_far_apart"), Box::new(move |device| lengths(device, metric))));
        for scales in
            [[1.0, 1.0], [1e12, 1e12], [1e-12, 1e-12], [1e-25, 1.0], [1e-25, 1e-25], [1e18, 1e18], [1e5, 1e-20]]
        {
            let name = format!("{metric}_all_that_reach_are_left_of_{:e}_and_{:e}", scales[0], scales[1]);
            cases.push((name, Box::new(move |device| all_that_reach_are_left(device, metric, scales, [0.0, 0.0]))));
        }
        for offset in [184.0, 606.0, 1e4, 1e6] {
            let name = format!("{metric}_all_that_reach_are_left_{offset:e}_from_the_origin");
            let far = move |device: &Device| all_that_reach_are_left(device, metric, [1.0, 1.0], [0.0, offset]);
            cases.push((name, Box::new(far)));
        }
        let name = format!("{metric}_all_that_reach_are_left_beside_a_great_share");
        cases.push((name, Box::new(move |device| all_that_reach_are_left(device, metric, [1.0, 1.0], [30.0, 0.0]))));
    }
    cases.push(("far_from_the_origin".into(), Box::new(far_from_the_origin)));
    cases
}

/// Values that vary in few directions have sketches that tell nearly all.
fn few_are_left(device: &Device, metric: Metric) -> Result<(), Failed> {
    let (dim, count, nlist) = (192, 100, 800);
    let table = device.centroid_table(&correlated(nlist, dim, 12), dim, metric)?;
    for &shares in device.shares() {
        let rows = device.upload(&correlated(count, dim, 11), dim)?;
        let left = device.comparisons(&rows, &table, shares)?.ok_or("there are no sketches")?;
        ensure(left >= count as u64, || format!("{left} for {count} rows: some row is compared with none"))?;
        ensure(left <= (count * nlist / 10) as u64, || format!("{shares:?}: {left} of {} are left", count * nlist))?;
    }
    Ok(())
}

/// Values of which a sketch leaves nothing: bounds are as near to the scores as they can be. What the first direction
/// leads by is in the same share of all, whose rounding then is most of what bounds must allow for; so is the offset.
fn in_few_directions(count: usize, dim: usize, scale: f32, [lead, offset]: [f32; 2], seed: u64) -> Vec<f32> {
    const DIRECTIONS: usize = 20;
    let (directions, mut amounts) = (random(DIRECTIONS * dim, 44), random(count * DIRECTIONS, seed));
    amounts.iter_mut().step_by(DIRECTIONS).for_each(|amount| *amount += lead * amount.signum());
    let value = |amounts: &[f32], i| {
        (0..DIRECTIONS).map(|j| scale * amounts[j] * directions[j * dim + i]).sum::<f32>() + offset
    };
    amounts.chunks_exact(DIRECTIONS).flat_map(|amounts| (0..dim).map(|i| value(amounts, i))).collect()
}

/// Of centroids that moved all are left that are as near as the guess, which is the one that was nearest before.
fn all_that_reach_are_left(device: &Device, metric: Metric, scales: [f32; 2], away: [f32; 2]) -> Result<(), Failed> {
    let (dim, count, nlist) = (160, 67, 290);
    let rows = in_few_directions(count, dim, scales[0], away, 41);
    let centroids = in_few_directions(nlist, dim, scales[1], away, 42);
    for &shares in device.shares() {
        let uploaded = device.upload(&rows, dim)?;
        let before = device.centroid_table(&in_few_directions(nlist, dim, 1.0, away, 43), dim, metric)?;
        let guesses = device.nearest_centroid_by(&uploaded, &before, Method::Sketches(shares))?;
        let table = device.centroid_table_of(device.upload(&centroids, dim)?, metric, Some(&before))?;
        let Some(marks) = device.marks(&uploaded, &table, shares)? else {
            return ensure(device.is_cpu(), || "no sketches".into());
        };
        let marks = marks.chunks_exact(nlist.div_ceil(32));
        for (i, ((row, guess), marks)) in
            rows.chunks_exact(dim).zip(device.download(&guesses.labels)?).zip(marks).enumerate()
        {
            let keys: Vec<f64> = centroids.chunks_exact(dim).map(|centroid| key(metric, row, centroid)).collect();
            let is_left = |label: usize| marks[label / 32] >> (label % 32) & 1 == 1;
            let out = (0..nlist).find(|&label| keys[label] <= keys[guess as usize] && !is_left(label));
            ensure(out.is_none(), || format!("{shares:?}, row {i}: {out:?} is as near as {guess}, and left out"))?;
        }
    }
    Ok(())
}

/// Centroids much shorter and longer than the rows.
fn lengths(device: &Device, metric: Metric) -> Result<(), Failed> {
    let (dim, nlist) = (128, 300);
    let rows = correlated(70, dim, 21);
    let mut centroids = correlated(nlist, dim, 22);
    for (centroid, i) in centroids.chunks_exact_mut(dim).zip(0..) {
        let scale = [1.0 / 32.0, 1.0, 32.0][i % 3];
        centroid.iter_mut().for_each(|x| *x *= scale);
    }
    let table = device.centroid_table(&centroids, dim, metric)?;
    check_found(device, metric, &rows, &centroids, dim, &same(device, &rows, &table)?).map(drop)
}

/// Rounding is large beside the differences here: what bounds allow for it must be enough.
fn far_from_the_origin(device: &Device) -> Result<(), Failed> {
    let dim = 128;
    let shift = |values: Vec<f32>| -> Vec<f32> { values.iter().map(|x| 200.0 + (x * 64.0).round() / 64.0).collect() };
    let noise = random(500 * dim, 33);
    let near = |values: Vec<f32>| -> Vec<f32> { values.iter().zip(&noise).map(|(x, y)| x + 0.02 * y).collect() };
    let (rows, centroids) = (shift(correlated(200, dim, 31)), shift(near(correlated(500, dim, 32))));
    same(device, &rows, &device.centroid_table(&centroids, dim, Metric::L2)?).map(drop)
}
