//! Workloads: the rows that are built into indexes, and the queries that these are asked.

use std::path::Path;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use crate::bench::Workload;
use crate::error::{Error, Result};
use crate::features::{FeatureSource, NonFinite, NpyFiles};

/// Rows of the workloads that are made up: 50 a second.
const NAMED: [(&str, usize); 4] =
    [("voice-10min", 30_000), ("voice-40min", 120_000), ("voice-1h", 180_000), ("million", 1_000_000)];
/// Neighbours that are asked for, as RVC asks.
pub(super) const K: usize = 8;
const DIM: usize = 768;
const SEED: u64 = 1;
/// Rows at most, and queries at most, of a quick run and of another.
const QUICK: (usize, usize) = (3000, 100);
const WHOLE: (usize, usize) = (usize::MAX, 2000);
/// Copies of the rows that a run holds at a time: the rows, an index, its copy on a device without memory of its own, and
/// the file on its way.
const COPIES: u64 = 4;

/// Rows and queries in memory.
#[derive(Debug)]
pub struct Loaded {
    /// What they are.
    pub workload: Workload,
    /// Row-major.
    pub rows: Vec<f32>,
    /// Row-major; none of them is among the rows.
    pub queries: Vec<f32>,
}

impl Loaded {
    /// A workload by its name (`voice-10min`, `voice-40min`, `voice-1h`, `million`), or the features of a file or folder,
    /// of which every 20th frame is a query and no row. A quick run takes the first minute.
    ///
    /// # Errors
    /// [`Error::Parameter`] where there is less than `memory` bytes of room, with what would fit; what [`NpyFiles::open`]
    /// reports; [`Error::Input`] for features too few to search in.
    pub fn new(name: &str, quick: bool, memory: u64) -> Result<Self> {
        let (most_rows, most_queries) = if quick { QUICK } else { WHOLE };
        match NAMED.into_iter().find(|(known, _)| *known == name) {
            Some((_, rows)) => {
                let rows = rows.min(most_rows);
                check_memory(name, rows, DIM, memory)?;
                Ok(Self::made_up(name, rows, most_queries))
            }
            None => Self::read(name, (most_rows, most_queries), memory),
        }
    }

    fn made_up(name: &str, rows: usize, queries: usize) -> Self {
        let speech = Speech::new(DIM, SEED);
        let workload = Workload { name: name.into(), rows, d: DIM, queries, seed: Some(SEED), path: None };
        // Another speaker says other things, and sounds a little different.
        Self { workload, rows: speech.say(rows, SEED + 1, 0.0), queries: speech.say(queries, SEED + 2, 0.3) }
    }

    fn read(path: &str, (most_rows, most_queries): (usize, usize), memory: u64) -> Result<Self> {
        const EVERY: usize = 20;
        if !Path::new(path).exists() {
            let names = NAMED.map(|(name, _)| name).join(", ");
            let found = format!("{path} is no workload, and no file or folder");
            return Err(Error::parameter("workload", found, format!("choose {names}, or features that are there")));
        }
        let mut features = NpyFiles::open(&[path])?;
        features.check_finite(NonFinite::Refuse, |_| ())?;
        let (all, d) = (features.rows(), features.dim());
        let taken = all.min(most_rows.saturating_add(most_queries));
        if taken < 2 * EVERY {
            return Err(Error::input(path, format!("has {all} frames"), format!("pass {} or more", 2 * EVERY)));
        }
        check_memory(path, taken, d, memory)?;
        let mut values = vec![0.0; taken * d];
        features.read(0, &mut values)?;
        let (mut rows, mut queries) = (Vec::with_capacity(values.len()), Vec::new());
        for (frame, number) in values.chunks_exact(d).zip(1..) {
            let is_query = number % EVERY == 0 && queries.len() < most_queries * d;
            if is_query { queries.extend_from_slice(frame) } else { rows.extend_from_slice(frame) }
        }
        let name = Path::new(path).file_name().unwrap_or(path.as_ref()).to_string_lossy().into_owned();
        let (count, asked) = (rows.len() / d, queries.len() / d);
        let workload = Workload { name, rows: count, d, queries: asked, seed: None, path: Some(path.into()) };
        Ok(Self { workload, rows, queries })
    }
}

fn check_memory(name: &str, rows: usize, dim: usize, memory: u64) -> Result<()> {
    let needed = |rows: usize| COPIES * 4 * (rows * dim) as u64;
    if needed(rows) <= memory {
        return Ok(());
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let smaller = NAMED.into_iter().rev().find(|(_, fewer)| *fewer < rows && 16 * (*fewer * DIM) as u64 <= memory);
    let remedy = match smaller {
        Some((fits, rows)) => {
            format!("{fits} fits with {}, and --quick takes less of any", gib(16 * (rows * DIM) as u64))
        }
        None => "--quick takes less of any".into(),
    };
    let found = format!("{name} needs {}, and {} are free", gib(needed(rows)), gib(memory));
    Err(Error::parameter("workload", found, remedy))
}

/// Frames such as speech has: sounds that last some frames and glide into each other, in few directions more than in the
/// others, about a mean that is far from 0.
struct Speech {
    dim: usize,
    mean: Vec<f32>,
    /// Row-major, a latent dimension a row.
    directions: Vec<f32>,
    /// Row-major, a sound a row.
    sounds: Vec<f32>,
}

/// Latent dimensions, sounds, and the share of the frames at which another sound begins.
const LATENT: usize = 64;
const SOUNDS: usize = 400;
const CHANGES: f32 = 0.15;
/// What a frame keeps of the one before, how far it strays, and noise in all dimensions.
const INERTIA: f32 = 0.7;
const STRAYING: f32 = 0.35;
const NOISE: f32 = 0.15;

impl Speech {
    fn new(dim: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mean = normal(dim, 0.5, &mut rng);
        let scale = (dim as f32).sqrt().recip();
        // Later directions matter less.
        let directions = (0..LATENT).flat_map(|i| normal(dim, 14.0 * scale / (1.0 + 0.1 * i as f32), &mut rng));
        let directions = directions.collect();
        Self { dim, mean, directions, sounds: normal(SOUNDS * LATENT, 1.0, &mut rng) }
    }

    /// So many frames, a latent dimension moved by `shift` each.
    fn say(&self, frames: usize, seed: u64, shift: f32) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut state, mut sound) = (vec![0.0; LATENT], 0);
        let mut latent = Vec::with_capacity(frames * LATENT);
        for frame in 0..frames {
            if frame == 0 || rng.random::<f32>() < CHANGES {
                sound = rng.random_range(0..SOUNDS);
            }
            let target = &self.sounds[sound * LATENT..][..LATENT];
            let stray = normal(LATENT, STRAYING, &mut rng);
            for ((x, t), stray) in state.iter_mut().zip(target).zip(stray) {
                *x = INERTIA * *x + (1.0 - INERTIA) * t + stray;
            }
            latent.extend(state.iter().map(|x| x + shift));
        }
        let mut values = vec![0.0; frames * self.dim];
        values.par_chunks_mut(self.dim).zip(latent.par_chunks(LATENT)).enumerate().for_each(|(i, (row, latent))| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (i as u64) << 20);
            row.iter_mut()
                .zip(&self.mean)
                .for_each(|(x, mean)| *x = mean + NOISE * 1.7 * (2.0 * rng.random::<f32>() - 1.0));
            for (amount, direction) in latent.iter().zip(self.directions.chunks_exact(self.dim)) {
                row.iter_mut().zip(direction).for_each(|(x, d)| *x += amount * d);
            }
        });
        values
    }
}

/// Values about 0, the sum of twelve even ones each: nearly a normal distribution.
fn normal(count: usize, deviation: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| deviation * ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_the_same_again_and_neighbouring_frames_are_near() {
        let speech = Speech::new(96, 3);
        let (frames, again) = (speech.say(2000, 5, 0.0), speech.say(2000, 5, 0.0));
        assert!(frames == again && frames != speech.say(2000, 6, 0.0));
        let distance = |a: usize, b: usize| {
            let pairs = frames[a * 96..][..96].iter().zip(&frames[b * 96..][..96]);
            pairs.map(|(x, y)| f64::from((x - y).powi(2))).sum::<f64>()
        };
        let mean = |step: usize| (0..1000).map(|i| distance(i, i + step)).sum::<f64>() / 1000.0;
        assert!(3.0 * mean(1) < 2.0 * mean(500), "{} {}", mean(1), mean(500));
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let refused = Loaded::new("million", false, 3 << 30).unwrap_err().to_string();
        assert!(refused.contains("needs 11.4 GiB") && refused.contains("voice-1h fits with 2.1 GiB"), "{refused}");
        let refused = Loaded::new("voice-10min", false, 1 << 20).unwrap_err().to_string();
        assert!(refused.contains("--quick takes less"), "{refused}");
        let refused = Loaded::new("voice-2min", false, 1 << 40).unwrap_err().to_string();
        assert!(refused.contains("voice-2min") && refused.contains("voice-40min"), "{refused}");
    }

    #[test]
    fn features_are_split_into_rows_and_queries() {
        let loaded = Loaded::new("tests/data/voice-sample", true, 1 << 30).unwrap();
        let Workload { rows, d, queries, .. } = loaded.workload;
        assert_eq!((loaded.rows.len(), loaded.queries.len()), (rows * d, queries * d));
        assert!(queries > 10 && rows > 10 * queries, "{rows} {queries}");
    }
}
