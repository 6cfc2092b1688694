//! What stages pass to each other: arrays that lie where the device computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;

use super::engine_cache::EngineCache;
use crate::error::{Error, Result};
use crate::factory::Metric;

/// An array of `len()` values on one device.
#[derive(Clone, Debug)]
pub struct Buffer<T> {
    storage: Storage<T>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Storage<T> {
    Host(Arc<Vec<T>>),
    Gpu { buffer: wgpu::Buffer, owner: GpuId },
}

/// Tells GPUs apart: a buffer can be used on the one that made it only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GpuId(u64);

impl GpuId {
    /// An id that no other GPU has.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { storage: Storage::Host(Arc::default()), len: 0 }
    }
}

impl<T: Pod> Buffer<T> {
    pub(crate) fn on_host(values: impl Into<Arc<Vec<T>>>) -> Self {
        let values = values.into();
        Self { len: values.len(), storage: Storage::Host(values) }
    }

    pub(crate) fn on_gpu(buffer: wgpu::Buffer, owner: GpuId, len: usize) -> Self {
        Self { storage: Storage::Gpu { buffer, owner }, len }
    }

    /// Makes this an array of `len` values on the host, in the memory it has there where nobody else holds it.
    pub(crate) fn renew(&mut self, len: usize, value: T) -> &mut Vec<T> {
        self.len = len;
        if !matches!(&self.storage, Storage::Host(values) if Arc::strong_count(values) == 1) {
            self.storage = Storage::Host(Arc::default());
        }
        let Storage::Host(values) = &mut self.storage else { unreachable!("it was made so") };
        let values = Arc::make_mut(values);
        values.clear();
        values.resize(len, value);
        values
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn host(&self, stage: &'static str) -> Result<&[T]> {
        match &self.storage {
            Storage::Host(values) => Ok(values),
            Storage::Gpu { .. } => Err(Error::ForeignBuffer { stage }),
        }
    }

    /// The values for writing; copied first where somebody else holds them too.
    pub(crate) fn host_mut(&mut self, stage: &'static str) -> Result<&mut [T]> {
        match &mut self.storage {
            Storage::Host(values) => Ok(Arc::<Vec<T>>::make_mut(values).as_mut_slice()),
            Storage::Gpu { .. } => Err(Error::ForeignBuffer { stage }),
        }
    }

    pub(crate) fn gpu(&self, id: GpuId, stage: &'static str) -> Result<&wgpu::Buffer> {
        match &self.storage {
            Storage::Gpu { buffer, owner } if *owner == id => Ok(buffer),
            _ => Err(Error::ForeignBuffer { stage }),
        }
    }
}

/// A matrix of `rows` × `dim` floats on one device. Each row takes `stride` floats there: GPUs read four at a time,
/// so theirs is `dim` rounded up to 4, with zeros behind.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    pub(crate) data: Buffer<f32>,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) stride: usize,
    /// The engine's sketches of these rows.
    pub(crate) cache: EngineCache,
}

impl Matrix {
    pub(crate) fn new(data: Buffer<f32>, rows: usize, dim: usize, stride: usize) -> Self {
        Self { data, rows, dim, stride, cache: EngineCache::default() }
    }

    /// Makes this other rows on the host, in the memory it has there.
    pub(crate) fn renew(&mut self, rows: &[f32], count: usize, dim: usize) {
        self.data.renew(rows.len(), 0.0).copy_from_slice(rows);
        (self.rows, self.dim, self.stride) = (count, dim, dim);
        self.cache.clear();
    }

    /// What was read of this matrix, row-major.
    pub(crate) fn without_padding(&self, padded: Vec<f32>) -> Vec<f32> {
        if self.stride == self.dim {
            return padded;
        }
        padded.chunks_exact(self.stride).flat_map(|row| &row[..self.dim]).copied().collect()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.dim
    }
}

/// Centroids made ready for comparing rows with them; see [`Device::centroid_table`](crate::device::Device::centroid_table).
#[derive(Clone, Debug)]
pub struct CentroidTable {
    /// The centroids as given.
    pub(crate) centroids: Matrix,
    /// The centroids less their mean for L2, as given for inner product; on the CPU engine in panels.
    pub(crate) shifted: Matrix,
    /// x · shifted + bias is largest for the nearest centroid; on the CPU engine −∞ fills up the last panel.
    pub(crate) bias: Buffer<f32>,
    /// The engine's sketches of many centroids, which spare most comparisons.
    pub(crate) cache: EngineCache,
    pub(crate) metric: Metric,
}

impl CentroidTable {
    /// Number of centroids.
    pub fn nlist(&self) -> usize {
        self.centroids.rows
    }

    /// Floats a centroid.
    pub fn dim(&self) -> usize {
        self.centroids.dim
    }
}

/// The nearest centroid of each row of a batch.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Number of the nearest centroid; of equally near ones the lowest.
    pub labels: Buffer<u32>,
    /// Squared distance to it for L2, inner product with it for inner product.
    pub distances: Buffer<f32>,
    /// Labels are below this.
    pub(crate) nlist: usize,
}

/// Sums over all rows that fell to a centroid, added up batch by batch where the device computes.
#[derive(Debug)]
pub struct ClusterSums {
    /// Sum of the rows, nlist × d.
    pub(crate) sums: Matrix,
    /// Number of the rows.
    pub(crate) counts: Buffer<u32>,
    /// Sum of the rows' distances.
    pub(crate) costs: Buffer<f32>,
}

/// Cluster sums read back to the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSums {
    /// Sum of the rows of each cluster, row-major, nlist × d.
    pub sums: Vec<f32>,
    /// Number of rows of each cluster.
    pub counts: Vec<u32>,
    /// Sum of the distances of each cluster's rows.
    pub costs: Vec<f32>,
}

/// How far the halves of a split cluster move from its centroid, relative (faiss's EPS).
pub(crate) const NUDGE: f32 = 1.0 / 1024.0;

/// What the updates of a k-means met, counted where the device computes.
#[derive(Debug)]
pub struct UpdateTally {
    /// As [`HostTally`] has them.
    pub(crate) words: Buffer<u32>,
}

/// A tally read back to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTally {
    /// Empty clusters that took half of another one.
    pub splits: usize,
    /// True where sums overflowed float32: centroids are useless from then on.
    pub overflowed: bool,
}

/// Candidates in the order of their distance, k a query; places that found none hold [`TopK::NONE`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    /// Row number of each candidate, queries × k.
    pub rows: Vec<u32>,
    /// Squared distance (L2) or inner product of each, queries × k; ±`f32::MAX` where there is none.
    pub distances: Vec<f32>,
}

impl TopK {
    /// Stands where a query has fewer than k candidates.
    pub const NONE: u32 = u32::MAX;
}
