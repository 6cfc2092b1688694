//! The k smallest keys of each segment.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use crate::device::buffer::TopK;

/// The k smallest (key, candidate) pairs offered so far, in a heap with the largest on top.
#[derive(Clone, Debug)]
pub(super) struct Smallest {
    k: usize,
    heap: BinaryHeap<Pair>,
    /// The key of the k-th, above which nothing needs to be looked at.
    bound: f32,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    key: f32,
    candidate: u32,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then(self.candidate.cmp(&other.candidate))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Smallest {
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k), bound: f32::MAX }
    }

    /// Takes a pair in where it is among the k smallest. Infinite keys and NaN never are.
    #[inline]
    pub fn offer(&mut self, key: f32, candidate: u32) {
        if key <= self.bound {
            self.insert(Pair { key: key + 0.0, candidate }); // −0 orders as 0
        }
    }

    fn insert(&mut self, pair: Pair) {
        if self.heap.len() < self.k {
            self.heap.push(pair);
        } else if let Some(mut largest) = self.heap.peek_mut()
            && pair < *largest
        {
            *largest = pair;
        }
        if self.heap.len() == self.k {
            self.bound = self.heap.peek().map_or(f32::MAX, |largest| largest.key);
        }
    }

    /// Writes the pairs in rising order, and (`f32::MAX`, none) behind them.
    pub fn write(self, keys: Option<&mut [f32]>, candidates: &mut [u32]) {
        let sorted = self.heap.into_sorted_vec();
        candidates.fill(TopK::NONE);
        candidates.iter_mut().zip(&sorted).for_each(|(out, pair)| *out = pair.candidate);
        if let Some(keys) = keys {
            keys.fill(f32::MAX);
            keys.iter_mut().zip(&sorted).for_each(|(out, pair)| *out = pair.key);
        }
    }
}

pub(crate) fn select_topk(keys: &[f32], candidates: &[u32], segments: &[(u32, u32)], k: usize) -> (Vec<f32>, Vec<u32>) {
    let mut top_keys = vec![0.0; segments.len() * k];
    let mut top_candidates = vec![0; segments.len() * k];
    segments.par_iter().zip(top_keys.par_chunks_mut(k)).zip(top_candidates.par_chunks_mut(k)).for_each(
        |((&(start, length), top_keys), top_candidates)| {
            let segment = start as usize..(start + length) as usize;
            let mut smallest = Smallest::new(k);
            for (&key, &candidate) in keys[segment.clone()].iter().zip(&candidates[segment]) {
                smallest.offer(key, candidate);
            }
            smallest.write(Some(top_keys), top_candidates);
        },
    );
    (top_keys, top_candidates)
}
