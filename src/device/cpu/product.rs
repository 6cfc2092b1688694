//! The matrix product behind `nearest_centroid` and `nearest_probes`, tile by tile.

use gemm::{Parallelism, gemm};

/// Rows that one thread takes at a time.
pub(super) const ROWS: usize = 256;
/// Centroids a tile: ROWS × CENTROIDS products lie in a core's second-level cache.
pub(super) const CENTROIDS: usize = 256;

/// Writes x · c for each of `centroids` and each of `rows` (both row-major, `dim` wide) to `products`, one run of rows
/// for each centroid: products[c · rows + r].
pub(super) fn product(rows: &[f32], centroids: &[f32], dim: usize, products: &mut [f32]) {
    let (m, n) = (rows.len() / dim, centroids.len() / dim);
    let products = &mut products[..m * n];
    let wide = dim as isize;
    // SAFETY: `rows` is m × dim, `centroids` n × dim and `products` m × n by the lines above, with the strides given;
    // `products` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm(
            m,
            n,
            dim,
            products.as_mut_ptr(),
            m as isize,
            1,
            false,
            rows.as_ptr(),
            1,
            wide,
            centroids.as_ptr(),
            wide,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
