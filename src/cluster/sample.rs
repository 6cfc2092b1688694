//! Random rows of a source, read through it.

use rand::Rng;
use rand::seq::index;

use crate::error::Result;
use crate::features::FeatureSource;

/// Distinct rows of another source, in their order there.
pub(super) struct RowSample<'a> {
    source: &'a dyn FeatureSource,
    rows: Vec<usize>,
}

impl<'a> RowSample<'a> {
    /// Draws `count` of the source's rows, at most all.
    pub fn draw(source: &'a dyn FeatureSource, count: usize, rng: &mut impl Rng) -> Self {
        let mut rows = index::sample(rng, source.rows(), count.min(source.rows())).into_vec();
        // In order, neighbouring rows are one read and a file is walked once.
        rows.sort_unstable();
        Self { source, rows }
    }
}

impl FeatureSource for RowSample<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.source.dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let dim = self.dim();
        let asked = &self.rows[start..start + out.len() / dim];
        let (Some(first), Some(last)) = (asked.first(), asked.last()) else { return Ok(()) };
        if last - first < 4 * asked.len() {
            // Dense samples are picked from one read of all that lies between.
            let mut span = vec![0.0; (last - first + 1) * dim];
            self.source.read(*first, &mut span)?;
            for (out, row) in out.chunks_exact_mut(dim).zip(asked) {
                out.copy_from_slice(&span[(row - first) * dim..][..dim]);
            }
            return Ok(());
        }
        let mut rest = out;
        for run in asked.chunk_by(|a, b| a + 1 == *b) {
            let (now, later) = rest.split_at_mut(run.len() * dim);
            self.source.read(run[0], now)?;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::features::MemoryRows;

    #[test]
    fn distinct_rows_in_order() {
        let values: Vec<f32> = (0..300).map(|i| i as f32).collect();
        let source = MemoryRows::new(&values, 3).unwrap();
        let sample = RowSample::draw(&source, 40, &mut ChaCha8Rng::seed_from_u64(7));
        let mut out = vec![0.0; 40 * 3];
        sample.read(0, &mut out).unwrap();
        let firsts: Vec<f32> = out.chunks(3).map(|row| row[0]).collect();
        assert!(firsts.windows(2).all(|w| w[0] < w[1]), "{firsts:?}");
        assert!(out.chunks(3).all(|row| row[1] == row[0] + 1.0 && row[2] == row[0] + 2.0 && row[0] % 3.0 == 0.0));
        let mut tail = vec![0.0; 6];
        sample.read(38, &mut tail).unwrap();
        assert_eq!(tail, out[38 * 3..]);
    }

    #[test]
    fn one_seed_one_sample() {
        let values = [0.0; 1000];
        let source = MemoryRows::new(&values, 1).unwrap();
        let draw = |seed| RowSample::draw(&source, 100, &mut ChaCha8Rng::seed_from_u64(seed)).rows;
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
