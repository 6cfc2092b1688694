//! Sketches: the nearest centroids that they lead to are those of all products, at every shape.

use super::Failed;
use crate::device::{Device, Method, Tile};
use crate::factory::Metric;

use super::Listed;
use super::nearest_centroid::check_found;
use super::oracle::{correlated, ensure};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        // Around the tiles of rows, centroids and dimensions, and of the words that mark centroids.
        for (rows, nlist, dim) in
            [(1, 256, 128), (63, 257, 129), (65, 287, 130), (128, 320, 131), (130, 1000, 160), (40, 300, 768)]
        {
            let name = format!("{metric}_{rows}x{nlist}_d{dim}");
            cases.push((name, Box::new(move |device| shape(device, metric, rows, nlist, dim))));
        }
    }
    cases.push(("centroids_that_moved".into(), Box::new(moved)));
    cases.push(("centroids_without_sketches".into(), Box::new(without)));
    cases
}

fn shape(device: &Device, metric: Metric, rows: usize, nlist: usize, dim: usize) -> Result<(), Failed> {
    let (rows, centroids) = (correlated(rows, dim, 7), correlated(nlist, dim, 9));
    let table = device.centroid_table(&centroids, dim, metric)?;
    let uploaded = device.upload(&rows, dim)?;
    let by_products = device.nearest_centroid_by(&uploaded, &table, Method::Tile(Tile::ALL[0]))?;
    let expected = check_found(device, metric, &rows, &centroids, dim, &by_products)?;
    // The second time the labels of the first are the guesses.
    for time in ["first", "second"] {
        let found = device.nearest_centroid_by(&uploaded, &table, Method::Sketches)?;
        let labels = check_found(device, metric, &rows, &centroids, dim, &found)?;
        ensure(labels == expected, || format!("the {time} time: {labels:?}, by products {expected:?}"))?;
        let (distances, others) = (device.download(&found.distances)?, device.download(&by_products.distances)?);
        ensure(distances == others, || format!("the {time} time: {distances:?}, by products {others:?}"))?;
    }
    Ok(())
}

/// As k-means moves them: the directions stay, and the last labels are bad guesses.
fn moved(device: &Device) -> Result<(), Failed> {
    let (dim, metric) = (140, Metric::L2);
    let (rows, before) = (correlated(90, dim, 3), correlated(400, dim, 4));
    let after: Vec<f32> = correlated(400, dim, 5).iter().map(|x| x + 0.5).collect();
    let table = device.centroid_table(&before, dim, metric)?;
    let uploaded = device.upload(&rows, dim)?;
    device.nearest_centroid_by(&uploaded, &table, Method::Sketches)?;
    let table = device.centroid_table_of(device.upload(&after, dim)?, metric, Some(&table))?;
    let found = device.nearest_centroid_by(&uploaded, &table, Method::Sketches)?;
    check_found(device, metric, &rows, &after, dim, &found).map(drop)
}

fn without(device: &Device) -> Result<(), Failed> {
    let (dim, few) = (128, 255);
    let rows = device.upload(&correlated(5, dim, 1), dim)?;
    let table = device.centroid_table(&correlated(few, dim, 2), dim, Metric::L2)?;
    ensure(device.comparisons(&rows, &table)?.is_none(), || "255 centroids have sketches".into())?;
    // The CPU engine takes its own method.
    let found = device.nearest_centroid_by(&rows, &table, Method::Sketches);
    ensure(found.is_ok() == device.is_cpu(), || "sketches were asked for that cannot be".into())
}
