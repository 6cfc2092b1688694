//! Products of rows and centroids, tile by tile: what their kernels are told, and what is best in each part.

use super::kernel::wgsl_struct;
use crate::device::data::buffer::Buffer;
use crate::device::data::method::Tile;

/// Workgroups that keep any GPU busy: where rows alone make fewer, the centroids are shared out, too.
const WORKGROUPS: usize = 1024;

wgsl_struct!(Params { rows, nlist, stride, part });
// The score is a float there; the host only makes room.
wgsl_struct!(Found { score, label });

/// The best centroid of each row in each part of the centroids, so many a part: parts × rows.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    pub found: Buffer<Found>,
    pub part: usize,
}

/// The grid for so many rows and centroids, and the centroids a workgroup: whole tiles of them.
pub(super) fn parts(tile: Tile, rows: usize, nlist: usize) -> ([u32; 3], usize) {
    let tiles = rows.div_ceil(tile.rows);
    let parts = WORKGROUPS.div_ceil(tiles.max(1));
    let part = nlist.div_ceil(tile.centroids).div_ceil(parts) * tile.centroids;
    ([tiles as u32, nlist.div_ceil(part) as u32, 1], part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centroids_are_shared_out_where_rows_are_few() {
        let [tile, _, small] = Tile::ALL;
        // One tile of rows: a tile of centroids each. 86 × 12 workgroups are the first product over 1024.
        assert_eq!(parts(tile, 128, 3205), ([1, 26, 1], 128));
        assert_eq!(parts(tile, 86 * 128, 3205), ([86, 9, 1], 3 * 128));
        assert_eq!(parts(tile, 1024 * 128, 3205), ([1024, 1, 1], 26 * 128));
        assert_eq!(parts(small, 171 * 64, 3205), ([171, 6, 1], 9 * 64));
        assert_eq!(parts(small, 1, 1), ([1, 1, 1], 64));
    }
}
