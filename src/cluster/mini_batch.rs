//! Mini-batch k-means, for many clusters of more rows than one cares to walk over again and again.
//!
//! The update is scikit-learn's (`MiniBatchKMeans`): a centroid is the mean of all rows that fell to it, which is a
//! learning rate of 1 / count; starved centroids are put on random rows; and it ends when the smoothed error of the
//! batches no longer falls. Where scikit-learn spends its time for little, this goes another way:
//!
//! - Batches have 10 rows a centroid instead of 256 a core (RVC's), two passes of them instead of an open number. A
//!   centroid then moves to a mean of rows and few are starved.
//! - A pass has every row once. Drawn one by one with replacement, a third of the rows are missing.
//! - What a centroid took in before a pass counts as one row in it, instead of as much as ever: those rows come again,
//!   and fall to centroids that have moved since.
//! - One draw of first centroids instead of the best of three, which a batch evens out.
//! - Starved centroids move before a batch instead of after it, so none is left where it was put.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::batches::Batches;
use super::early_stop::EarlyStop;
use super::sample::{RowSample, shuffled};
use super::{accumulate, check_clusters, check_columns, check_finite, check_passes};
use crate::device::{Device, HostSums};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::FeatureSource;
use crate::memory;

/// Rows a centroid in a batch. Of speech, fewer leave a higher error after as many passes, and so do a few large batches.
const BATCH_ROWS_PER_CENTROID: usize = 10;
/// Fewer rows a batch leave a device idle between its updates.
const MIN_BATCH_ROWS: usize = 1024;

/// What a mini-batch k-means is asked to do. The defaults are scikit-learn's, but for larger batches and fewer passes.
#[derive(Clone, Debug, PartialEq)]
pub struct MiniBatchParams {
    /// Passes over the rows, unless it ends by itself before.
    pub iterations: usize,
    /// Decides the first centroids, the batches and where starved centroids go: one seed on one device gives one result.
    pub seed: u64,
    /// Rows between two updates of the centroids; by default 10 a centroid, and 1,024 at least.
    pub mini_batch_rows: Option<usize>,
    /// Batches after which it ends if the smoothed error was no smaller since.
    pub max_no_improvement: usize,
    /// It ends, too, where a batch moves the centroids by at most this share of the mean variance of the columns: the
    /// squared distances of all centroids together. 0 leaves that out; anything else takes a pass over the rows.
    pub tol: f64,
    /// A centroid is starved where its count is below this share of the greatest, 0 to 1.
    pub reassignment_ratio: f64,
    /// Rows of a mini-batch that go to the device at a time; by default as many as suit it.
    pub batch_rows: Option<usize>,
}

impl Default for MiniBatchParams {
    fn default() -> Self {
        Self {
            iterations: 2,
            seed: 1234,
            mini_batch_rows: None,
            max_no_improvement: 10,
            tol: 0.0,
            reassignment_ratio: 0.01,
            batch_rows: None,
        }
    }
}

/// Trained centroids, and how it went.
#[derive(Clone, Debug, PartialEq)]
pub struct MiniBatchKMeans {
    /// Row-major, clusters × d.
    pub centroids: Vec<f32>,
    /// Updates of the centroids.
    pub batches: usize,
    /// Rows of all these batches.
    pub rows_seen: usize,
    /// Starved centroids that were put elsewhere, over all batches.
    pub reassigned: usize,
    /// True where it ended by itself, false where the passes were over.
    pub converged: bool,
}

/// Trains `clusters` centroids for the rows of `source` by L2. `progress` is told the pass, from 0 on, and the rows done
/// in it.
///
/// # Errors
/// [`Error::Parameter`] for no clusters, for as many as there are rows, for no passes, or for a share that is none; what
/// the source or the device reports.
pub fn mini_batch_k_means(
    device: &Device,
    source: &dyn FeatureSource,
    clusters: usize,
    params: &MiniBatchParams,
    mut progress: impl FnMut(usize, usize),
) -> Result<MiniBatchKMeans> {
    check_clusters(source.rows(), clusters)?;
    check_columns(source)?;
    check(params)?;
    let (rows, dim) = (source.rows(), source.dim());
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let mut centroids = Centroids::first(source, clusters, &mut rng)?;
    let mini_batch_rows =
        params.mini_batch_rows.unwrap_or(BATCH_ROWS_PER_CENTROID.saturating_mul(clusters).max(MIN_BATCH_ROWS));
    let batch_rows = device.batch_plan(mini_batch_rows, dim, clusters, params.batch_rows).batch_rows;
    let mut early_stop = EarlyStop::new(source, params.max_no_improvement, params.tol, batch_rows)?;
    let mut last = None;
    let (mut batches, mut rows_seen, mut reassigned, mut since_reassignment, mut converged) = (0, 0, 0, 0, false);
    'passes: for pass in 0..params.iterations {
        let mut before = 0;
        centroids.begin_pass();
        for batch in shuffled(rows, mini_batch_rows, &mut rng) {
            let batch = RowSample::of(source, batch);
            since_reassignment += batch.rows();
            // As often as scikit-learn does.
            if since_reassignment >= clusters.saturating_mul(10) || centroids.counts.contains(&0) {
                since_reassignment = 0;
                reassigned += centroids.reassign(&batch, params.reassignment_ratio, &mut rng)?;
            }
            let uploaded = device.upload(&centroids.values, dim)?;
            let table = device.centroid_table_of(uploaded, Metric::L2, last.as_ref())?;
            let streamed = Batches::Streamed { device, source: &batch, batch_rows };
            let sums = accumulate(device, &streamed, &table, |done| progress(pass, before + done))?;
            let sums = device.download_sums(&sums)?;
            check_finite(&sums.sums)?;
            centroids.update(&sums);
            last = Some(table);
            batches += 1;
            before += batch.rows();
            rows_seen += batch.rows();
            let error = sums.costs.iter().map(|&cost| f64::from(cost)).sum::<f64>() / batch.rows() as f64;
            converged = early_stop.is_over(error, batch.rows(), std::mem::take(&mut centroids.moved));
            if converged {
                break 'passes;
            }
        }
    }
    Ok(MiniBatchKMeans { centroids: centroids.values, batches, rows_seen, reassigned, converged })
}

fn check(params: &MiniBatchParams) -> Result<()> {
    check_passes(params.iterations, params.batch_rows)?;
    let zero = |name| Err(Error::parameter(name, 0, "choose at least 1"));
    match params {
        MiniBatchParams { mini_batch_rows: Some(0), .. } => zero("mini_batch_rows"),
        MiniBatchParams { max_no_improvement: 0, .. } => zero("max_no_improvement"),
        MiniBatchParams { tol, .. } if !(0.0..).contains(tol) => {
            Err(Error::parameter("tol", tol, "choose 0, or a positive share"))
        }
        MiniBatchParams { reassignment_ratio: ratio, .. } if !(0.0..=1.0).contains(ratio) => {
            Err(Error::parameter("reassignment_ratio", ratio, "choose 0 to 1"))
        }
        _ => Ok(()),
    }
}

/// The centroids, and how many rows have gone into each.
struct Centroids {
    values: Vec<f32>,
    counts: Vec<u64>,
    /// Squared distances between where centroids were and where they went, added up.
    moved: f64,
    dim: usize,
}

impl Centroids {
    /// Random rows, which are forgotten once rows fall to them.
    fn first(source: &dyn FeatureSource, clusters: usize, rng: &mut impl Rng) -> Result<Self> {
        let dim = source.dim();
        let mut values = memory::zeros(clusters.saturating_mul(dim), "the centroids")?;
        RowSample::draw(source, clusters, rng).read(0, &mut values)?;
        Ok(Self { values, counts: vec![0; clusters], moved: 0.0, dim })
    }

    /// Rows of the passes before count as one together: they are about to come again, and fell to centroids that have
    /// moved since.
    fn begin_pass(&mut self) {
        self.counts.iter_mut().for_each(|count| *count = (*count).min(1));
    }

    /// Each centroid becomes the mean of the rows that went into it before and of those that fell to it now.
    fn update(&mut self, sums: &HostSums) {
        let parts = self.counts.iter_mut().zip(&sums.counts).zip(sums.sums.chunks_exact(self.dim));
        for (centroid, ((count, &new), sum)) in self.values.chunks_exact_mut(self.dim).zip(parts) {
            if new == 0 {
                continue;
            }
            let before = *count as f64;
            *count += u64::from(new);
            let scale = 1.0 / *count as f64;
            for (c, &sum) in centroid.iter_mut().zip(sum) {
                let mean = ((f64::from(*c) * before + f64::from(sum)) * scale) as f32;
                self.moved += f64::from(mean - *c).powi(2);
                *c = mean;
            }
        }
    }

    /// Puts starved centroids on random rows of the batch, half of its rows at most, and lets them count as much as the
    /// least of the others: with less they would be starved at once. Returns how many.
    fn reassign(&mut self, batch: &RowSample<'_>, ratio: f64, rng: &mut impl Rng) -> Result<usize> {
        let starved = self.starved(ratio, batch.rows() / 2);
        if starved.is_empty() {
            return Ok(0);
        }
        let mut rows = memory::zeros(starved.len() * self.dim, "the centroids")?;
        batch.subset(starved.len(), rng).read(0, &mut rows)?;
        for (&cluster, row) in starved.iter().zip(rows.chunks_exact(self.dim)) {
            let centroid = &mut self.values[cluster * self.dim..][..self.dim];
            self.moved += centroid.iter().zip(row).map(|(c, x)| f64::from(x - c).powi(2)).sum::<f64>();
            centroid.copy_from_slice(row);
            self.counts[cluster] = u64::MAX;
        }
        let least = self.counts.iter().copied().min().unwrap_or(0);
        starved.iter().for_each(|&cluster| self.counts[cluster] = least);
        Ok(starved.len())
    }

    /// The centroids whose counts are below a share of the greatest, `most` of them at most, least counts first.
    fn starved(&self, ratio: f64, most: usize) -> Vec<usize> {
        let limit = ratio * self.counts.iter().copied().max().unwrap_or(0) as f64;
        let mut starved: Vec<usize> = (0..self.counts.len()).filter(|&i| (self.counts[i] as f64) < limit).collect();
        if starved.len() > most {
            starved.sort_by_key(|&cluster| self.counts[cluster]);
            starved.truncate(most);
        }
        starved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    fn sums(sums: &[f32], counts: &[u32]) -> HostSums {
        HostSums { sums: sums.to_vec(), counts: counts.to_vec(), costs: vec![0.0; counts.len()] }
    }

    /// Rows around `centers`, none of them twice.
    fn rows_around(centers: &[f32], rows: usize, dim: usize) -> Vec<f32> {
        let value = |i: usize| centers[i / dim % centers.len()] + ((i * 7919) % 1013) as f32 / 1013.0;
        (0..rows * dim).map(value).collect()
    }

    #[test]
    fn a_centroid_is_the_mean_of_all_rows_that_fell_to_it() {
        let mut centroids = Centroids { values: vec![10.0, 20.0, 30.0], counts: vec![0; 3], moved: 0.0, dim: 1 };
        // 1 and 3 fall to the first, which forgets where it stood.
        centroids.update(&sums(&[4.0, 0.0, 0.0], &[2, 0, 0]));
        assert_eq!((&*centroids.values, &*centroids.counts), (&[2.0, 20.0, 30.0][..], &[2, 0, 0][..]));
        assert_eq!(centroids.moved, 64.0);
        // 8 falls to the first: the mean of 1, 3 and 8; 5 and 7 to the second.
        centroids.update(&sums(&[8.0, 12.0, 0.0], &[1, 2, 0]));
        assert_eq!((&*centroids.values, &*centroids.counts), (&[4.0, 6.0, 30.0][..], &[3, 2, 0][..]));
    }

    #[test]
    fn starved_centroids_move_to_rows_and_count_as_the_least_of_the_others() {
        let counts = vec![0, 5, 1000, 10, 9];
        let mut centroids = Centroids { values: vec![-1.0; 5], counts, moved: 0.0, dim: 1 };
        // A hundredth of 1000 is enough.
        assert_eq!(centroids.starved(0.01, 9), [0, 1, 4]);
        assert_eq!(centroids.starved(0.01, 2), [0, 1]);
        assert!(centroids.starved(0.0, 9).is_empty() && centroids.starved(0.01, 0).is_empty());

        let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let source = MemoryRows::new(&values, 1).unwrap();
        let batch = RowSample::of(&source, (10..16).collect());
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(centroids.reassign(&batch, 0.01, &mut rng).unwrap(), 3);
        assert_eq!(centroids.counts, [10, 10, 1000, 10, 10]);
        assert_eq!(centroids.values[2..4], [-1.0, -1.0]);
        let moved = [0, 1, 4].map(|i| centroids.values[i]);
        assert!(moved.windows(2).all(|w| w[0] < w[1]) && moved.iter().all(|x| (10.0..16.0).contains(x)), "{moved:?}");
        assert_eq!(centroids.reassign(&batch, 0.01, &mut rng).unwrap(), 0);
    }

    /// The rule as its authors wrote it (Sculley, 2010), row by row and in float64: c += (x − c) / count.
    #[test]
    fn agrees_with_the_update_a_row() {
        let (dim, clusters, mini_batch_rows, iterations) = (3, 7, 64, 4);
        let values = rows_around(&[0.0, 4.0, -3.0], 500, dim);
        let source = MemoryRows::new(&values, dim).unwrap();
        let params = MiniBatchParams {
            iterations,
            mini_batch_rows: Some(mini_batch_rows),
            reassignment_ratio: 0.0,
            max_no_improvement: usize::MAX,
            ..MiniBatchParams::default()
        };
        let trained = mini_batch_k_means(&Device::cpu(), &source, clusters, &params, |_, _| ()).unwrap();

        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let first = Centroids::first(&source, clusters, &mut rng).unwrap();
        let mut centroids: Vec<f64> = first.values.iter().map(|&x| f64::from(x)).collect();
        let mut counts = vec![0.0; clusters];
        for _ in 0..iterations {
            // What was before a pass counts as one row.
            counts.iter_mut().for_each(|count: &mut f64| *count = count.min(1.0));
            for batch in shuffled(500, mini_batch_rows, &mut rng) {
                let before = centroids.clone();
                for row in batch {
                    let x: Vec<f64> = values[row * dim..][..dim].iter().map(|&x| f64::from(x)).collect();
                    let squared = |c: &[f64]| c.iter().zip(&x).map(|(c, x)| (c - x) * (c - x)).sum::<f64>();
                    let distances: Vec<f64> = before.chunks(dim).map(squared).collect();
                    let nearest = (0..clusters).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
                    counts[nearest] += 1.0;
                    let centroid = &mut centroids[nearest * dim..][..dim];
                    centroid.iter_mut().zip(&x).for_each(|(c, x)| *c += (x - *c) / counts[nearest]);
                }
            }
        }
        for (ours, exact) in trained.centroids.iter().zip(&centroids) {
            assert!((f64::from(*ours) - exact).abs() < 1e-5, "{ours} {exact}");
        }
        assert_eq!((trained.batches, trained.rows_seen, trained.converged), (iterations * 8, iterations * 500, false));
    }

    #[test]
    fn one_seed_gives_one_result_in_batches_of_any_size() {
        let values = rows_around(&[0.0, 9.0], 900, 2);
        let source = MemoryRows::new(&values, 2).unwrap();
        let train = |seed, batch_rows| {
            let params = MiniBatchParams { seed, batch_rows, iterations: 2, ..MiniBatchParams::default() };
            mini_batch_k_means(&Device::cpu(), &source, 20, &params, |_, _| ()).unwrap().centroids
        };
        assert_eq!(train(1, None), train(1, Some(7)));
        assert_ne!(train(1, None), train(2, None));
    }

    #[test]
    fn it_ends_where_nothing_is_gained_or_moved() {
        // Equal rows, whose error is 0 from the first batch on: 10 batches without improvement after the second.
        let values = [0.5, 0.75].repeat(300);
        let source = MemoryRows::new(&values, 2).unwrap();
        let ended = |mini_batch_rows, tol| {
            let params = MiniBatchParams { mini_batch_rows: Some(mini_batch_rows), tol, ..MiniBatchParams::default() };
            let trained = mini_batch_k_means(&Device::cpu(), &source, 50, &params, |_, _| ()).unwrap();
            assert_eq!(trained.centroids, values[..100]);
            (trained.batches, trained.converged)
        };
        assert_eq!([ended(16, 0.0), ended(600, 0.0)], [(12, true), (2, false)]);
        // They do not vary, so no movement is a share of that.
        assert_eq!(ended(16, 1.0), (12, true));

        let values = rows_around(&[0.0, 9.0], 900, 2);
        let source = MemoryRows::new(&values, 2).unwrap();
        for (tol, converged) in [(0.0, false), (1e-9, false), (1e9, true)] {
            let params =
                MiniBatchParams { mini_batch_rows: Some(100), iterations: 1, tol, ..MiniBatchParams::default() };
            let trained = mini_batch_k_means(&Device::cpu(), &source, 20, &params, |_, _| ()).unwrap();
            // The first batch moves them from where they were drawn, which says nothing.
            assert_eq!((trained.converged, trained.batches), (converged, if converged { 2 } else { 9 }), "{tol}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let values = rows_around(&[0.0], 10, 2);
        let source = MemoryRows::new(&values, 2).unwrap();
        let refused = |clusters, params: MiniBatchParams| {
            mini_batch_k_means(&Device::cpu(), &source, clusters, &params, |_, _| ()).unwrap_err().to_string()
        };
        let usual = MiniBatchParams::default();
        let bare = ndarray::Array2::<f32>::zeros((9, 0));
        let refusal = mini_batch_k_means(&Device::cpu(), &bare.view(), 2, &usual, |_, _| ()).unwrap_err();
        assert!(refusal.to_string().starts_with("rows: they have no columns"));
        assert!(refused(0, usual.clone()).starts_with("clusters: 0"));
        assert!(refused(10, usual.clone()).starts_with("clusters: 10 clusters for 10 rows"));
        assert!(refused(2, MiniBatchParams { iterations: 0, ..usual.clone() }).starts_with("iterations: 0"));
        let rows = |mini_batch_rows| MiniBatchParams { mini_batch_rows, ..usual.clone() };
        assert!(refused(2, rows(Some(0))).starts_with("mini_batch_rows: 0"));
        assert!(refused(2, MiniBatchParams { batch_rows: Some(0), ..usual.clone() }).starts_with("batch_rows: 0"));
        assert!(refused(2, MiniBatchParams { max_no_improvement: 0, ..usual.clone() }).starts_with("max_no_improve"));
        for share in [-0.1, f64::NAN] {
            assert!(refused(2, MiniBatchParams { tol: share, ..usual.clone() }).starts_with("tol: "));
            let params = MiniBatchParams { reassignment_ratio: share, ..usual.clone() };
            assert!(refused(2, params).starts_with("reassignment_ratio: "));
        }
        assert!(
            refused(2, MiniBatchParams { reassignment_ratio: 1.5, ..usual }).starts_with("reassignment_ratio: 1.5")
        );
    }
}
