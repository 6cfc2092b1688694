//! Which tile a GPU assigns rows by: measured once a device and driver, and kept on disk.

use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cache::{Cache, CacheKey};
use super::pipelines::{first_taken, if_possible};
use super::stopwatch::Stopwatch;
use super::{Gpu, Step};
use crate::device::data::buffer::{CentroidTable, Matrix};
use crate::device::data::engine_cache::EngineCache;
use crate::device::data::method::Tile;
use crate::error::Result;
use crate::factory::Metric;

/// Multiply-adds of an assignment from which on it pays to measure first.
const WORTHWHILE: u64 = 1 << 33;
/// Rows of the problem that tiles are measured by: as many as keep a large GPU busy whatever the tile, or few where a
/// device takes [`SLOW`] over them.
const MANY: usize = 2048;
const FEW: usize = 128;
const SLOW: Duration = Duration::from_millis(5);
const NLIST: usize = 4096;
const DIM: usize = 256;
const FILE: &str = "tile.json";

/// Makes the steps by which rows are assigned with a tile.
pub(super) type Assign = fn(&Gpu, &Matrix, &CentroidTable, Tile) -> Result<Vec<Step>>;

/// A device's fastest tile, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    device: CacheKey,
    tile: Tile,
}

/// The tile that was measured to be the fastest, by this or an earlier run.
#[derive(Debug, Default)]
pub(crate) struct Tuned(OnceLock<Tile>);

impl Tuned {
    /// What an earlier run found out of an adapter.
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        Self::kept(&Cache::of(info))
    }

    /// What an earlier run found out.
    pub fn kept(cache: &Cache) -> Self {
        let kept = cache.read(FILE).and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let tile = kept.filter(|kept| kept.device == cache.key && kept.tile.number().is_ok()).map(|kept| kept.tile);
        Self(tile.map(OnceLock::from).unwrap_or_default())
    }

    pub fn get(&self) -> Option<Tile> {
        self.0.get().copied()
    }

    /// The tile for an assignment of so many multiply-adds, measured now where it pays. A device on which nothing can
    /// be measured has the first.
    pub fn for_work(&self, gpu: &Gpu, multiply_adds: u64, assign: Assign) -> Result<Tile> {
        let untuned = Tile::ALL[0];
        match self.get() {
            Some(tile) => Ok(tile),
            None if !pays(multiply_adds) => Ok(untuned),
            None => {
                let tile = if_possible(fastest(gpu, assign))?.flatten();
                let tile = tile.inspect(|&tile| keep(&gpu.cache, tile)).unwrap_or(untuned);
                Ok(*self.0.get_or_init(|| tile))
            }
        }
    }
}

/// Whether an assignment is so large that it pays to measure first.
pub(super) fn pays(multiply_adds: u64) -> bool {
    multiply_adds >= WORTHWHILE
}

fn keep(cache: &Cache, tile: Tile) {
    let kept = Kept { device: cache.key.clone(), tile };
    if let Ok(bytes) = serde_json::to_vec_pretty(&kept) {
        cache.write(FILE, &bytes);
    }
}

/// Measures all tiles on a problem of zeros, which take as long as any numbers. A tile that is refused is none to take.
fn fastest(gpu: &Gpu, assign: Assign) -> Result<Option<Tile>> {
    let centroids = zeros(gpu, NLIST)?;
    let (shifted, bias) = (centroids.clone(), gpu.zeros(NLIST)?);
    let cache = EngineCache::default();
    let table = CentroidTable { centroids, shifted, bias, cache, metric: Metric::L2 };
    let stopwatch = Stopwatch::new(gpu)?;
    let time = |rows: &Matrix, tile| {
        let steps = assign(gpu, rows, &table, tile)?;
        stopwatch.median(&steps[..1])
    };
    let few = zeros(gpu, FEW)?;
    let [first, others @ ..] = Tile::ALL;
    let fast = first_taken(first, others, |tile| time(&few, tile))? < SLOW;
    let rows = if fast { zeros(gpu, MANY)? } else { few };
    let mut times = Vec::new();
    for tile in Tile::ALL {
        times.extend(if_possible(time(&rows, tile))?.map(|time| (time, tile)));
    }
    Ok(times.into_iter().min_by_key(|(time, _)| *time).map(|(_, tile)| tile))
}

fn zeros(gpu: &Gpu, rows: usize) -> Result<Matrix> {
    Ok(Matrix::new(gpu.zeros(rows * DIM)?, rows, DIM, DIM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_kept_for_the_device_and_driver_it_was_measured_with() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (Cache::of_test(folder.path(), "1"), Cache::of_test(folder.path(), "2"));
        assert_eq!(Tuned::kept(&ours).get(), None);
        keep(&ours, Tile::ALL[2]);
        assert_eq!(Tuned::kept(&ours).get(), Some(Tile::ALL[2]));
        assert_eq!(Tuned::kept(&other).get(), None);
        keep(&other, Tile::ALL[1]);
        assert_eq!(Tuned::kept(&ours).get(), None);
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of_test(folder.path(), "1");
        keep(&cache, Tile::ALL[0]);
        let text = String::from_utf8(cache.read(FILE).unwrap()).unwrap();
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("128", "4096")] {
            cache.write(FILE, damaged.as_bytes());
            assert_eq!(Tuned::kept(&cache).get(), None, "{damaged}");
        }
    }
}
