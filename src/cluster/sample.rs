//! Random rows of a source, read through it.

use rand::Rng;
use rand::seq::{SliceRandom, index};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::features::FeatureSource;
use crate::memory;

/// Rows side by side that come into a batch together, one read instead of as many. Longer runs are of one sound, and a
/// batch of them shows less of the voice.
const RUN: usize = 4;
/// Bytes of rows that are read at a time where most are picked from.
const SPAN_BYTES: usize = 2 << 20;

/// Distinct rows of another source, in their order there.
pub(crate) struct RowSample<'a> {
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

    /// The source's rows of these numbers, which rise.
    pub fn of(source: &'a dyn FeatureSource, rows: Vec<usize>) -> Self {
        Self { source, rows }
    }

    /// Draws `count` of these rows, at most all.
    pub fn subset(&self, count: usize, rng: &mut impl Rng) -> Self {
        let mut drawn = RowSample::draw(self, count, rng).rows;
        drawn.iter_mut().for_each(|row| *row = self.rows[*row]);
        Self { source: self.source, rows: drawn }
    }

    /// Reads rows that lie close to each other, span by span with all that is between.
    fn pick(&self, mut asked: &[usize], out: &mut [f32]) -> Result<()> {
        let dim = self.dim();
        let extent = asked.last().zip(asked.first()).map_or(0, |(last, first)| last - first + 1);
        let span_rows = (SPAN_BYTES / (4 * dim)).max(1).min(extent);
        let mut span = memory::zeros(span_rows * dim, "rows of a batch")?;
        let mut out = out.chunks_exact_mut(dim);
        while let Some(first) = asked.first() {
            let (now, later) = asked.split_at(asked.partition_point(|row| row - first < span_rows));
            self.source.read(*first, &mut span[..(now[now.len() - 1] - first + 1) * dim])?;
            for (row, out) in now.iter().zip(&mut out) {
                out.copy_from_slice(&span[(row - first) * dim..][..dim]);
            }
            asked = later;
        }
        Ok(())
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
            return self.pick(asked, out);
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

/// The rows of one pass in batches of nearly equal size: each row comes once, in random company. Rows of a batch rise,
/// so that files are walked once.
pub(super) fn shuffled(
    rows: usize,
    batch_rows: usize,
    rng: &mut ChaCha8Rng,
) -> impl Iterator<Item = Vec<usize>> + use<> {
    let run = RUN.min(batch_rows);
    let mut runs: Vec<usize> = (0..rows.div_ceil(run)).collect();
    runs.shuffle(rng);
    let batches = rows.div_ceil(batch_rows).min(runs.len());
    (0..batches).map(move |batch| {
        let mut runs = runs[batch * runs.len() / batches..(batch + 1) * runs.len() / batches].to_vec();
        runs.sort_unstable();
        runs.into_iter().flat_map(|start| start * run..((start + 1) * run).min(rows)).collect()
    })
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn close_rows_are_picked_from_several_reads() {
        let dim = SPAN_BYTES / 4 / 5; // five rows a span
        let values: Vec<f32> = (0..40 * dim).map(|i| (i / dim) as f32).collect();
        let source = MemoryRows::new(&values, dim).unwrap();
        let rows = vec![0, 4, 5, 9, 10, 11, 19, 20, 31, 39];
        let mut out = vec![-1.0; rows.len() * dim];
        RowSample::of(&source, rows.clone()).read(0, &mut out).unwrap();
        assert!(out.chunks(dim).zip(&rows).all(|(out, &row)| out.iter().all(|x| *x == row as f32)));
    }

    #[test]
    fn a_pass_has_every_row_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, batch_rows) in [(1, 1), (1, 50), (16, 4), (100, 100), (1000, 64), (1003, 300), (1003, 7)] {
            let batches: Vec<Vec<usize>> = shuffled(rows, batch_rows, &mut rng).collect();
            assert!(batches.iter().all(|batch| batch.is_sorted() && !batch.is_empty()));
            assert!(batches.iter().all(|batch| batch.len() < batch_rows + RUN), "{rows} by {batch_rows}");
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
        let first = |rng: &mut ChaCha8Rng| shuffled(1000, 64, rng).next();
        assert_ne!(first(&mut rng), first(&mut rng));
    }
}
