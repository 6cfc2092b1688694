//! Pruning: most vectors are ruled out by an upper bound on their score, and only the survivors are compared.
//!
//! For x and y less a common mean, an orthonormal projection D and what it leaves, x⊥ = x − DᵀDx,
//!
//! ⟨x, y⟩ = ⟨Dx, Dy⟩ + ⟨x⊥, y⊥⟩ ≤ ⟨Dx, Dy⟩ + ‖x⊥‖·‖y⊥‖ (Cauchy and Schwarz).
//!
//! A sketch is the coefficients Dx and the residual norm ‖x⊥‖ = √(‖x‖² − ‖Dx‖²). The bound costs as many multiply-adds as D
//! has rows, a sixth to a half of d. With AVX-512 VNNI or AMX coefficients are quantized to int8; a second stage of further
//! coefficients, always int8, tightens the bounds of the survivors, and those that are left are compared exactly, so that the
//! result is what comparing all would give.
//!
//! The bound is rigorous: [`sketch`] states each source of error (rounding of coefficients and norms, a D that is not quite
//! orthonormal, quantization, underflow) and adds it; `bounds/properties.rs` tries it on every instruction set. D is found by
//! subspace iteration on a sample ([`projection`](crate::device::projection), after Halko, Martinsson and Tropp, arXiv
//! 0909.4061).
//!
//! Kin: Panorama (arXiv 2510.00566; faiss's `impl/Panorama.h`) bounds by Cauchy and Schwarz level by level, ADSampling (arXiv
//! 2303.09855) estimates by random projections with a probability of error, PDX (arXiv 2503.04422) prunes dimension by
//! dimension, SuperKMeans (2603.20009) does so within k-means.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod bounds;
mod byte_products;
mod compare;
mod lines;
mod sketch;
mod table;

pub(super) use bounds::{Bounding, Work};
pub(super) use sketch::{Basis, ROWS, RowSketches, Sketches};
pub(super) use table::SketchTable;
