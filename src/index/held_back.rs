//! Rows of an index that are asked as queries: stretches of the recording, held back with their neighbourhoods.

use std::ops::Range;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Neighbors;
use super::exact::ExactSearch;
use super::passed_over::PassedOver;
use super::recall::Ranks;
use crate::device::{BatchPlan, Device, MAX_K, exact_distance};
use crate::error::Result;
use crate::factory::Metric;
use crate::features::{FeatureSource, MemoryRows};

/// Stretches of the recording that are held back, spread evenly over it.
const STRETCHES: usize = 20;
/// Rows a stretch: a second of speech. Single rows would be found by their neighbours in time, which other voices do not
/// have here.
const STRETCH_ROWS: usize = 50;
/// A row is a copy where its squared distance is below this share of the one to the next frame. Noise adds to both, so that
/// up to a noise as strong as the steps themselves copies are told from other speech.
const COPY: f32 = 0.7;
/// Copies of a row, at most. Where more rows are nearer than the next frame, it is silence, or the rows are in no order;
/// where that is most of a stretch, it has no copies.
const MOST_COPIES: usize = 256;
/// One in so many rows of a short voice.
const COPIES_ONE_IN: usize = 32;
/// Rows that a query may pass over among its [`MAX_K`] nearest: the others are what is measured.
const MOST_PASSED_OVER: usize = MAX_K / 4 * 3;

/// Rows that are asked as queries. A query's own stretch counts neither as found nor as to be found. Nor do copies of that
/// stretch, where it was recorded or used twice, perhaps with some noise: rows that are nearer to one of its rows than the
/// frames just before and after. Another speaker's frames have no such neighbours here.
pub(super) struct HeldBack {
    /// Row-major.
    pub queries: Vec<f32>,
    /// What each query passes over.
    pub own: Vec<Arc<PassedOver>>,
    dim: usize,
}

impl HeldBack {
    /// Draws stretches from `rows`, of fewer rows where the voice is short: half of a voice is held back at most, until
    /// stretches are single rows. `progress` is told the share that is done.
    pub fn draw(search: &Search, seed: u64, progress: impl FnMut(f64)) -> Result<Self> {
        let (rows, mut rng) = (search.rows, ChaCha8Rng::seed_from_u64(seed));
        let (mut queries, mut steps, mut own) = (Vec::new(), Vec::new(), Vec::new());
        let stretches = stretches(rows.rows(), |slack| rng.random_range(0..=slack));
        for stretch in &stretches {
            read_stretch(rows, stretch.clone(), &mut queries, &mut steps)?;
            let alone = Arc::new(PassedOver::new(vec![stretch.clone()]));
            own.extend(stretch.clone().map(|_| alone.clone()));
        }
        let mut held = Self { queries, own, dim: rows.dim() };
        let copies = held.copies(search, &stretches, &steps, progress)?;
        held.own.clear();
        for (stretch, copies) in stretches.into_iter().zip(copies) {
            let copies = copies.into_iter().map(|row| row..row + 1);
            let all = Arc::new(PassedOver::new(copies.chain([stretch.clone()]).collect()));
            held.own.extend(stretch.map(|_| all.clone()));
        }
        held.retain_measurable(search)?;
        Ok(held)
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// The rows that are copies of each stretch's, which are most often none. `steps` has the squared distance of each
    /// query to the next frame.
    fn copies(
        &self,
        search: &Search,
        stretches: &[Range<usize>],
        steps: &[f32],
        progress: impl FnMut(f64),
    ) -> Result<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..self.len()).collect();
        let nearest = self.nearest(search, &all, 1, true, progress)?.distances;
        let (mut copied, mut first) = (Vec::new(), 0);
        for stretch in stretches {
            let queries = first..first + stretch.len();
            first = queries.end;
            // Single rows have a near one now and then.
            let copies = queries.clone().filter(|&query| nearest[query] < COPY * steps[query]).count();
            copied.push(if 2 * copies > stretch.len() { queries } else { 0..0 });
        }
        let most = MOST_COPIES.min(search.rows.rows() / COPIES_ONE_IN);
        let open: Vec<usize> = copied.iter().cloned().flatten().collect();
        let found = self.nearest(search, &open, most + 1, true, |_| ())?;
        let mut found = open.iter().zip(found.ids.chunks_exact(found.k).zip(found.distances.chunks_exact(found.k)));
        // None where they are too many to be copies.
        let nearer = |(&query, (ids, distances)): (&usize, (&[i64], &[f32]))| {
            let nearer = distances.partition_point(|distance| *distance < steps[query]);
            (nearer <= most).then(|| ids[..nearer].iter().map(|&id| id as usize).collect::<Vec<_>>())
        };
        let of_stretch = |queries: &Range<usize>| {
            let known: Vec<_> = found.by_ref().take(queries.len()).filter_map(nearer).collect();
            if 2 * known.len() > queries.len() { known.concat() } else { Vec::new() }
        };
        Ok(copied.iter().map(of_stretch).collect())
    }

    /// Leaves out the queries that pass over most of the rows that a search can find.
    fn retain_measurable(&mut self, search: &Search) -> Result<()> {
        let passes_many = |&query: &usize| self.own[query].len() > MOST_PASSED_OVER;
        let open: Vec<usize> = (0..self.len()).filter(passes_many).collect();
        let found = self.nearest(search, &open, MAX_K, false, |_| ())?;
        let mut kept = vec![true; self.len()];
        for (&query, ids) in open.iter().zip(found.ids.chunks_exact(MAX_K)) {
            let passed = ids.iter().filter(|&&id| id >= 0 && self.own[query].contains(id as usize)).count();
            kept[query] = passed <= MOST_PASSED_OVER;
        }
        let rows = self.queries.chunks_exact(self.dim).zip(&kept).filter(|(_, kept)| **kept);
        self.queries = rows.flat_map(|(row, _)| row).copied().collect();
        let mut kept = kept.into_iter();
        self.own.retain(|_| kept.next() == Some(true));
        Ok(())
    }

    /// The k nearest rows of some of the queries by L2, with those that they pass over or `without_own`.
    fn nearest(
        &self,
        search: &Search,
        queries: &[usize],
        k: usize,
        without_own: bool,
        progress: impl FnMut(f64),
    ) -> Result<Neighbors> {
        if queries.is_empty() {
            return Ok(Neighbors { k, ..Neighbors::default() });
        }
        let asked = queries.iter().flat_map(|&query| &self.queries[query * self.dim..][..self.dim]);
        let asked: Vec<f32> = asked.copied().collect();
        let own: Vec<_> = queries.iter().filter(|_| without_own).map(|&query| self.own[query].clone()).collect();
        let Search { device, rows, plan } = *search;
        let queries = MemoryRows::new(&asked, self.dim)?;
        ExactSearch { device, queries: &queries, rows, metric: Metric::L2, k, plan }.run(&own, progress)
    }

    /// The k nearest of `rows` for each query, by exact distances; `progress` is told the share that is done.
    pub fn exact_neighbors(
        &self,
        search: &Search,
        metric: Metric,
        k: usize,
        progress: impl FnMut(f64),
    ) -> Result<Neighbors> {
        let Search { device, rows, plan } = *search;
        let queries = MemoryRows::new(&self.queries, self.dim)?;
        ExactSearch { device, queries: &queries, rows, metric, k, plan }.run(&self.own, progress)
    }

    /// At which rank `found` has each of the `exact` neighbours.
    pub fn ranks(&self, exact: &Neighbors, found: &Neighbors) -> Ranks {
        let queries = exact.ids.chunks_exact(exact.k).zip(found.ids.chunks_exact(found.k)).zip(&self.own);
        Ranks::new(queries.flat_map(|((exact, found), own)| {
            let others = found.iter().filter(|&&id| id < 0 || !own.contains(id as usize));
            let rank = move |id: &i64| others.clone().position(|other| other == id);
            exact.iter().filter(|&&id| id >= 0).map(rank)
        }))
    }
}

/// What queries are compared with, and where.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub device: &'a Device,
    pub rows: &'a dyn FeatureSource,
    pub plan: BatchPlan,
}

/// Appends the rows of a stretch to `queries`, and to `steps` the squared distance of each to the nearer one of the rows
/// before and after it.
fn read_stretch(
    rows: &dyn FeatureSource,
    stretch: Range<usize>,
    queries: &mut Vec<f32>,
    steps: &mut Vec<f32>,
) -> Result<()> {
    let dim = rows.dim();
    let around = stretch.start.saturating_sub(1)..(stretch.end + 1).min(rows.rows());
    let mut values = vec![0.0; around.len() * dim];
    rows.read(around.start, &mut values)?;
    queries.extend_from_slice(&values[(stretch.start - around.start) * dim..][..stretch.len() * dim]);
    let between: Vec<f32> = values
        .chunks_exact(dim)
        .zip(values.chunks_exact(dim).skip(1))
        .map(|(row, next)| exact_distance(Metric::L2, row, next))
        .collect();
    let step = |row: usize| {
        let at = row - around.start;
        let before = at.checked_sub(1).map_or(f32::INFINITY, |before| between[before]);
        before.min(between.get(at).copied().unwrap_or(f32::INFINITY))
    };
    steps.extend(stretch.map(step));
    Ok(())
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

    fn two_and_three(passed: &[Range<usize>]) -> HeldBack {
        let own = Arc::new(PassedOver::new(passed.to_vec()));
        HeldBack { queries: vec![2.0, 3.0], own: vec![own.clone(), own], dim: 1 }
    }

    #[test]
    fn neighbours_are_those_outside_the_own_stretch() {
        // Row i is [i], and rows 2 and 3 were held back together.
        let values: Vec<f32> = (0..7).map(|i| i as f32).collect();
        let (device, rows) = (Device::cpu(), MemoryRows::new(&values, 1).unwrap());
        let (held, gaps) = (two_and_three(&[2..3, 3..4]), two_and_three(&[4..5, 1..2, 2..4]));
        for (batch_rows, resident) in [(1, false), (2, false), (3, false), (100, false), (2, true)] {
            let search = Search { device: &device, rows: &rows, plan: BatchPlan { batch_rows, resident } };
            let mut done = 0.0;
            let neighbors = held.exact_neighbors(&search, Metric::L2, 3, |share| done = share).unwrap();
            assert_eq!((neighbors.ids, done), (vec![1, 0, 4, 4, 1, 5], 1.0), "{:?}", search.plan);
            assert_eq!(neighbors.distances, [1.0, 4.0, 4.0, 1.0, 4.0, 4.0], "{:?}", search.plan);
            let neighbors = gaps.exact_neighbors(&search, Metric::L2, 3, |_| ()).unwrap();
            assert_eq!(neighbors.ids, [0, 5, 6, 5, 0, 6], "{:?}", search.plan);
            let all = held.exact_neighbors(&search, Metric::InnerProduct, 6, |_| ()).unwrap();
            assert_eq!(all.ids, [[6, 5, 4, 1, 0, -1]; 2].concat());
        }
    }

    #[test]
    fn ranks_worked_out_by_hand() {
        let held = two_and_three(&[2..3, 3..4]);
        let exact = Neighbors { distances: vec![0.0; 6], ids: vec![1, 0, 4, 4, 1, -1], k: 3 };
        // Without rows 2 and 3: 1 at 0, 0 nowhere, 4 at 2; 4 at 0, 1 nowhere.
        let found = Neighbors { distances: vec![0.0; 10], ids: vec![2, 1, 3, 5, 4, 3, 2, 4, 6, -1], k: 5 };
        assert_eq!(held.ranks(&exact, &found), Ranks::new([Some(0), None, Some(2), Some(0), None].into_iter()));
    }

    /// A walk along the x axis, one a step, `off` it.
    fn walk(off: f32) -> Vec<f32> {
        (0..800).flat_map(|i| [i as f32, off]).collect()
    }

    fn drawn(values: &[f32]) -> HeldBack {
        let (device, rows) = (Device::cpu(), MemoryRows::new(values, 2).unwrap());
        let search = Search { device: &device, rows: &rows, plan: BatchPlan { batch_rows: 100, resident: true } };
        HeldBack::draw(&search, 5, |_| ()).unwrap()
    }

    #[test]
    fn copies_of_a_stretch_are_held_back_with_it() {
        let alone = drawn(&walk(0.0));
        assert!(alone.len() == 400 && alone.own.iter().all(|own| own.len() == 20));
        for off in [0.0, 0.01, 0.4] {
            let held = drawn(&[walk(0.0), walk(off), walk(-off)].concat());
            assert_eq!(held.len(), 1000);
            for (own, query) in held.own.iter().zip(held.queries.chunks_exact(2)) {
                let copies = [0, 800, 1600].map(|copy| query[0] as usize + copy);
                assert!(copies.iter().all(|&row| own.contains(row)) && own.len() == 150, "{off}: {own:?}");
            }
        }
    }

    #[test]
    fn rows_in_no_order_have_no_copies() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f32> = (0..20_000).map(|_| rng.random_range(-1.0..1.0)).collect();
        let held = drawn(&values);
        assert!(held.len() == 1000 && held.own.iter().all(|own| own.len() == 50));
        let equal = drawn(&vec![0.5; 4000]);
        assert!(equal.len() == 1000 && equal.own.iter().all(|own| own.len() == 50));
    }
}
