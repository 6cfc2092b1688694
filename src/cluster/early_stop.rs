//! When a mini-batch k-means has nothing more to gain, by scikit-learn's rules.

use crate::error::Result;
use crate::features::{FeatureSource, for_each_batch};

/// Ends a training whose smoothed error has not fallen for a while, or whose centroids hardly move.
pub(super) struct EarlyStop {
    rows: usize,
    patience: usize,
    /// Squared distances of all centroids together; 0 where movement does not count.
    tolerance: f64,
    batches: usize,
    smoothed: Option<f64>,
    least: f64,
    without_improvement: usize,
}

impl EarlyStop {
    /// Ends after `patience` batches without improvement. `tol` is a share of the mean variance of the columns of
    /// `source`, which is read for it in batches of `batch_rows`.
    pub fn new(source: &dyn FeatureSource, patience: usize, tol: f64, batch_rows: usize) -> Result<Self> {
        let tolerance = if tol > 0.0 { tol * mean_variance(source, batch_rows)? } else { 0.0 };
        let (rows, least) = (source.rows(), f64::INFINITY);
        Ok(Self { rows, patience, tolerance, batches: 0, smoothed: None, least, without_improvement: 0 })
    }

    /// Takes the mean squared distance of a batch of `batch_rows` rows, and how far it moved the centroids. The first one
    /// began with random rows and says nothing.
    pub fn is_over(&mut self, error: f64, batch_rows: usize, moved: f64) -> bool {
        self.batches += 1;
        if self.batches == 1 {
            return false;
        }
        let alpha = (2.0 * batch_rows as f64 / (self.rows as f64 + 1.0)).min(1.0);
        let smoothed = self.smoothed.map_or(error, |smoothed| smoothed * (1.0 - alpha) + error * alpha);
        self.smoothed = Some(smoothed);
        if smoothed < self.least {
            (self.least, self.without_improvement) = (smoothed, 0);
        } else {
            self.without_improvement += 1;
        }
        self.without_improvement >= self.patience || (self.tolerance > 0.0 && moved <= self.tolerance)
    }
}

/// The mean of the columns' variances: the mean of the squares less the squares of the means.
fn mean_variance(source: &dyn FeatureSource, batch_rows: usize) -> Result<f64> {
    let (rows, dim) = (source.rows() as f64, source.dim());
    let (mut sums, mut squares) = (vec![0.0; dim], 0.0);
    for_each_batch(source, batch_rows, |_, batch| {
        for row in batch.chunks_exact(dim) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
                squares += f64::from(x) * f64::from(x);
            }
        }
        Ok(())
    })?;
    let of_means: f64 = sums.iter().map(|sum| (sum / rows).powi(2)).sum();
    Ok((squares / rows - of_means) / dim as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    fn early_stop(rows: usize, patience: usize, tol: f64) -> EarlyStop {
        let values: Vec<f32> = (0..rows).flat_map(|i| [i as f32, 1.0]).collect();
        EarlyStop::new(&MemoryRows::new(&values, 2).unwrap(), patience, tol, 4).unwrap()
    }

    #[test]
    fn it_ends_when_the_smoothed_error_stays() {
        // 25 of 99 rows weigh 2 · 25 / 100 = one half. Smoothed: -, 8, 6, 6, 7, 5, 6, 5, 5.5.
        let mut stop = early_stop(99, 3, 0.0);
        let over = [100.0, 8.0, 4.0, 6.0, 8.0, 3.0, 7.0, 4.0, 6.0].map(|error| stop.is_over(error, 25, 0.0));
        assert_eq!(over, [false, false, false, false, false, false, false, false, true]);
        assert_eq!((stop.smoothed, stop.least), (Some(5.5), 5.0));
        // A batch of all rows is not smoothed, and of two the first says nothing.
        let mut stop = early_stop(10, 1, 0.0);
        assert_eq!([5.0, 7.0, 6.0, 6.0].map(|error| stop.is_over(error, 10, 9.0)), [false, false, false, true]);
    }

    #[test]
    fn it_ends_when_the_centroids_hardly_move() {
        // Columns of 0, 1 … 9 and of ones vary by 8.25 and 0, 4.125 on average.
        let mut stop = early_stop(10, 99, 2.0);
        assert_eq!([0.0, 8.26, 8.25].map(|moved| stop.is_over(1.0, 5, moved)), [false, false, true]);
    }
}
