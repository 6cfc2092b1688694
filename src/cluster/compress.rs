//! A voice compressed to representative rows: the centroids of a k-means stand for all rows, as in RVC.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::sample::RowSample;
use super::{KMeansParams, MiniBatchParams, check_clusters, k_means, mini_batch_k_means};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::{FeatureSource, for_each_batch};

/// Which k-means finds the representative rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Updates after each batch of rows; [`mini_batch_k_means`], what RVC uses.
    #[default]
    MiniBatch,
    /// Updates after each pass over all rows; [`k_means`], without sampling.
    Lloyd,
}

impl Method {
    /// Passes over the rows, at most, where no other number is asked for.
    pub fn default_iterations(self) -> usize {
        match self {
            Method::MiniBatch => MiniBatchParams::default().iterations,
            Method::Lloyd => KMeansParams::default().iterations,
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "mini-batch" => Ok(Method::MiniBatch),
            "lloyd" => Ok(Method::Lloyd),
            _ => Err(Error::parameter("method", format!("{text:?} is not known"), "choose mini-batch or lloyd")),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::MiniBatch => "mini-batch",
            Method::Lloyd => "lloyd",
        })
    }
}

/// How a voice is compressed.
#[derive(Clone, Debug, PartialEq)]
pub struct CompressParams {
    /// Which k-means.
    pub method: Method,
    /// Passes over the rows, at most.
    pub iterations: usize,
    /// One seed on one device gives one result.
    pub seed: u64,
    /// Rows that go to the device at a time; by default as many as suit it.
    pub batch_rows: Option<usize>,
}

impl Default for CompressParams {
    fn default() -> Self {
        let method = Method::default();
        Self { method, iterations: method.default_iterations(), seed: 1234, batch_rows: None }
    }
}

/// Representative rows, and how they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Compressed {
    /// Row-major, clusters × d.
    pub centroids: Vec<f32>,
    /// Number of them.
    pub clusters: usize,
    /// Passes over the rows: a fraction where a mini-batch k-means ended inside one.
    pub passes: f64,
}

/// RVC's rule: voices of more than 200,000 rows are compressed to 10,000, and others not at all.
pub fn rvc_clusters(rows: usize) -> Option<usize> {
    (rows > 200_000).then_some(10_000)
}

/// Finds `clusters` rows that stand for all rows of `source` by L2. `progress` is told the pass, from 0 on, and the rows
/// done in it.
///
/// # Errors
/// [`Error::Parameter`] for no clusters, for as many as there are rows, or for no passes; what the source or the device
/// reports.
pub fn compress(
    device: &Device,
    source: &dyn FeatureSource,
    clusters: usize,
    params: &CompressParams,
    progress: impl FnMut(usize, usize),
) -> Result<Compressed> {
    check_clusters(source.rows(), clusters)?;
    let CompressParams { method, iterations, seed, batch_rows } = *params;
    match method {
        Method::MiniBatch => {
            let params = MiniBatchParams { iterations, seed, batch_rows, ..MiniBatchParams::default() };
            let trained = mini_batch_k_means(device, source, clusters, &params, progress)?;
            let passes = trained.rows_seen as f64 / source.rows() as f64;
            Ok(Compressed { centroids: trained.centroids, clusters, passes })
        }
        Method::Lloyd => {
            // Every row is to be stood for, so none is left out of the training.
            let max_rows_per_centroid = usize::MAX;
            let params =
                KMeansParams { iterations, seed, batch_rows, max_rows_per_centroid, ..KMeansParams::default() };
            let trained = k_means(device, source, clusters, Metric::L2, &params, progress)?;
            Ok(Compressed { centroids: trained.centroids, clusters, passes: iterations as f64 })
        }
    }
}

/// How far rows lie from what stands for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizationError {
    /// Mean squared distance to the nearest centroid.
    pub mean: f64,
    /// Rows that it was measured on.
    pub rows: usize,
}

/// Measures how well `centroids` stand for the rows of `source`, on at most `most` of them, drawn by `seed`. `progress`
/// is told the rows done.
///
/// # Errors
/// [`Error::Parameter`] where there are no centroids, or their width is another; what the source or the device reports.
pub fn quantization_error(
    device: &Device,
    source: &dyn FeatureSource,
    centroids: &[f32],
    most: usize,
    params: &CompressParams,
    mut progress: impl FnMut(usize),
) -> Result<QuantizationError> {
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    // Not the draw that the k-means began with: centroids lie nearer to those rows.
    rng.set_stream(1);
    let sample = RowSample::draw(source, most, &mut rng);
    let table = device.centroid_table(centroids, source.dim(), Metric::L2)?;
    let plan = device.batch_plan(sample.rows(), source.dim(), table.nlist(), params.batch_rows);
    let (mut sum, mut done) = (0.0, 0);
    for_each_batch(&sample, plan.batch_rows, |_, rows| {
        let nearest = device.nearest_centroid(&device.upload(rows, source.dim())?, &table)?;
        let distances = device.download(&nearest.distances)?;
        sum += distances.iter().map(|&distance| f64::from(distance)).sum::<f64>();
        done += distances.len();
        progress(done);
        Ok(())
    })?;
    Ok(QuantizationError { mean: sum / sample.rows().max(1) as f64, rows: sample.rows() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    #[test]
    fn rvc_compresses_beyond_200_000_rows() {
        assert_eq!([1, 200_000, 200_001].map(rvc_clusters), [None, None, Some(10_000)]);
    }

    #[test]
    fn the_error_is_the_mean_squared_distance() {
        let rows = MemoryRows::new(&[0.0, 1.0, 2.0, 10.0, 16.0], 1).unwrap();
        let params = CompressParams::default();
        let error = |most| quantization_error(&Device::cpu(), &rows, &[1.0, 13.0], most, &params, |_| ()).unwrap();
        // 1 + 0 + 1 + 9 + 9
        assert_eq!(error(99), QuantizationError { mean: 4.0, rows: 5 });
        assert_eq!(error(3).rows, 3);
    }

    #[test]
    fn both_methods_find_what_is_there() {
        // Three tight groups, of which random rows miss one more often than not.
        let values: Vec<f32> = (0..300).map(|i| (i % 3 * 100) as f32 + (i / 3 % 10) as f32 * 0.01).collect();
        let rows = MemoryRows::new(&values, 1).unwrap();
        for method in [Method::MiniBatch, Method::Lloyd] {
            let params = CompressParams { method, iterations: method.default_iterations(), ..Default::default() };
            let compressed = compress(&Device::cpu(), &rows, 12, &params, |_, _| ()).unwrap();
            assert_eq!((compressed.centroids.len(), compressed.clusters), (12, 12));
            let error = quantization_error(&Device::cpu(), &rows, &compressed.centroids, 300, &params, |_| ());
            assert!(error.unwrap().mean < 0.01, "{method}");
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
        }
    }
}
