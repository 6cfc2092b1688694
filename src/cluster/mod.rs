//! k-means: written once over the stages that every device offers.
//!
//! Lloyd's algorithm as faiss runs it (`faiss/Clustering.cpp`): random rows to start from, a sample of at most 256 rows
//! a centroid, means of the assigned rows, and half of a populous cluster for every empty one. Mini-batch k-means as
//! scikit-learn runs it, for compressing a voice.

mod batches;
mod compress;
mod early_stop;
mod mini_batch;
mod product_quantizer;
mod sample;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::device::{Buffer, CentroidTable, ClusterSums, Device, HostTally, Matrix, UpdateTally};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::FeatureSource;
use crate::memory;
use batches::Batches;
pub use compress::{CompressParams, Compressed, Method, QuantizationError, compress, quantization_error, rvc_clusters};
pub use mini_batch::{MiniBatchKMeans, MiniBatchParams, mini_batch_k_means};
pub use product_quantizer::{PqTraining, train_product_quantizer};
pub(crate) use sample::RowSample;

/// What a k-means is asked to do. The defaults are faiss's for a coarse quantizer.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeansParams {
    /// Passes over the rows.
    pub iterations: usize,
    /// Decides the sample, the first centroids and the splits: one seed on one device gives one result.
    pub seed: u64,
    /// More rows than this for each centroid are sampled down.
    pub max_rows_per_centroid: usize,
    /// Fewer rows than this for each centroid are warned about.
    pub min_rows_per_centroid: usize,
    /// Rows that go to the device at a time; by default as many as suit it.
    pub batch_rows: Option<usize>,
    /// Find the label of each row of the source in the end, too: while rows are on their device it takes less than
    /// [`assign`] does.
    pub labels: bool,
}

impl Default for KMeansParams {
    fn default() -> Self {
        Self {
            iterations: 10,
            seed: 1234,
            max_rows_per_centroid: 256,
            min_rows_per_centroid: 39,
            batch_rows: None,
            labels: false,
        }
    }
}

/// Trained centroids, and how it went.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// Row-major, nlist × d.
    pub centroids: Vec<f32>,
    /// How the training went.
    pub training: Training,
}

/// How a training went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Training {
    /// Sum of the distances of all training rows to their centroids in each iteration, before its update: falls with
    /// L2, rises with inner product.
    pub objective: Vec<f64>,
    /// Rows that were trained on.
    pub rows: usize,
    /// Empty clusters that were split from others, over all iterations.
    pub splits: usize,
    /// The label of each row of the source, as [`assign`] has them; empty where they were not asked for.
    pub labels: Vec<u32>,
    /// What the caller should tell the user.
    pub warnings: Vec<String>,
}

/// Trains `nlist` centroids for the rows of `source`, spherical (unit length) for inner product. `progress` is told
/// the iteration, from 0 on, and the rows done in it; labels come after the last one.
///
/// # Errors
/// [`Error::Parameter`] for no centroids, no iterations, or fewer rows than centroids; what the source or the device
/// reports.
pub fn k_means(
    device: &Device,
    source: &dyn FeatureSource,
    nlist: usize,
    metric: Metric,
    params: &KMeansParams,
    mut progress: impl FnMut(usize, usize),
) -> Result<KMeans> {
    check(source, nlist, params)?;
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let most = nlist.saturating_mul(params.max_rows_per_centroid.max(1));
    let sample = (source.rows() > most).then(|| RowSample::draw(source, most, &mut rng));
    let rows: &dyn FeatureSource = sample.as_ref().map_or(source, |sample| sample);

    let first = RowSample::draw(rows, nlist, &mut rng);
    let mut values = memory::zeros(nlist.saturating_mul(source.dim()), "the centroids")?;
    first.read(0, &mut values)?;
    let mut centroids = post_process(device, device.upload(&values, source.dim())?, metric)?;
    let warnings = warnings(rows.rows(), nlist, params);
    // With one row a centroid the rows are the centroids.
    let iterations = if rows.rows() == nlist { 0 } else { params.iterations };
    let plan = device.batch_plan(rows.rows(), source.dim(), nlist, params.batch_rows);
    let batches = Batches::new(device, rows, plan)?;
    // All of it stays on the device until the last iteration is through.
    let (mut before, mut costs, mut tally) = (None, Vec::new(), device.update_tally()?);
    for iteration in 0..iterations {
        let table = device.centroid_table_of(centroids, metric, before.as_ref())?;
        let sums = accumulate(device, &batches, &table, |done| progress(iteration, done))?;
        costs.push(sums.costs.clone());
        let means = device.centroid_means(sums, &table.centroids, 1, rng.random(), &mut tally)?;
        centroids = post_process(device, means, metric)?;
        before = Some(table);
    }
    let training = training(device, &costs, &tally, rows.rows(), warnings)?;
    let trained = device.download_matrix(&centroids)?;
    if !params.labels {
        return Ok(KMeans { centroids: trained, training });
    }
    let table = device.centroid_table_of(centroids, metric, before.as_ref())?;
    let report = |done| progress(params.iterations, done);
    let labels = match sample {
        None => labels_of(device, &batches, &table, report)?,
        Some(_) => assign(device, source, &table, params.batch_rows, report)?,
    };
    Ok(KMeans { centroids: trained, training: Training { labels, ..training } })
}

/// The label of each row: the number of its nearest centroid.
///
/// # Errors
/// What the source or the device reports.
pub fn assign(
    device: &Device,
    source: &dyn FeatureSource,
    table: &CentroidTable,
    batch_rows: Option<usize>,
    progress: impl FnMut(usize),
) -> Result<Vec<u32>> {
    let plan = device.batch_plan(source.rows(), source.dim(), table.nlist(), batch_rows);
    labels_of(device, &Batches::Streamed { device, source, batch_rows: plan.batch_rows }, table, progress)
}

fn labels_of(
    device: &Device,
    batches: &Batches<'_>,
    table: &CentroidTable,
    mut progress: impl FnMut(usize),
) -> Result<Vec<u32>> {
    // They are read back once all are on their way.
    let (mut found, mut done) = (Vec::new(), 0);
    batches.for_each(|rows| {
        found.push(device.nearest_centroid(rows, table)?.labels);
        done += rows.rows();
        progress(done);
        Ok(())
    })?;
    let mut labels = memory::with_capacity(done, "the labels of the rows")?;
    for some in &found {
        labels.extend_from_slice(&device.view(some)?);
    }
    Ok(labels)
}

/// Fails where `rows` rows cannot train `nlist` centroids: there has to be one for each.
///
/// # Errors
/// [`Error::Parameter`].
pub fn check_rows(rows: usize, nlist: usize) -> Result<()> {
    check_nlist(nlist)?;
    if rows < nlist {
        let found = format!("{nlist} lists for {rows} rows");
        return Err(Error::parameter("nlist", found, "choose at most one list a row, or add features"));
    }
    Ok(())
}

fn check(source: &dyn FeatureSource, nlist: usize, params: &KMeansParams) -> Result<()> {
    check_rows(source.rows(), nlist)?;
    check_columns(source)?;
    check_passes(params.iterations, params.batch_rows)
}

fn check_columns(source: &dyn FeatureSource) -> Result<()> {
    if source.dim() == 0 {
        return Err(Error::parameter("rows", "they have no columns", "pass rows of at least one float"));
    }
    Ok(())
}

fn check_passes(iterations: usize, batch_rows: Option<usize>) -> Result<()> {
    if iterations == 0 {
        return Err(Error::parameter("iterations", 0, "choose at least 1"));
    }
    if batch_rows == Some(0) {
        return Err(Error::parameter("batch_rows", 0, "choose at least 1"));
    }
    Ok(())
}

/// Fails where `clusters` cannot stand for `rows` rows: there has to be one, and fewer than rows.
///
/// # Errors
/// [`Error::Parameter`].
pub fn check_clusters(rows: usize, clusters: usize) -> Result<()> {
    if clusters == 0 {
        return Err(Error::parameter("clusters", 0, "choose at least 1"));
    }
    if clusters >= rows {
        let found = format!("{clusters} clusters for {rows} rows");
        return Err(Error::parameter("clusters", found, "choose fewer clusters than rows, or use the rows themselves"));
    }
    Ok(())
}

pub(crate) fn check_nlist(nlist: usize) -> Result<()> {
    match u32::try_from(nlist) {
        Ok(1..) => Ok(()),
        _ => Err(Error::parameter("nlist", nlist, "choose at least 1 list and fewer than 2³²")),
    }
}

fn warnings(rows: usize, nlist: usize, params: &KMeansParams) -> Vec<String> {
    let wanted = nlist.saturating_mul(params.min_rows_per_centroid);
    // One centroid is the mean of however many.
    if rows >= wanted || nlist == 1 {
        return Vec::new();
    }
    vec![format!(
        "{rows} rows are few for {nlist} centroids: {wanted} or more make good ones; consider a smaller nlist"
    )]
}

/// Centroids compared by inner product are unit vectors (spherical k-means, as in faiss's IVF).
fn post_process(device: &Device, centroids: Matrix, metric: Metric) -> Result<Matrix> {
    match metric {
        Metric::L2 => Ok(centroids),
        Metric::InnerProduct => device.l2_normalize(&centroids),
    }
}

/// One pass: every row's share added to its centroid's sums, which stay on the device.
fn accumulate(
    device: &Device,
    batches: &Batches<'_>,
    table: &CentroidTable,
    mut progress: impl FnMut(usize),
) -> Result<ClusterSums> {
    let mut sums = device.cluster_sums(table.nlist(), table.dim())?;
    let mut done = 0;
    batches.for_each(|rows| {
        let nearest = device.nearest_centroid(rows, table)?;
        device.centroid_update(rows, &nearest, &mut sums)?;
        done += rows.rows();
        progress(done);
        Ok(())
    })?;
    Ok(sums)
}

/// How a training went whose costs and tally lie on the device.
fn training(
    device: &Device,
    costs: &[Buffer<f32>],
    tally: &UpdateTally,
    rows: usize,
    warnings: Vec<String>,
) -> Result<Training> {
    let HostTally { splits, overflowed } = device.download_tally(tally)?;
    if overflowed {
        return Err(overflow());
    }
    let total = |costs| Ok(device.view(costs)?.iter().map(|&cost| f64::from(cost)).sum());
    let objective = costs.iter().map(total).collect::<Result<_>>()?;
    Ok(Training { objective, rows, splits, labels: Vec::new(), warnings })
}

fn check_finite(sums: &[f32]) -> Result<()> {
    if sums.iter().all(|sum| sum.is_finite()) { Ok(()) } else { Err(overflow()) }
}

fn overflow() -> Error {
    Error::parameter("rows", "their sums overflow float32", "scale the features down, or leave such rows out")
}
