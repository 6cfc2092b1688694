//! The k smallest keys of each segment.

use rayon::prelude::*;

use super::workspace::Workspace;

pub(crate) fn select_topk(keys: &[f32], candidates: &[u32], segments: &[(u32, u32)], k: usize) -> (Vec<f32>, Vec<u32>) {
    let mut top_keys = vec![0.0; segments.len() * k];
    let mut top_candidates = vec![0; segments.len() * k];
    segments.par_iter().zip(top_keys.par_chunks_mut(k)).zip(top_candidates.par_chunks_mut(k)).for_each(
        |((&(start, length), top_keys), top_candidates)| {
            let segment = start as usize..(start + length) as usize;
            Workspace::with(|workspace| {
                let smallest = &mut workspace.pools.renew(1, k)[0];
                for (&key, &candidate) in keys[segment.clone()].iter().zip(&candidates[segment]) {
                    smallest.offer_float(key, candidate);
                }
                smallest.write(Some(top_keys), top_candidates);
            });
        },
    );
    (top_keys, top_candidates)
}
