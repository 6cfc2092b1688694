//! Training a 4-bit product quantizer: a k-means of 16 centroids in each sub-space, all of them in the same passes over
//! the rows. What faiss does with `ProductQuantizer::train`.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::batches::Batches;
use super::sample::RowSample;
use super::{KMeansParams, Training, assign, check_passes, training};
use crate::device::{CentroidTable, ClusterSums, Codebooks, Device, PQ_CENTROIDS};
use crate::error::{Error, Result};
use crate::features::FeatureSource;

/// Trained codebooks, and how it went.
#[derive(Clone, Debug, PartialEq)]
pub struct PqTraining {
    /// 16 centroids for each of M sub-vectors: \[M\]\[16\]\[d/M\], as faiss has them.
    pub codebooks: Vec<f32>,
    /// How the training went, with the squared errors of all rows as its objective.
    pub training: Training,
}

impl KMeansParams {
    /// faiss's parameters for a product quantizer: 25 passes over at most 4,096 rows.
    pub fn product_quantizer() -> Self {
        Self { iterations: 25, ..Self::default() }
    }
}

/// Trains the codebooks of a 4-bit product quantizer of `m` sub-quantizers for the rows of `source`, or with
/// `residuals_of` for the rows less their nearest centroids (faiss's `by_residual`). `progress` is told the iteration,
/// from 0 on, and the rows done in it.
///
/// # Errors
/// [`Error::Parameter`] where `m` does not divide the rows' width, for no iterations, or for fewer than 16 rows; what
/// the source or the device reports.
pub fn train_product_quantizer(
    device: &Device,
    source: &dyn FeatureSource,
    m: usize,
    params: &KMeansParams,
    residuals_of: Option<&CentroidTable>,
    mut progress: impl FnMut(usize, usize),
) -> Result<PqTraining> {
    check(source, m, params)?;
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let most = PQ_CENTROIDS.saturating_mul(params.max_rows_per_centroid.max(1));
    let sample = RowSample::draw(source, most, &mut rng);
    let residuals = residuals_of.map(|table| Residuals::of(device, &sample, table, params.batch_rows)).transpose()?;
    let rows: &dyn FeatureSource = residuals.as_ref().map_or(&sample, |residuals| residuals);

    let dsub = source.dim() / m;
    let mut centroids = device.upload(&first_centroids(rows, dsub, &mut rng)?, dsub)?;
    // With one row a centroid the rows are the centroids.
    let iterations = if rows.rows() == PQ_CENTROIDS { 0 } else { params.iterations };
    let plan = device.batch_plan(rows.rows(), source.dim(), PQ_CENTROIDS, params.batch_rows);
    let batches = Batches::new(device, rows, plan)?;
    let (mut costs, mut tally) = (Vec::new(), device.update_tally()?);
    for iteration in 0..iterations {
        let codebooks = device.codebooks_of(&centroids, m)?;
        let sums = accumulate(device, &batches, &codebooks, |done| progress(iteration, done))?;
        costs.push(sums.costs.clone());
        // Every sub-space by itself.
        centroids = device.centroid_means(sums, &centroids, m, rng.random(), &mut tally)?;
    }
    let training = training(device, &costs, &tally, rows.rows(), warnings(rows.rows(), params))?;
    Ok(PqTraining { codebooks: device.download_matrix(&centroids)?, training })
}

fn check(source: &dyn FeatureSource, m: usize, params: &KMeansParams) -> Result<()> {
    let (rows, dim) = (source.rows(), source.dim());
    if m == 0 || dim == 0 || !dim.is_multiple_of(m) {
        let found = format!("{m} sub-quantizers for rows of {dim}");
        return Err(Error::parameter("M", found, format!("choose a divisor of {dim}")));
    }
    if rows < PQ_CENTROIDS {
        let found = format!("{rows} to train the {PQ_CENTROIDS} centroids of each sub-quantizer");
        return Err(Error::parameter("rows", found, "add features, or choose an index without a product quantizer"));
    }
    check_passes(params.iterations, params.batch_rows)
}

fn warnings(rows: usize, params: &KMeansParams) -> Vec<String> {
    let wanted = PQ_CENTROIDS.saturating_mul(params.min_rows_per_centroid);
    if rows >= wanted {
        return Vec::new();
    }
    vec![format!("{rows} rows are few for a product quantizer: {wanted} or more make a good one")]
}

/// The same random rows in every sub-space, as in faiss.
fn first_centroids(rows: &dyn FeatureSource, dsub: usize, rng: &mut ChaCha8Rng) -> Result<Vec<f32>> {
    let dim = rows.dim();
    let mut first = vec![0.0; PQ_CENTROIDS * dim];
    RowSample::draw(rows, PQ_CENTROIDS, rng).read(0, &mut first)?;
    let sub_vectors = |sub: usize| first.chunks_exact(dim).flat_map(move |row| &row[sub * dsub..][..dsub]);
    Ok((0..dim / dsub).flat_map(sub_vectors).copied().collect())
}

/// One pass: every sub-vector's share added to its centroid's sums, which stay on the device.
fn accumulate(
    device: &Device,
    batches: &Batches<'_>,
    codebooks: &Codebooks,
    mut progress: impl FnMut(usize),
) -> Result<ClusterSums> {
    let mut sums = device.cluster_sums(codebooks.m() * PQ_CENTROIDS, codebooks.dsub())?;
    let mut done = 0;
    batches.for_each(|rows| {
        let codes = device.pq_encode(rows, codebooks, None)?;
        device.pq_update(rows, &codes, codebooks, &mut sums)?;
        done += rows.rows();
        progress(done);
        Ok(())
    })?;
    Ok(sums)
}

/// Rows less their nearest centroids.
struct Residuals<'a> {
    rows: &'a dyn FeatureSource,
    centroids: Vec<f32>,
    labels: Vec<u32>,
}

impl<'a> Residuals<'a> {
    fn of(
        device: &Device,
        rows: &'a dyn FeatureSource,
        table: &CentroidTable,
        batch_rows: Option<usize>,
    ) -> Result<Self> {
        let labels = assign(device, rows, table, batch_rows, |_| ())?;
        Ok(Self { rows, centroids: device.download_centroids(table)?, labels })
    }
}

impl FeatureSource for Residuals<'_> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.rows.read(start, out)?;
        let dim = self.dim();
        for (row, &label) in out.chunks_exact_mut(dim).zip(&self.labels[start..]) {
            let centroid = &self.centroids[label as usize * dim..][..dim];
            row.iter_mut().zip(centroid).for_each(|(x, &c)| *x -= c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::Metric;
    use crate::features::{MemoryRows, NpyFiles};

    fn train(values: &[f32], dim: usize, m: usize) -> Result<PqTraining> {
        let source = MemoryRows::new(values, dim)?;
        train_product_quantizer(&Device::cpu(), &source, m, &KMeansParams::product_quantizer(), None, |_, _| ())
    }

    /// Sum of the squared errors that quantizing leaves.
    fn error(values: &[f32], dim: usize, m: usize, codebooks: &[f32]) -> f64 {
        let device = Device::cpu();
        let codebooks = device.codebooks(codebooks, m).unwrap();
        let rows = device.upload(values, dim).unwrap();
        let codes = device.pq_encode(&rows, &codebooks, None).unwrap();
        let mut sums = device.cluster_sums(m * PQ_CENTROIDS, dim / m).unwrap();
        device.pq_update(&rows, &codes, &codebooks, &mut sums).unwrap();
        device.download_sums(&sums).unwrap().costs.iter().map(|&cost| f64::from(cost)).sum()
    }

    fn voice() -> (Vec<f32>, usize) {
        let voice = NpyFiles::open(&["tests/data/voice-sample"]).unwrap();
        let mut values = vec![0.0; voice.rows() * voice.dim()];
        voice.read(0, &mut values).unwrap();
        (values, voice.dim())
    }

    #[test]
    fn as_good_as_faiss() {
        // faiss 1.15.1, ProductQuantizer(256, 128, 4), trained on these 3,003 rows with its default seed: the mean over
        // the rows of |x − decode(encode(x))|². Its other seeds give 55.46 to 55.67.
        const FAISS: f64 = 55.677;
        let (values, dim) = voice();
        let trained = train(&values, dim, 128).unwrap();
        let found = error(&values, dim, 128, &trained.codebooks) / 3003.0;
        assert!((found / FAISS - 1.0).abs() < 0.01, "{found}, faiss has {FAISS}");
        let objective = &trained.training.objective;
        assert_eq!((trained.training.rows, objective.len()), (3003, 25));
        assert!(objective.windows(2).all(|w| w[1] < 1.001 * w[0]), "{objective:?}");
        assert_eq!(train(&values, dim, 128).unwrap(), trained);
    }

    #[test]
    fn residuals_are_trained_and_encoded() {
        let (values, dim) = voice();
        let (device, params) = (Device::cpu(), KMeansParams::product_quantizer());
        let source = MemoryRows::new(&values, dim).unwrap();
        let table = device.centroid_table(&values[..20 * dim], dim, Metric::L2).unwrap();
        let trained = train_product_quantizer(&device, &source, 64, &params, Some(&table), |_, _| ()).unwrap();

        let rows = device.upload(&values, dim).unwrap();
        let nearest = device.nearest_centroid(&rows, &table).unwrap();
        let labels = device.download(&nearest.labels).unwrap();
        let origin = |row: usize| &values[labels[row] as usize * dim..][..dim];
        let less_origin = |(row, x): (usize, &[f32])| x.iter().zip(origin(row)).map(|(x, c)| x - c).collect::<Vec<_>>();
        let residuals: Vec<f32> = values.chunks(dim).enumerate().flat_map(less_origin).collect();
        assert_eq!(train(&residuals, dim, 64).unwrap(), trained);

        let codebooks = device.codebooks(&trained.codebooks, 64).unwrap();
        let codes = device.pq_encode(&rows, &codebooks, Some((&table, &nearest))).unwrap();
        let same = device.pq_encode(&device.upload(&residuals, dim).unwrap(), &codebooks, None).unwrap();
        assert_eq!(device.download(&codes).unwrap(), device.download(&same).unwrap());
    }

    #[test]
    fn rows_that_do_not_differ() {
        let (rows, dim) = (700, 6);
        for value in [0.0, -3.5] {
            let values = vec![value; rows * dim];
            let trained = train(&values, dim, 3).unwrap();
            assert!(error(&values, dim, 3, &trained.codebooks) < 1e-3);
        }
        // Three different rows, and a dimension that never changes.
        let values: Vec<f32> = (0..rows).flat_map(|row| [(row % 3) as f32, 7.0]).collect();
        let trained = train(&values, 2, 2).unwrap();
        assert!(error(&values, 2, 2, &trained.codebooks) < 1e-2 * rows as f64, "{:?}", trained.codebooks);
        assert!(trained.codebooks.iter().all(|c| c.is_finite()));
    }

    #[test]
    fn sixteen_rows_are_their_own_centroids_and_fewer_are_refused() {
        let values: Vec<f32> = (0..16 * 4).map(|i| i as f32).collect();
        let trained = train(&values, 4, 2).unwrap();
        assert_eq!(error(&values, 4, 2, &trained.codebooks), 0.0);
        assert_eq!(trained.training.warnings.len(), 1);
        let refused = train(&values[..60], 4, 2).unwrap_err().to_string();
        assert!(
            refused.starts_with("rows: 15 to train the 16 centroids") && refused.contains("add features"),
            "{refused}"
        );
    }

    #[test]
    fn a_number_of_sub_quantizers_that_does_not_divide() {
        for m in [0, 3, 8] {
            let refused = train(&[0.0; 400], 4, m).unwrap_err().to_string();
            assert_eq!(refused, format!("M: {m} sub-quantizers for rows of 4; choose a divisor of 4"));
        }
    }

    #[test]
    fn batches_change_nothing_but_rounding() {
        let (values, dim) = voice();
        let source = MemoryRows::new(&values, dim).unwrap();
        let params = KMeansParams { batch_rows: Some(100), ..KMeansParams::product_quantizer() };
        let mut last = (0, 0);
        let streamed =
            train_product_quantizer(&Device::cpu(), &source, 128, &params, None, |at, done| last = (at, done)).unwrap();
        assert_eq!(last, (24, 3003));
        let (streamed, whole) = (streamed.training.objective, train(&values, dim, 128).unwrap().training.objective);
        assert!((streamed[0] / whole[0] - 1.0).abs() < 1e-6);
        assert!((streamed[24] / whole[24] - 1.0).abs() < 1e-2);
    }
}
