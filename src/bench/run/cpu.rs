//! Ceilings of the CPU: all threads at once.

use std::hint::black_box;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::patience;
use super::sample::{rates, sample, wall};
use crate::bench::Ceilings;
use crate::device::arch;
use crate::error::Result;

/// Multiply-adds side by side, so that none waits for the one before: 4 cycles of latency, 2 a cycle, and some to spare
/// within the 16 registers of AVX2.
const CHAINS: usize = 12;
const TURNS: usize = 1 << 16;
/// Larger than any cache that the threads share.
const COPIED: usize = 256 << 20;

pub(super) fn ceilings(quick: bool) -> Result<Ceilings> {
    let patience = patience(quick);
    let threads = rayon::current_num_threads();
    let lanes = arch().dispatch(Lanes);
    let multiply_adds = (8 * threads * TURNS * CHAINS * lanes) as f64;
    let seconds = sample(patience, || {
        wall(|| {
            (0..8 * threads).into_par_iter().with_max_len(1).for_each(|seed| {
                black_box(arch().dispatch(MultiplyAdd(seed as f32)));
            });
            Ok(())
        })
    })?;
    let bytes = if quick { COPIED / 4 } else { COPIED };
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let copy = sample(patience, || {
        wall(|| {
            let pieces = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
            pieces.for_each(|(to, from)| to.copy_from_slice(from));
            Ok(())
        })
    })?;
    black_box(&to);
    let (flops, copy) = (rates(2.0 * multiply_adds, &seconds)?, rates(2.0 * bytes as f64, &copy)?);
    Ok(Ceilings { flops, copy, upload: None, readback: None, latency: None })
}

/// Floats of a SIMD register.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

struct MultiplyAdd(f32);

impl WithSimd for MultiplyAdd {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        // They end near 1, far from what is slow or not finite.
        let (factor, summand) = (simd.splat_f32s(black_box(0.75)), simd.splat_f32s(black_box(0.25)));
        let mut chains: [S::f32s; CHAINS] = std::array::from_fn(|i| simd.splat_f32s(self.0 + i as f32));
        for _ in 0..TURNS {
            for chain in &mut chains {
                *chain = simd.mul_add_e_f32s(*chain, factor, summand);
            }
        }
        chains.into_iter().map(|chain| simd.reduce_sum_f32s(chain)).sum()
    }
}
