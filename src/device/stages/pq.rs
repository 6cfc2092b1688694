//! The stages of product quantizers.

use std::sync::Arc;

use crate::device::data::buffer::{Assignment, Buffer, CentroidTable, ClusterSums, Matrix};
use crate::device::data::pq::{CENTROIDS, Codebooks};
use crate::device::{Device, Engine, cpu, gpu};
use crate::error::{Error, Result};

impl Device {
    /// Copies codebooks to the device: \[M\]\[16\]\[dsub\], as faiss has them.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the centroids are not M × 16 × dsub; as [`Device::upload`].
    pub fn codebooks(&self, centroids: &[f32], m: usize) -> Result<Codebooks> {
        let dsub = (centroids.len() / CENTROIDS).checked_div(m).unwrap_or(0);
        if dsub == 0 || centroids.len() != m * CENTROIDS * dsub {
            return Err(other_centroids(m, format!("{} floats", centroids.len())));
        }
        self.codebooks_of(&self.upload(centroids, dsub)?, m)
    }

    /// [`Device::codebooks`] of centroids that lie on the device, M · 16 rows of dsub floats.
    ///
    /// # Errors
    /// As [`Device::codebooks`].
    pub fn codebooks_of(&self, centroids: &Matrix, m: usize) -> Result<Codebooks> {
        if m == 0 || centroids.rows != m.saturating_mul(CENTROIDS) {
            return Err(other_centroids(m, format!("{} rows", centroids.rows)));
        }
        let (data, columns) = match &self.engine {
            Engine::Cpu => (centroids.data.clone(), cpu::codebooks::codebooks(centroids)?),
            Engine::Gpu(gpu) => (gpu::codebooks::codebooks(gpu, centroids)?, Vec::new()),
        };
        Ok(Codebooks { data, columns: Arc::new(columns), m, dsub: centroids.dim })
    }

    /// The code of each row: of every sub-vector the nearest of its 16 centroids, of equally near ones the lowest.
    /// ⌈M/8⌉ words a row, 8 codes a word from its lowest bits on; [`flat_codes`](crate::device::flat_codes) makes faiss's codes of them.
    ///
    /// With `residuals_of` the rows less their centroids are encoded (faiss's `by_residual`).
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ.
    pub fn pq_encode(
        &self,
        rows: &Matrix,
        codebooks: &Codebooks,
        residuals_of: Option<(&CentroidTable, &Assignment)>,
    ) -> Result<Buffer<u32>> {
        check_width(rows, codebooks)?;
        if let Some((table, nearest)) = residuals_of
            && (table.dim() != rows.dim || nearest.labels.len() != rows.rows)
        {
            let found = format!("{} labels of centroids of {}", nearest.labels.len(), table.dim());
            let remedy = format!("pass those of the {} rows of {}", rows.rows, rows.dim);
            return Err(Error::parameter("residuals", found, remedy));
        }
        match &self.engine {
            Engine::Cpu => cpu::pq_encode::pq_encode(rows, codebooks, residuals_of),
            Engine::Gpu(gpu) => gpu::pq_encode::pq_encode(gpu, rows, codebooks, residuals_of),
        }
    }

    /// Adds each sub-vector, its squared error and a count of one to its centroid's sums, in one order on one device.
    /// `sums` are those of M × 16 clusters of dsub floats, cluster m · 16 + c for centroid c of sub-quantizer m.
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ.
    pub fn pq_update(
        &self,
        rows: &Matrix,
        codes: &Buffer<u32>,
        codebooks: &Codebooks,
        sums: &mut ClusterSums,
    ) -> Result<()> {
        check_width(rows, codebooks)?;
        if codes.len() != rows.rows * codebooks.words() {
            let found = format!("{} words for {} rows", codes.len(), rows.rows);
            return Err(Error::parameter("codes", found, "pass the codes of the same rows"));
        }
        if (sums.sums.rows, sums.sums.dim) != (codebooks.m * CENTROIDS, codebooks.dsub) {
            let found = format!("{} × {}", sums.sums.rows, sums.sums.dim);
            let remedy = format!("make {} × {}", codebooks.m * CENTROIDS, codebooks.dsub);
            return Err(Error::parameter("sums", found, remedy));
        }
        match &self.engine {
            Engine::Cpu => cpu::pq_update::pq_update(rows, codes, codebooks, sums),
            Engine::Gpu(gpu) => gpu::pq_update::pq_update(gpu, rows, codes, codebooks, sums),
        }
    }
}

fn other_centroids(m: usize, found: String) -> Error {
    let remedy = "pass 16 centroids for each of at least one sub-quantizer";
    Error::parameter("M", format!("{m} with {found} of centroids"), remedy)
}

fn check_width(rows: &Matrix, codebooks: &Codebooks) -> Result<()> {
    if rows.dim != codebooks.dim() {
        let found = format!("{} floats wide", rows.dim);
        return Err(Error::parameter("rows", found, format!("the product quantizer has {}", codebooks.dim())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codebooks_have_sixteen_centroids_a_sub_quantizer() {
        let made = Device::cpu().codebooks(&[0.0; 96], 2).unwrap();
        assert_eq!((made.m(), made.dsub(), made.dim(), made.words()), (2, 3, 6, 1));
        for (floats, m) in [(0, 1), (16, 0), (17, 1), (16, 2), (16, usize::MAX)] {
            assert!(Device::cpu().codebooks(&vec![0.0; floats], m).is_err());
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let device = Device::cpu();
        let codebooks = device.codebooks(&[0.0; 64], 2).unwrap();
        let rows = device.upload(&[0.0; 6], 2).unwrap();
        let wide = device.upload(&[0.0; 6], 3).unwrap();
        assert!(device.pq_encode(&wide, &codebooks, None).is_err());
        let codebooks = device.codebooks(&[0.0; 32], 2).unwrap();
        let codes = device.pq_encode(&rows, &codebooks, None).unwrap();
        let few = device.upload(&[0.0; 4], 2).unwrap();
        let mut sums = device.cluster_sums(32, 1).unwrap();
        assert!(device.pq_update(&few, &codes, &codebooks, &mut sums).is_err());
        assert!(device.pq_update(&rows, &codes, &codebooks, &mut device.cluster_sums(16, 1).unwrap()).is_err());
        assert!(device.pq_update(&rows, &codes, &codebooks, &mut sums).is_ok());
    }
}
