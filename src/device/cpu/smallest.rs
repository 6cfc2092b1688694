//! The k smallest of what is offered.

use crate::device::data::buffer::TopK;

/// Pairs kept beyond twice k before the worst are dropped: with a small k it is not done every few pairs.
const SPARE: usize = 16;

/// The k smallest (key, candidate) pairs offered so far.
///
/// Pairs are gathered in a pool and the pool is cut down to k when it is full, which costs less a pair than a heap does
/// and forgets no pair that counts: the bound only ever is the k-th key of what was seen before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Smallest {
    k: usize,
    /// Keys in the high half, candidates in the low one, so that whole numbers order as pairs do.
    pool: Vec<u64>,
    /// Pairs with larger keys are not among the k smallest.
    bound: u32,
}

/// One a query.
#[derive(Debug, Default)]
pub(crate) struct Pools(Vec<Smallest>);

impl Pools {
    /// Empty pools for the k smallest of each of some queries.
    pub fn renew(&mut self, queries: usize, k: usize) -> &mut [Smallest] {
        if self.0.len() < queries {
            self.0.resize_with(queries, Smallest::default);
        }
        let pools = &mut self.0[..queries];
        pools.iter_mut().for_each(|smallest| smallest.renew(k));
        pools
    }

    /// Pairs that there is room for.
    pub fn capacity(&self) -> usize {
        self.0.len() * self.0.first().map_or(0, |smallest| smallest.pool.capacity())
    }
}

impl Smallest {
    /// Makes this the k smallest of nothing.
    pub fn renew(&mut self, k: usize) {
        self.pool.clear();
        self.pool.reserve(2 * k + SPARE);
        (self.k, self.bound) = (k, u32::MAX);
    }

    /// How many pairs are wanted.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The k-th smallest key so far where there are k; keys are floats.
    pub fn kth(&mut self) -> Option<f32> {
        if self.pool.len() < self.k {
            return None;
        }
        self.cut();
        Some(float(self.bound))
    }

    /// Keys above this one need not be offered.
    #[inline]
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// The same where keys are floats.
    #[inline]
    pub fn float_bound(&self) -> f32 {
        if self.bound == u32::MAX { f32::MAX } else { float(self.bound) }
    }

    /// Takes a pair in where it is among the k smallest.
    #[inline]
    pub fn offer(&mut self, key: u32, candidate: u32) {
        if key > self.bound {
            return;
        }
        let pair = u64::from(key) << 32 | u64::from(candidate);
        match self.pool.first_mut() {
            // Of one, the bound is always known.
            Some(best) if self.k == 1 => *best = pair.min(*best),
            _ => self.pool.push(pair),
        }
        if self.k == 1 {
            self.bound = key;
        } else if self.pool.len() == 2 * self.k + SPARE {
            self.cut();
        }
    }

    /// The same for a key that is a float. Infinite ones and NaN are never among the k smallest.
    #[inline]
    pub fn offer_float(&mut self, key: f32, candidate: u32) {
        if key.abs() <= f32::MAX {
            self.offer(ordered(key), candidate);
        }
    }

    #[cold]
    fn cut(&mut self) {
        let (_, last, _) = self.pool.select_nth_unstable(self.k - 1);
        self.bound = (*last >> 32) as u32;
        self.pool.truncate(self.k);
    }

    /// The pairs in rising order, at most k.
    pub fn sorted(&mut self) -> impl ExactSizeIterator<Item = (u32, u32)> {
        if self.pool.len() > self.k {
            self.cut();
        }
        self.pool.sort_unstable();
        self.pool.iter().map(|pair| ((pair >> 32) as u32, *pair as u32))
    }

    /// The candidate of a rank, once the pairs are sorted.
    pub fn candidate(&self, rank: usize) -> u32 {
        self.pool[rank] as u32
    }

    /// Writes the pairs of floats in rising order, and (`f32::MAX`, none) behind them.
    pub fn write(&mut self, keys: Option<&mut [f32]>, candidates: &mut [u32]) {
        candidates.fill(TopK::NONE);
        let mut no_keys = [];
        let keys = keys.unwrap_or(&mut no_keys);
        keys.fill(f32::MAX);
        for (rank, (key, candidate)) in self.sorted().enumerate() {
            candidates[rank] = candidate;
            if let Some(out) = keys.get_mut(rank) {
                *out = float(key);
            }
        }
    }
}

/// A whole number that orders as the float does; −0 as 0.
fn ordered(key: f32) -> u32 {
    let bits = (key + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The float that a whole number stands for.
fn float(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered ^ 1 << 31 } else { !ordered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_order_as_floats_do() {
        let rising = [f32::MIN, -1.5, -f32::MIN_POSITIVE, 0.0, 1e-40, 1.0, 1.5, f32::MAX];
        assert!(rising.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(rising.iter().all(|&key| float(ordered(key)) == key));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn the_smallest_stay_however_often_the_pool_is_cut() {
        for k in [1, 2, 8, 100] {
            // 7919 is prime to 4096: each of 0 to 4095 once, and each key four times.
            let offered: Vec<(u32, u32)> = (0..4096).map(|i| (i * 7919 % 4096 / 4, i)).collect();
            let mut smallest = Smallest::default();
            smallest.renew(k);
            offered.iter().for_each(|&(key, candidate)| smallest.offer(key, candidate));
            let mut expected = offered;
            expected.sort_unstable();
            assert!(smallest.sorted().eq(expected.into_iter().take(k)), "k = {k}");
        }
    }
}
