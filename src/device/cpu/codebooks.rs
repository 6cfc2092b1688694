//! Codebooks as look-up tables read them: a SIMD lane is a centroid.

use crate::device::data::buffer::Matrix;
use crate::device::data::pq::CENTROIDS;
use crate::error::Result;

/// [M · 16][dsub] as [M][dsub][16].
pub(crate) fn codebooks(centroids: &Matrix) -> Result<Vec<[f32; CENTROIDS]>> {
    let dsub = centroids.dim;
    let columns =
        |sub: &[f32]| (0..dsub).map(|j| std::array::from_fn(|centroid| sub[centroid * dsub + j])).collect::<Vec<_>>();
    Ok(centroids.data.host("codebooks")?.chunks_exact(CENTROIDS * dsub).flat_map(columns).collect())
}
