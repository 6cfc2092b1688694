//! rvc-gpu-index
#![deny(missing_docs)]

pub mod cluster;
pub mod device;
mod error;
pub mod factory;
pub mod faiss;
pub mod features;
pub mod index;
mod output;

pub use error::{Error, Result};
pub use output::{Existing, check_free};
