//! What stages take and give. It knows no engine: what one caches with data is opaque here
//! ([`engine_cache::EngineCache`]).

pub(crate) mod blend;
pub(crate) mod buffer;
pub(crate) mod codes;
pub(crate) mod engine_cache;
pub(crate) mod lookup_tables;
pub(crate) mod method;
pub(crate) mod pq;
pub(crate) mod ranges;
pub(crate) mod rows;
