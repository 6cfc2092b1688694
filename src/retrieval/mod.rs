//! What a voice host does with neighbours: blending frames with them ([`Blender`]), and alpha query expansion
//! ([`Expanded`]).

mod blend;
mod expansion;
mod weighted_sum;

pub use blend::{BlendParams, Blended, Blender};
pub use expansion::{ExpandParams, Expanded};
