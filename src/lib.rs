//! rvc-gpu-index
#![deny(missing_docs)]

mod error;
pub mod factory;
pub mod faiss;
pub mod features;
pub mod index;
mod output;

pub use error::{Error, Result};
pub use output::{Existing, check_free};
