//! Bounds: few centroids reach the nearest one's score, and it is always among them.

use super::Failed;
use crate::device::{Device, Method};
use crate::factory::Metric;

use super::Listed;
use super::nearest_centroid::check_found;
use super::oracle::{correlated, ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        cases.push((format!("{metric}_few_are_left"), Box::new(move |device| few_are_left(device, metric))));
        cases.push((format!("{metric}_lengths_far_apart"), Box::new(move |device| lengths(device, metric))));
    }
    cases.push(("far_from_the_origin".into(), Box::new(far_from_the_origin)));
    cases
}

/// Values that vary in few directions have sketches that tell nearly all.
fn few_are_left(device: &Device, metric: Metric) -> Result<(), Failed> {
    let (dim, count, nlist) = (192, 100, 800);
    let rows = device.upload(&correlated(count, dim, 11), dim)?;
    let table = device.centroid_table(&correlated(nlist, dim, 12), dim, metric)?;
    let left = device.comparisons(&rows, &table)?.ok_or("there are no sketches")?;
    ensure(left >= count as u64, || format!("{left} for {count} rows: some row is compared with none"))?;
    ensure(left <= (count * nlist / 10) as u64, || format!("{left} of {} are left", count * nlist))
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
    let found = device.nearest_centroid_by(&device.upload(&rows, dim)?, &table, Method::Sketches)?;
    check_found(device, metric, &rows, &centroids, dim, &found).map(drop)
}

/// Rounding is large beside the differences here: what bounds allow for it must be enough.
fn far_from_the_origin(device: &Device) -> Result<(), Failed> {
    let dim = 128;
    let shift = |values: Vec<f32>| -> Vec<f32> { values.iter().map(|x| 200.0 + (x * 64.0).round() / 64.0).collect() };
    let noise = random(500 * dim, 33);
    let near = |values: Vec<f32>| -> Vec<f32> { values.iter().zip(&noise).map(|(x, y)| x + 0.02 * y).collect() };
    let (rows, centroids) = (shift(correlated(200, dim, 31)), shift(near(correlated(500, dim, 32))));
    let table = device.centroid_table(&centroids, dim, Metric::L2)?;
    let uploaded = device.upload(&rows, dim)?;
    let [products, sketches] = [None, Some(Method::Sketches)].map(|method| match method {
        Some(method) => device.nearest_centroid_by(&uploaded, &table, method),
        None => device.nearest_centroid(&uploaded, &table),
    });
    let (products, sketches) = (device.download(&products?.labels)?, device.download(&sketches?.labels)?);
    ensure(products == sketches, || format!("{sketches:?}, by products {products:?}"))
}
