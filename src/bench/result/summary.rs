//! What repeats of one measurement come to.

use serde::{Deserialize, Serialize};

/// A figure that was measured several times: its five-number summary. Half of the values lie between the quartiles, which
/// is the spread that changes are held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of the values are no greater.
    pub median: f64,
    /// First quartile: a quarter of the values is no greater.
    pub q1: f64,
    /// Third quartile: a quarter of the values is no less.
    pub q3: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// How many values there were, those that warmed up not counted.
    pub repeats: usize,
}

impl Summary {
    /// Sums `values` up, in any order; `None` of none. Between two values quantiles are interpolated linearly, as NumPy's
    /// are.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let [q1, median, q3] = [25.0, 50.0, 75.0].map(|percent| quantile(&sorted, percent));
        Some(Self { median, q1, q3, min, max, repeats: values.len() })
    }
}

/// The 0th, 1st … 100th percentile of `values`, from the least to the greatest; nothing of none.
pub fn percentiles(values: &[f64]) -> Vec<f64> {
    let sorted = sorted(values);
    let count = if values.is_empty() { 0 } else { 101 };
    (0..count).map(|percent| quantile(&sorted, f64::from(percent))).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], percent: f64) -> f64 {
    let place = percent * (sorted.len() - 1) as f64 / 100.0;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // The sum could pass `above` by its rounding.
    (below + (above - below) * place.fract()).min(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        // By numpy.quantile([1, 2, 4, 8], [0.25, 0.5, 0.75]).
        let summary = Summary::of(&[8.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, q1: 1.75, q3: 5.0, min: 1.0, max: 8.0, repeats: 4 });
        let one = Summary::of(&[0.5]).unwrap();
        assert_eq!(one, Summary { median: 0.5, q1: 0.5, q3: 0.5, min: 0.5, max: 0.5, repeats: 1 });
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentiles_go_from_the_least_to_the_greatest() {
        let values: Vec<f64> = (0..=200).rev().map(f64::from).collect();
        assert_eq!(percentiles(&values), (0..=100).map(|percent| f64::from(2 * percent)).collect::<Vec<_>>());
        assert_eq!(percentiles(&[3.0]), [3.0; 101]);
        assert!(percentiles(&[]).is_empty());
    }
}
