//! What a voice host does with neighbours: blending frames with them ([`Blender`]; [`LiveVoice`] on its own GPU), and
//! alpha query expansion ([`Expanded`]).

mod blend;
mod expansion;
mod live;

pub use blend::{BlendParams, Blended, Blender};
pub use expansion::{ExpandParams, Expanded};
pub use live::{LiveParams, LivePlan, LiveScan, LiveVoice};
