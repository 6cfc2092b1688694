//! RVC's blend: frames drawn towards their neighbours.

use rayon::prelude::*;

use crate::device::data::blend::{BlendOutcome, BlendedRows};
use crate::device::data::buffer::{Matrix, TopK};
use crate::device::data::rows::RowSet;
use crate::device::simd::arch;
use crate::device::simd::weighted_sum::WeightedSum;
use crate::error::Result;

pub(crate) fn blend(
    frames: &Matrix,
    rows: &RowSet,
    neighbors: &[u32],
    scores: &[f32],
    (index_rate, power): (f32, f32),
) -> Result<BlendedRows> {
    let name = "blend";
    let (dim, rows) = (frames.dim, rows.host(name)?);
    let mut blended = frames.data.host(name)?.to_vec();
    let k = neighbors.len().checked_div(frames.rows).unwrap_or(0);
    let near = |frame: usize| neighbors[frame * k..][..k].iter().zip(&scores[frame * k..][..k]);
    let outcomes = blended.par_chunks_exact_mut(dim).enumerate().map_init(Neighborhood::default, |hood, (i, frame)| {
        hood.clear();
        for (&neighbor, &score) in near(i).filter(|(neighbor, _)| **neighbor != TopK::NONE) {
            hood.push(dim, |row| {
                row.copy_from_slice(&rows[neighbor as usize * dim..][..dim]);
                Some(score)
            });
        }
        hood.blend(frame, index_rate, power)
    });
    let outcomes = outcomes.collect();
    Ok(BlendedRows { rows: blended, outcomes })
}

/// What one frame is blended with: the neighbours that count.
#[derive(Default)]
pub(crate) struct Neighborhood {
    /// Row-major, one a score.
    rows: Vec<f32>,
    scores: Vec<f64>,
    weights: Vec<f32>,
}

impl Neighborhood {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.scores.clear();
    }

    /// Adds a neighbour of `dim` floats: `fill` writes its row and returns its score, or nothing for one that is not
    /// there. An infinite score does not count.
    pub fn push(&mut self, dim: usize, fill: impl FnOnce(&mut [f32]) -> Option<f32>) {
        let at = self.rows.len();
        self.rows.resize(at + dim, 0.0);
        match fill(&mut self.rows[at..]).filter(|score| score.is_finite()) {
            Some(score) => self.scores.push(score.into()),
            None => self.rows.truncate(at),
        }
    }

    /// Draws a frame to these neighbours.
    pub fn blend(&mut self, frame: &mut [f32], index_rate: f32, power: f32) -> BlendOutcome {
        let Self { rows, scores, weights } = self;
        if !frame.iter().all(|x| x.is_finite()) {
            return BlendOutcome::PassedThrough;
        }
        if scores.is_empty() {
            return BlendOutcome::WithoutNeighbors;
        }
        weigh(scores, power.into());
        weights.clear();
        weights.extend(scores.iter().map(|weight| (f64::from(index_rate) * weight) as f32));
        arch().dispatch(WeightedSum { own: 1.0 - index_rate, out: frame, weights, rows });
        BlendOutcome::Blended
    }
}

/// Makes weights of scores: (1 / s)^power, divided by their sum. They are taken relative to the least score, so that
/// neither tiny scores overflow nor huge ones vanish all together. Scores of 0 share all the weight, and so do those below
/// it, which the byte tables of 4-bit codes may round to.
fn weigh(scores: &mut [f64], power: f64) {
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min).max(0.0);
    for score in scores.iter_mut() {
        *score = if *score <= least { 1.0 } else { (least / *score).powf(power) };
    }
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|weight| *weight /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(scores: &[f64], power: f64) -> Vec<f64> {
        let mut weights = scores.to_vec();
        weigh(&mut weights, power);
        weights
    }

    #[test]
    fn weights_worked_out_by_hand() {
        assert_eq!(weights(&[1.0, 2.0], 2.0), [0.8, 0.2]);
        assert_eq!(weights(&[1.0, 3.0], 1.0), [0.75, 0.25]);
        assert_eq!(weights(&[7.0], 2.0), [1.0]);
        // Exact hits take all, and share it.
        assert_eq!(weights(&[0.0, 1e-30, 5.0], 2.0), [1.0, 0.0, 0.0]);
        assert_eq!(weights(&[0.0, 3.0, 0.0], 2.0), [0.5, 0.0, 0.5]);
        assert_eq!(weights(&[-0.25, 3.0], 2.0), [1.0, 0.0]);
        // (1 / s)² is no float for any of these.
        assert_eq!(weights(&[1e-200, 2e-200], 2.0), [0.8, 0.2]);
        assert_eq!(weights(&[1e200, 2e200], 2.0), [0.8, 0.2]);
        assert_eq!(weights(&[1.0, 2.0], f64::from(f32::MAX)), [1.0, 0.0]);
    }
}
