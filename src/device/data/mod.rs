//! What stages take and give. It knows no engine: what one keeps with data is opaque here ([`kept::Kept`]).

pub(crate) mod blend;
pub(crate) mod buffer;
pub(crate) mod codes;
pub(crate) mod kept;
pub(crate) mod lookup_tables;
pub(crate) mod method;
pub(crate) mod pq;
pub(crate) mod ranges;
pub(crate) mod rows;
