//! Reading ahead.

use std::sync::mpsc::sync_channel;
use std::thread;

use super::FeatureSource;
use crate::error::{Error, Result};
use crate::memory;

/// Batches in memory at a time: one that is worked on, one that is read meanwhile.
const BUFFERS: usize = 2;

/// Hands all rows of `source` to `each`, in order, as (first row, rows) of at most `batch_rows` rows, while the next
/// batch is read in the background. The first error, of `source` or of `each`, ends it.
pub fn for_each_batch(
    source: &dyn FeatureSource,
    batch_rows: usize,
    mut each: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    if batch_rows == 0 {
        return Err(Error::parameter("batch_rows", "0 rows were asked for at a time", "ask for at least 1"));
    }
    let (rows, dim) = (source.rows(), source.dim());
    thread::scope(|scope| {
        let (give, take) = sync_channel(BUFFERS);
        let (give_back, take_back) = sync_channel::<Vec<f32>>(BUFFERS);
        for _ in 0..BUFFERS {
            // It cannot fail: the other end is here, and there is room for all buffers.
            let _ = give_back.send(Vec::new());
        }
        let reads = move || {
            for start in (0..rows).step_by(batch_rows) {
                // Either channel closes once the caller has left with an error.
                let Ok(mut buffer) = take_back.recv() else { return };
                let batch = read(source, start, batch_rows.min(rows - start) * dim, &mut buffer);
                let batch = batch.map(|()| (start, buffer));
                let failed = batch.is_err();
                if give.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        if thread::Builder::new().spawn_scoped(scope, reads).is_err() {
            return in_turns(source, batch_rows, each);
        }
        for batch in take {
            let (start, buffer) = batch?;
            each(start, &buffer)?;
            // The reader has left after its last batch.
            let _ = give_back.send(buffer);
        }
        Ok(())
    })
}

/// The same where there is no thread to read ahead with.
fn in_turns(
    source: &dyn FeatureSource,
    batch_rows: usize,
    mut each: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let (rows, mut buffer) = (source.rows(), Vec::new());
    (0..rows).step_by(batch_rows).try_for_each(|start| {
        read(source, start, batch_rows.min(rows - start) * source.dim(), &mut buffer)?;
        each(start, &buffer)
    })
}

/// Reads `values` values from row `start` on.
fn read(source: &dyn FeatureSource, start: usize, values: usize, buffer: &mut Vec<f32>) -> Result<()> {
    memory::reserve(buffer, values.saturating_sub(buffer.len()), "rows of a batch")?;
    buffer.resize(values, 0.0);
    source.read(start, buffer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::features::MemoryRows;

    /// Row i is [i]; counts its reads, and fails at a row.
    struct Counting {
        rows: usize,
        fails_at: usize,
        reads: AtomicUsize,
    }

    impl Counting {
        fn new(rows: usize, fails_at: usize) -> Self {
            Self { rows, fails_at, reads: AtomicUsize::new(0) }
        }
    }

    impl FeatureSource for Counting {
        fn rows(&self) -> usize {
            self.rows
        }

        fn dim(&self) -> usize {
            1
        }

        fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if start >= self.fails_at {
                return Err(Error::input("frames.npy", "is broken", "mend it"));
            }
            out.iter_mut().zip(start..).for_each(|(x, row)| *x = row as f32);
            Ok(())
        }
    }

    #[test]
    fn every_row_comes_once_and_in_order() {
        for (rows, batch_rows) in [(0, 3), (1, 3), (3, 3), (7, 3), (100, 1), (7, usize::MAX)] {
            let source = Counting::new(rows, usize::MAX);
            let mut seen = Vec::new();
            for_each_batch(&source, batch_rows, |start, batch| {
                assert_eq!(start, seen.len());
                assert!(!batch.is_empty() && batch.len() <= batch_rows);
                seen.extend_from_slice(batch);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..rows).map(|row| row as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_the_source_ends_it_after_what_was_read() {
        let source = Counting::new(1000, 20);
        let mut seen = 0;
        let result = for_each_batch(&source, 10, |_, batch| {
            seen += batch.len();
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "frames.npy: is broken; mend it");
        assert_eq!((seen, source.reads.into_inner()), (20, 3));
    }

    #[test]
    fn an_error_of_the_caller_stops_the_reader() {
        let source = Counting::new(1_000_000, usize::MAX);
        let result = for_each_batch(&source, 1, |start, _| match start {
            5 => Err(Error::parameter("k", "is wrong", "mend it")),
            _ => Ok(()),
        });
        assert_eq!(result.unwrap_err().to_string(), "k: is wrong; mend it");
        assert!(source.reads.into_inner() <= 6 + BUFFERS);
    }

    #[test]
    fn batches_of_no_rows_are_refused() {
        let source = MemoryRows::new(&[1.], 1).unwrap();
        assert!(for_each_batch(&source, 0, |_, _| Ok(())).unwrap_err().is_usage());
    }
}
