//! Recall measured on an index's own rows: stretches of the recording are asked as queries, and the exact neighbours
//! among the other rows tell how far down the index has them.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Neighbors;
use super::exact::ExactSearch;
use crate::device::{BatchPlan, Device};
use crate::error::Result;
use crate::factory::Metric;
use crate::features::{FeatureSource, MemoryRows};

/// Stretches of the recording that are held back, spread evenly over it.
const STRETCHES: usize = 20;
/// Rows a stretch: a second of speech. Single rows would be found by their neighbours in time, which other voices do not
/// have here.
const STRETCH_ROWS: usize = 50;

/// Rows that are asked as queries. None of a query's own stretch counts as found or to be found.
pub(super) struct HeldBack {
    /// Row-major.
    pub queries: Vec<f32>,
    /// The stretch of each query.
    pub own: Vec<Range<usize>>,
    dim: usize,
}

impl HeldBack {
    /// Draws stretches from `rows`, of fewer rows where the voice is short: half of a voice is held back at most, until
    /// stretches are single rows.
    pub fn draw(rows: &dyn FeatureSource, seed: u64) -> Result<Self> {
        let (mut rng, dim) = (ChaCha8Rng::seed_from_u64(seed), rows.dim());
        let (mut queries, mut own) = (Vec::new(), Vec::new());
        for stretch in stretches(rows.rows(), |slack| rng.random_range(0..=slack)) {
            let asked = queries.len();
            queries.resize(asked + stretch.len() * dim, 0.0);
            rows.read(stretch.start, &mut queries[asked..])?;
            own.extend(stretch.clone().map(|_| stretch.clone()));
        }
        Ok(Self { queries, own, dim })
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// The k nearest of `rows` for each query, by exact distances; `progress` is told the rows done.
    pub fn exact_neighbors(
        &self,
        device: &Device,
        rows: &dyn FeatureSource,
        metric: Metric,
        k: usize,
        plan: BatchPlan,
        mut progress: impl FnMut(usize),
    ) -> Result<Neighbors> {
        let queries = MemoryRows::new(&self.queries, self.dim)?;
        let search = ExactSearch { device, queries: &queries, rows, metric, k, plan };
        search.run(&self.own, |share| progress((share * rows.rows() as f64).round() as usize))
    }

    /// At which rank `found` has each of the `exact` neighbours.
    pub fn ranks(&self, exact: &Neighbors, found: &Neighbors) -> Ranks {
        let queries = exact.ids.chunks_exact(exact.k).zip(found.ids.chunks_exact(found.k)).zip(&self.own);
        Ranks::new(queries.flat_map(|((exact, found), own)| {
            let others = found.iter().filter(|&&id| !own.contains(&(id as usize)));
            let rank = move |id: &i64| others.clone().position(|other| other == id);
            exact.iter().filter(|&&id| id >= 0).map(rank)
        }))
    }
}

/// Stretches of `rows` rows, one at a random place in each of equally long parts; `random` takes the greatest number
/// that it may return.
fn stretches(rows: usize, mut random: impl FnMut(usize) -> usize) -> Vec<Range<usize>> {
    let count = STRETCHES.min(rows);
    let len = STRETCH_ROWS.min(rows / (2 * STRETCHES)).max(1);
    let part = |number: usize| number * rows / count;
    let stretch = |number: usize| {
        let start = part(number) + random(part(number + 1) - part(number) - len);
        start..start + len
    };
    (0..count).map(stretch).collect()
}

/// Ranks at which neighbours were found, the first being 0.
#[derive(Debug, PartialEq)]
pub(super) struct Ranks {
    /// Ascending.
    found: Vec<usize>,
    missed: usize,
}

impl Ranks {
    /// `None` for a neighbour that was not found.
    pub fn new(ranks: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut found, mut missed) = (Vec::new(), 0);
        ranks.for_each(|rank| rank.map_or_else(|| missed += 1, |rank| found.push(rank)));
        found.sort_unstable();
        Self { found, missed }
    }

    /// Share of the neighbours among the first `depth`; 1 where there are none to find.
    pub fn recall(&self, depth: usize) -> f64 {
        match self.found.len() + self.missed {
            0 => 1.0,
            all => self.found.partition_point(|&rank| rank < depth) as f64 / all as f64,
        }
    }

    /// How many neighbours are not among the first `depth`.
    pub fn missed(&self, depth: usize) -> usize {
        self.found.len() + self.missed - self.found.partition_point(|&rank| rank < depth)
    }

    /// The least depth, from 1 on, that misses no more than `allowed` neighbours; `None` where no depth does.
    pub fn depth_missing(&self, allowed: usize) -> Option<usize> {
        match (self.found.len() + self.missed).saturating_sub(allowed) {
            0 => Some(1),
            wanted => self.found.get(wanted - 1).map(|rank| rank + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_spread_and_shrink_with_the_voice() {
        let first = |rows| stretches(rows, |_| 0);
        assert_eq!([0, 1, 3].map(|rows| first(rows).len()), [0, 1, 3]);
        assert_eq!(first(3), [0..1, 1..2, 2..3]);
        // 100 / 40 = 2 rows in each of 20 parts of 5 rows.
        let last = stretches(100, |slack| slack);
        assert_eq!((last.len(), &last[0], &last[19]), (20, &(3..5), &(98..100)));
        let long = stretches(100_000, |slack| slack / 2);
        assert_eq!((long.len(), &long[1]), (20, &(7475..7525)));
        for rows in 0..500 {
            for stretches in [first(rows), stretches(rows, |slack| slack)] {
                let mut ends = stretches.iter().map(|stretch| stretch.end);
                assert!(stretches.iter().skip(1).zip(ends.clone()).all(|(next, end)| end <= next.start), "{rows}");
                assert!(ends.next_back().unwrap_or(0) <= rows, "{rows}");
            }
        }
    }

    #[test]
    fn neighbours_are_those_outside_the_own_stretch() {
        // Row i is [i], and rows 2 and 3 were held back together.
        let rows: Vec<f32> = (0..7).map(|i| i as f32).collect();
        let source = MemoryRows::new(&rows, 1).unwrap();
        let held = HeldBack { queries: vec![2.0, 3.0], own: vec![2..4, 2..4], dim: 1 };
        for (batch_rows, resident) in [(1, false), (2, false), (3, false), (100, false), (2, true)] {
            let plan = BatchPlan { batch_rows, resident };
            let mut done = 0;
            let neighbors =
                held.exact_neighbors(&Device::cpu(), &source, Metric::L2, 3, plan, |rows| done = rows).unwrap();
            assert_eq!((neighbors.ids, done), (vec![1, 0, 4, 4, 1, 5], 7), "{plan:?}");
            assert_eq!(neighbors.distances, [1.0, 4.0, 4.0, 1.0, 4.0, 4.0], "{plan:?}");
        }
        let plan = BatchPlan { batch_rows: 4, resident: false };
        let all = held.exact_neighbors(&Device::cpu(), &source, Metric::InnerProduct, 6, plan, |_| ()).unwrap();
        assert_eq!(all.ids, [[6, 5, 4, 1, 0, -1]; 2].concat());
    }

    #[test]
    fn ranks_worked_out_by_hand() {
        let held = HeldBack { queries: vec![2.0, 3.0], own: vec![2..4, 2..4], dim: 1 };
        let exact = Neighbors { distances: vec![0.0; 6], ids: vec![1, 0, 4, 4, 1, -1], k: 3 };
        // Without rows 2 and 3: 1 at 0, 0 nowhere, 4 at 2; 4 at 0, 1 nowhere.
        let found = Neighbors { distances: vec![0.0; 10], ids: vec![2, 1, 3, 5, 4, 3, 2, 4, 6, -1], k: 5 };
        let ranks = held.ranks(&exact, &found);
        assert_eq!(ranks, Ranks { found: vec![0, 0, 2], missed: 2 });
        assert_eq!([0, 1, 2, 3, 9].map(|depth| ranks.recall(depth)), [0.0, 0.4, 0.4, 0.6, 0.6]);
        assert_eq!([0, 1, 2, 3, 9].map(|depth| ranks.missed(depth)), [5, 3, 3, 2, 2]);
        assert_eq!(
            [1, 2, 3, 5, 9].map(|allowed| ranks.depth_missing(allowed)),
            [None, Some(3), Some(1), Some(1), Some(1)]
        );
        let none = Ranks::new([].into_iter());
        assert_eq!((none.recall(8), none.missed(8), none.depth_missing(0)), (1.0, 0, Some(1)));
    }
}
