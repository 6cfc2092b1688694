//! Sketches: the nearest centroids that they lead to are those of all products, at every shape.

use super::Failed;
use crate::device::{Assignment, CentroidTable, Device, Method, Shares, Tile};
use crate::factory::Metric;

use super::Listed;
use super::nearest_centroid::check_found;
use super::oracle::{correlated, ensure};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        // Around the tiles of rows, centroids and dimensions, and of the words that mark centroids.
        for (rows, nlist, dim) in [
            (1, 256, 128),
            (63, 257, 129),
            (65, 287, 130),
            (128, 320, 131),
            (130, 1000, 160),
            (33, 256, 577),
            (40, 300, 768),
        ] {
            let name = format!("{metric}_{rows}x{nlist}_d{dim}");
            cases.push((name, Box::new(move |device| shape(device, metric, rows, nlist, dim))));
        }
    }
    cases.push(("centroids_that_moved".into(), Box::new(moved)));
    cases.push(("centroids_without_sketches".into(), Box::new(without)));
    cases.push(("halves_need_matrix_units".into(), Box::new(halves_need_matrix_units)));
    cases
}

/// Labels and distances by all products; by sketches they are the same bit for bit.
pub fn same(device: &Device, rows: &[f32], table: &CentroidTable) -> Result<Assignment, Failed> {
    let read = |found: &Assignment| -> Result<_, Failed> {
        let distances = device.download(&found.distances)?.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        Ok((device.download(&found.labels)?, distances))
    };
    let by_products =
        device.nearest_centroid_by(&device.upload(rows, table.dim())?, table, Method::Tile(Tile::ALL[2]))?;
    let expected = read(&by_products)?;
    for method in device.shares().iter().copied().map(Method::Sketches) {
        let uploaded = device.upload(rows, table.dim())?;
        // The second time the labels of the first are the guesses.
        for time in ["first", "second"] {
            let found = read(&device.nearest_centroid_by(&uploaded, table, method)?)?;
            ensure(found == expected, || format!("{method}, the {time} time: {found:?}, by products {expected:?}"))?;
        }
    }
    Ok(by_products)
}

fn shape(device: &Device, metric: Metric, rows: usize, nlist: usize, dim: usize) -> Result<(), Failed> {
    let (rows, centroids) = (correlated(rows, dim, 7), correlated(nlist, dim, 9));
    let table = device.centroid_table(&centroids, dim, metric)?;
    check_found(device, metric, &rows, &centroids, dim, &same(device, &rows, &table)?).map(drop)
}

/// As k-means moves them: the directions stay, and the last labels are bad guesses.
fn moved(device: &Device) -> Result<(), Failed> {
    let (dim, metric) = (140, Metric::L2);
    let (rows, before) = (correlated(90, dim, 3), correlated(400, dim, 4));
    let after: Vec<f32> = correlated(400, dim, 5).iter().map(|x| x + 0.5).collect();
    for method in device.shares().iter().copied().map(Method::Sketches) {
        let table = device.centroid_table(&before, dim, metric)?;
        let uploaded = device.upload(&rows, dim)?;
        device.nearest_centroid_by(&uploaded, &table, method)?;
        let table = device.centroid_table_of(device.upload(&after, dim)?, metric, Some(&table))?;
        let found = device.nearest_centroid_by(&uploaded, &table, method)?;
        check_found(device, metric, &rows, &after, dim, &found)?;
    }
    Ok(())
}

fn without(device: &Device) -> Result<(), Failed> {
    let (dim, few) = (128, 255);
    let rows = device.upload(&correlated(5, dim, 1), dim)?;
    let table = device.centroid_table(&correlated(few, dim, 2), dim, Metric::L2)?;
    for &shares in device.shares() {
        ensure(device.comparisons(&rows, &table, shares)?.is_none(), || "255 centroids have sketches".into())?;
        // The CPU engine takes its own method.
        let found = device.nearest_centroid_by(&rows, &table, Method::Sketches(shares));
        ensure(found.is_ok() == device.is_cpu(), || "sketches were asked for that cannot be".into())?;
    }
    Ok(())
}

/// Where there are none, shares of 16-bit floats are refused; other cases leave them out there.
fn halves_need_matrix_units(device: &Device) -> Result<(), Failed> {
    let dim = 128;
    let rows = device.upload(&correlated(5, dim, 1), dim)?;
    let table = device.centroid_table(&correlated(256, dim, 2), dim, Metric::L2)?;
    let taken = device.is_cpu() || device.shares().contains(&Shares::Halves);
    let found = device.nearest_centroid_by(&rows, &table, Method::Sketches(Shares::Halves));
    ensure(found.is_ok() == taken, || format!("{:?} for {found:?}", device.shares()))
}
