//! Which tile a GPU assigns rows by: measured once a device and driver, and kept on disk.

use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cache::{Cache, CacheKey};
use super::nearest_centroid::by_products;
use super::pipelines::{first_taken, if_possible};
use super::{Gpu, Step};
use crate::device::buffer::{CentroidTable, Matrix};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// Rows × centroids that a workgroup of a GPU multiplies at a time, in `shaders/shared/product_tile.wgsl`. Larger tiles
/// read less, smaller ones take fewer registers; which is faster depends on the GPU and its compiler. Results do not
/// depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Centroids.
    pub centroids: usize,
}

impl Tile {
    /// The tiles that there are; the first is used until it is known which is fastest.
    pub const ALL: [Self; 3] =
        [Self { rows: 128, centroids: 128 }, Self { rows: 64, centroids: 128 }, Self { rows: 64, centroids: 64 }];

    /// No tile has fewer rows.
    pub(crate) const LEAST_ROWS: usize = 64;

    /// Its place in [`Tile::ALL`].
    pub(super) fn number(self) -> Result<usize> {
        let remedy = || Error::parameter("tile", self, "choose one of Tile::ALL");
        Self::ALL.iter().position(|tile| *tile == self).ok_or_else(remedy)
    }
}

impl Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.centroids)
    }
}

/// Multiply-adds of an assignment from which on it pays to measure first.
const WORTHWHILE: u64 = 1 << 33;
/// Rows of the problem that tiles are measured by: as many as keep a large GPU busy whatever the tile, or few where a
/// device takes [`SLOW`] over them.
const MANY: usize = 2048;
const FEW: usize = 128;
const SLOW: Duration = Duration::from_millis(5);
const NLIST: usize = 4096;
const DIM: usize = 256;
/// Times a tile is measured at most, and what it may take: a slow device is measured once.
const TIMES: usize = 5;
const PATIENCE: Duration = Duration::from_millis(20);

const FILE: &str = "tile.json";
const LABEL: &str = "autotune";

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
    pub fn for_work(&self, gpu: &Gpu, multiply_adds: u64) -> Result<Tile> {
        let untuned = Tile::ALL[0];
        match self.get() {
            Some(tile) => Ok(tile),
            None if !pays(multiply_adds) => Ok(untuned),
            None => {
                let tile = if_possible(fastest(gpu))?.flatten();
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
fn fastest(gpu: &Gpu) -> Result<Option<Tile>> {
    let centroids = zeros(gpu, NLIST)?;
    let (shifted, bias) = (centroids.clone(), gpu.zeros(NLIST)?);
    let (sketch, sketches) = Default::default();
    let table = CentroidTable { centroids, shifted, bias, sketch, sketches, metric: Metric::L2 };
    let stopwatch = Stopwatch::new(gpu)?;
    let time = |rows: &Matrix, tile| {
        let (steps, _) = by_products(gpu, rows, &table, tile)?;
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

/// Times steps by the GPU's clock where the device may read it, else from submission to the end of the wait for it.
pub(super) struct Stopwatch<'a> {
    gpu: &'a Gpu,
    clock: Option<Clock>,
}

struct Clock {
    queries: wgpu::QuerySet,
    ticks: wgpu::Buffer,
    staging: wgpu::Buffer,
    tick_nanoseconds: f64,
}

impl<'a> Stopwatch<'a> {
    pub fn new(gpu: &'a Gpu) -> Result<Self> {
        let has_clock = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        Ok(Self { gpu, clock: if has_clock { Some(Clock::new(gpu)?) } else { None } })
    }

    /// The median of a few runs, the first of which warms up and is not counted.
    pub fn median(&self, steps: &[Step]) -> Result<Duration> {
        self.time(steps)?;
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.is_empty() || times.len() < TIMES && begun.elapsed() < PATIENCE {
            times.push(self.time(steps)?);
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    fn time(&self, steps: &[Step]) -> Result<Duration> {
        // What a submission costs the host must be little beside what it costs the GPU.
        let turns = if self.clock.is_some() { 1 } else { 4 };
        let begun = Instant::now();
        let submission = self.gpu.run(LABEL, |encoder| {
            let timestamp_writes = self.clock.as_ref().map(|clock| wgpu::ComputePassTimestampWrites {
                query_set: &clock.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some(LABEL), timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            (0..turns).for_each(|_| steps.iter().for_each(|step| step.encode(&mut pass)));
            drop(pass);
            if let Some(Clock { queries, ticks, staging, .. }) = &self.clock {
                encoder.resolve_query_set(queries, 0..2, ticks, 0);
                encoder.copy_buffer_to_buffer(ticks, 0, staging, 0, staging.size());
            }
        })?;
        match &self.clock {
            Some(clock) => clock.read(self.gpu, submission),
            None => self.gpu.wait(submission).map(|()| begun.elapsed() / turns),
        }
    }
}

impl Clock {
    fn new(gpu: &Gpu) -> Result<Self> {
        use wgpu::BufferUsages;
        let device = &gpu.device;
        let buffer = |usage| {
            let size = 2 * u64::from(wgpu::QUERY_SIZE);
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(LABEL), size, usage, mapped_at_creation: false })
        };
        gpu.guarded(LABEL, || Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some(LABEL),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            ticks: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            staging: buffer(BufferUsages::COPY_DST | BufferUsages::MAP_READ),
            tick_nanoseconds: f64::from(gpu.queue.get_timestamp_period()),
        })
    }

    fn read(&self, gpu: &Gpu, submission: wgpu::SubmissionIndex) -> Result<Duration> {
        let ticks = gpu.read::<u64>(&self.staging, submission, 2)?;
        let passed = ticks[1].saturating_sub(ticks[0]);
        if passed == 0 {
            return Err(Error::Validation { label: LABEL.into(), message: "the GPU's clock stands still".into() });
        }
        Ok(Duration::from_nanos((passed as f64 * self.tick_nanoseconds) as u64))
    }
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
