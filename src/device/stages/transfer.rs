//! Uploads and downloads, and the buffers that stages accumulate into.

use std::borrow::Cow;
use std::sync::Arc;

use bytemuck::Pod;

use crate::device::data::buffer::{
    Assignment, Buffer, CentroidTable, ClusterSums, HostSums, HostTally, Matrix, TopK, UpdateTally,
};
use crate::device::data::codes::{BLOCK_ROWS, CodeParts, CodeSet};
use crate::device::{Device, Engine, Pending, gpu, pool};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::memory;

/// What is copied to the CPU engine.
const ROWS: &str = "rows on the CPU engine";

impl Device {
    /// Copies rows (row-major, a whole number of `dim` floats) to the device.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`] and [`Error::OutOfMemory`] where the device has no room.
    pub fn upload(&self, rows: &[f32], dim: usize) -> Result<Matrix> {
        let count = checked_rows(rows.len(), dim)?;
        match &self.engine {
            Engine::Cpu => Ok(Matrix::new(Buffer::on_host(memory::copied(rows, ROWS)?), count, dim, dim)),
            Engine::Gpu(gpu) => gpu.upload_matrix(rows, count, dim),
        }
    }

    /// The same into a matrix that is there, whose memory is used again on the CPU engine.
    pub(crate) fn upload_into(&self, rows: &[f32], dim: usize, matrix: &mut Matrix) -> Result<()> {
        if !self.is_cpu() {
            *matrix = self.upload(rows, dim)?;
            return Ok(());
        }
        matrix.renew(rows, checked_rows(rows.len(), dim)?, dim);
        Ok(())
    }

    /// Copies an array to the device.
    pub(crate) fn upload_values<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        match &self.engine {
            Engine::Cpu => Ok(Buffer::on_host(memory::copied(values, "values of a stage")?)),
            Engine::Gpu(gpu) => gpu.upload(values),
        }
    }

    /// Submits work without reading anything back.
    pub(super) fn submit(&self, label: &'static str, mut pending: Pending) -> Result<()> {
        match &self.engine {
            Engine::Cpu => Ok(()),
            Engine::Gpu(gpu) => pending.submit(gpu, label),
        }
    }

    /// Submissions to a GPU up to now.
    #[cfg(test)]
    pub(crate) fn submissions(&self) -> usize {
        match &self.engine {
            Engine::Cpu => 0,
            Engine::Gpu(gpu) => gpu.submissions.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// Makes 4-bit codes of `m` sub-quantizers resident for [`Device::fast_scan`]. `blocks` are faiss's blocks of 32 rows,
    /// 32 · ceil(m / 2) bytes each. The CPU engine shares the vector, a GPU gets a copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has no room; [`Error::Parameter`] for bytes that are no whole blocks.
    pub fn code_set(&self, blocks: &Arc<Vec<u8>>, m: usize) -> Result<CodeSet> {
        let pairs = m.div_ceil(2);
        let block_bytes = pairs * BLOCK_ROWS;
        let slots = blocks.len() / block_bytes.max(1) * BLOCK_ROWS;
        if m == 0 || !blocks.len().is_multiple_of(block_bytes) || slots >= TopK::NONE as usize {
            let remedy = format!("blocks for m = {m} have {block_bytes} bytes, and fewer than 2³² rows");
            return Err(Error::parameter("codes", format!("{} bytes", blocks.len()), remedy));
        }
        let parts = match &self.engine {
            Engine::Cpu => CodeParts::Host(Buffer::on_host(blocks.clone())),
            Engine::Gpu(gpu) => gpu::fast_scan::upload_codes(gpu, blocks, block_bytes)?,
        };
        Ok(CodeSet { parts, slots, pairs })
    }

    /// Reads an array back.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and its like; [`Error::ForeignBuffer`] for another device's buffer.
    pub fn download<T: Pod>(&self, buffer: &Buffer<T>) -> Result<Vec<T>> {
        match &self.engine {
            Engine::Cpu => memory::copied(buffer.host("download")?, "values of a stage"),
            Engine::Gpu(gpu) => gpu.download(buffer.gpu(gpu.id(), "download")?, buffer.len()),
        }
    }

    /// The values of an array: those on the host as they are, those of a GPU read back.
    pub(crate) fn view<'a, T: Pod>(&self, buffer: &'a Buffer<T>) -> Result<Cow<'a, [T]>> {
        match &self.engine {
            Engine::Cpu => buffer.host("view").map(Cow::Borrowed),
            Engine::Gpu(_) => self.download(buffer).map(Cow::Owned),
        }
    }

    /// Reads cluster sums back.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_sums(&self, sums: &ClusterSums) -> Result<HostSums> {
        let rows = self.download_matrix(&sums.sums)?;
        Ok(HostSums { sums: rows, counts: self.download(&sums.counts)?, costs: self.download(&sums.costs)? })
    }

    /// Reads a table's centroids back, as they were given.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_centroids(&self, table: &CentroidTable) -> Result<Vec<f32>> {
        self.download_matrix(&table.centroids)
    }

    /// Reads a matrix back, row-major.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_matrix(&self, rows: &Matrix) -> Result<Vec<f32>> {
        Ok(rows.without_padding(self.download(&rows.data)?))
    }

    /// Cluster sums of zero.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn cluster_sums(&self, nlist: usize, dim: usize) -> Result<ClusterSums> {
        let stride = if self.is_cpu() { dim } else { gpu::stride_of(dim) };
        let sums = Matrix::new(self.zeros(nlist * stride)?, nlist, dim, stride);
        Ok(ClusterSums { sums, counts: self.zeros(nlist)?, costs: self.zeros(nlist)? })
    }

    /// A tally of nothing, for [`Device::centroid_means`].
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn update_tally(&self) -> Result<UpdateTally> {
        Ok(UpdateTally { words: self.zeros(2)? })
    }

    /// Reads a tally back.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_tally(&self, tally: &UpdateTally) -> Result<HostTally> {
        let words = self.view(&tally.words)?;
        Ok(HostTally { splits: words[0] as usize, overflowed: words[1] != 0 })
    }

    fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        match &self.engine {
            Engine::Cpu => Ok(Buffer::on_host(memory::zeros(len, "sums and centroids")?)),
            Engine::Gpu(gpu) => gpu.zeros(len),
        }
    }

    /// Labels that were found before, all below `nlist`, without distances.
    pub(crate) fn assignment(&self, labels: &[u32], nlist: usize) -> Result<Assignment> {
        Ok(Assignment { labels: self.upload_values(labels)?, distances: self.upload_values(&[])?, nlist })
    }

    /// Makes centroids (row-major, nlist × `dim`) ready for comparing rows with them.
    ///
    /// The nearest centroid of x is the one with the largest x·c' + b. For L2, c' = c − μ with the centroids' mean μ and
    /// b = −(½‖c'‖² + μ·c'), which orders centroids as −½‖x − c‖² does; shifting by μ keeps the products small, so less
    /// is lost to rounding. For inner product c' = c and b = 0.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn centroid_table(&self, centroids: &[f32], dim: usize, metric: Metric) -> Result<CentroidTable> {
        self.centroid_table_of(self.upload(centroids, dim)?, metric, None)
    }
}

pub(super) fn checked_rows(floats: usize, dim: usize) -> Result<usize> {
    // Whatever is computed on a device has come through here.
    pool::ready()?;
    if dim == 0 || !floats.is_multiple_of(dim) {
        return Err(Error::parameter("dim", dim, format!("{floats} floats are not a whole number of such rows")));
    }
    Ok(floats / dim)
}
