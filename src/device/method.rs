//! Ways of finding the nearest centroids on a GPU.

use std::fmt::{self, Display, Formatter};

use super::Tile;

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
    /// All of them; [`Device::shares`](super::Device::shares) are those that a device has.
    pub const ALL: [Self; 3] = [Self::Floats, Self::Bytes, Self::Halves];
    /// Those that every GPU has.
    pub(crate) const PORTABLE: [Self; 2] = [Self::Floats, Self::Bytes];
}
