//! Ways of finding the nearest centroids on a GPU.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a GPU finds the nearest centroids. Labels do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// All products of rows and centroids, in tiles of this size.
    Tile(Tile),
    /// The products of those centroids that bounds by sketches leave.
    Sketches(Shares),
}

impl Display for Method {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile(tile) => write!(f, "tile {tile}"),
            Self::Sketches(Shares::Floats) => f.write_str("sketches"),
            Self::Sketches(Shares::Bytes) => f.write_str("sketches of bytes"),
            Self::Sketches(Shares::Halves) => f.write_str("sketches of halves"),
        }
    }
}

/// What the sketches' numbers are that a GPU multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shares {
    /// 32-bit floats.
    Floats,
    /// Bytes: four are multiplied at once, and bounds allow for what they lose, so that a few more centroids are left.
    Bytes,
    /// 16-bit floats: matrix units multiply them where a GPU has such, and bounds allow for what they lose.
    Halves,
}

impl Shares {
    /// All of them; [`Device::shares`](crate::device::Device::shares) are those that a device has.
    pub const ALL: [Self; 3] = [Self::Floats, Self::Bytes, Self::Halves];
    /// Those that every GPU has.
    pub(crate) const PORTABLE: [Self; 2] = [Self::Floats, Self::Bytes];
}

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
    pub(crate) fn number(self) -> Result<usize> {
        let remedy = || Error::parameter("tile", self, "choose one of Tile::ALL");
        Self::ALL.iter().position(|tile| *tile == self).ok_or_else(remedy)
    }
}

impl Display for Tile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.centroids)
    }
}
