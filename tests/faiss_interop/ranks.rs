//! Answers held against what a scan of codes has to find, rank by rank.

use std::collections::HashSet;

use rvc_gpu_index::factory::Metric;

use super::byte_tables::{Near, Query, Scan, ScannedRow};

/// What distances may differ by, relatively.
const RELATIVE: f64 = 1e-5;

/// One query's neighbours.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    pub ids: &'a [i64],
    pub distances: &'a [f32],
    /// faiss 1.15.1 has its quirks: it divides by a scale of 0, so that distances are NaN where no entries differ; and by
    /// inner product it never finds a row whose sum is 0. It keeps the sum of an only neighbour (k = 1) as an `int16_t`,
    /// so that from 2¹⁵ on its distance is that of 2¹⁶ steps less (`SingleResultHandler`).
    pub by_faiss: bool,
}

/// What an answer to a query has to be.
///
/// Rows are ranked by *keys*, the lower the nearer: their sums, negative by inner product. A row with undecided bytes has
/// a range of keys. Whatever each key is in its range, the key at a rank is not below the one at that rank in the order
/// of the least keys, nor above the one in that of the greatest; where nothing is undecided, that is one key.
pub struct Ranks {
    metric: Metric,
    scale: Near,
    offset: Near,
    /// In the order of the ids.
    keys: Vec<(i64, Keys)>,
    /// In order.
    least: Vec<i64>,
    most: Vec<i64>,
}

#[derive(Clone, Copy)]
struct Keys {
    least: i64,
    most: i64,
}

impl Ranks {
    pub fn new(metric: Metric, Scan { rows, scale, offset }: Scan) -> Self {
        let keys = |row: ScannedRow| match metric {
            Metric::L2 => Keys { least: row.least.into(), most: row.most.into() },
            Metric::InnerProduct => Keys { least: -i64::from(row.most), most: -i64::from(row.least) },
        };
        let mut keys: Vec<_> = rows.into_iter().map(|row| (row.id, keys(row))).collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        let sorted = |key: fn(&Keys) -> i64| {
            let mut sorted: Vec<i64> = keys.iter().map(|(_, keys)| key(keys)).collect();
            sorted.sort_unstable();
            sorted
        };
        Self { metric, scale, offset, least: sorted(|keys| keys.least), most: sorted(|keys| keys.most), keys }
    }

    /// Rows of the lists visited.
    pub fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Those of them whose sum is undecided.
    pub fn undecided(&self) -> usize {
        self.keys.iter().filter(|(_, keys)| keys.least < keys.most).count()
    }

    /// Fails unless each rank has a row with a distance and a key that belong there.
    pub fn expect(&self, answer: Answer) -> Result<(), String> {
        self.each_rank(answer, |rank, keys, _, distance| {
            let most = keys.least.abs().max(keys.most.abs());
            let wrapped = answer.by_faiss && answer.ids.len() == 1 && most >= 1 << 15 && distance < self.offset.value;
            let distance = distance + if wrapped { f64::from(1 << 16) / self.scale.value } else { 0.0 };
            let key = self.key_at(distance).clamp(keys.least, keys.most);
            let expected = self.distance(key.abs());
            let divided_by_0 = answer.by_faiss && self.scale.value == 0.0 && distance.is_nan();
            if !near(distance, expected) && !divided_by_0 {
                return Err(format!("should be {expected:?}, its sum in {}..={}", keys.least, keys.most));
            }
            if key < self.least[rank] || key > self.most[rank] {
                return Err(format!("has the sum {key} among {}..={}", self.least[rank], self.most[rank]));
            }
            Ok(())
        })
    }

    /// The same of an answer by exact distances among a scan's `candidates` nearest rows. Which rows are candidates may
    /// be undecided, too: the distance at a rank lies between those there among the rows that may be and that must be.
    pub fn expect_refined(&self, answer: Answer, candidates: usize, exact: impl Fn(i64) -> Near) -> Result<(), String> {
        let before = |sorted: &[i64], key: i64| sorted.partition_point(|&other| other < key);
        let may = |keys: &Keys| before(&self.most, keys.least) < candidates;
        let must = |keys: &Keys| before(&self.least, keys.most + 1) <= candidates;
        let sign = if self.metric == Metric::L2 { 1.0 } else { -1.0 };
        let (mut least, mut most) = (Vec::new(), Vec::new());
        for (id, keys) in self.keys.iter().filter(|(_, keys)| may(keys)) {
            let key = sign * exact(*id).value;
            least.push(key);
            most.extend((must(keys) && !self.may_be_lost(answer, keys)).then_some(key));
        }
        least.sort_unstable_by(f64::total_cmp);
        most.sort_unstable_by(f64::total_cmp);
        self.each_rank(answer, |rank, keys, id, distance| {
            let exact = exact(id);
            if !may(keys) || !near(distance, exact) {
                return Err(format!("should be {exact:?} if it were a candidate: {}", may(keys)));
            }
            let (key, slack) = (sign * exact.value, 2.0 * (exact.error + RELATIVE * exact.value.abs()));
            let most = most.get(rank).copied().unwrap_or(f64::INFINITY);
            if key < least[rank] - slack || key > most + slack {
                return Err(format!("has the distance {key} among {}..={most}", least[rank]));
            }
            Ok(())
        })
    }

    /// Checks each rank: no row comes twice, and there are as many as there can be.
    fn each_rank(
        &self,
        answer: Answer,
        check: impl Fn(usize, &Keys, i64, f64) -> Result<(), String>,
    ) -> Result<(), String> {
        let least = self.keys.iter().filter(|(_, keys)| !self.may_be_lost(answer, keys)).count();
        let mut seen = HashSet::new();
        for (rank, (&id, &distance)) in answer.ids.iter().zip(answer.distances).enumerate() {
            let found = self.keys.binary_search_by_key(&id, |(id, _)| *id).ok().filter(|_| seen.insert(id));
            let checked = match found {
                None if rank >= least && id == -1 => Ok(()),
                None => Err("is of no list visited, or here for the second time".to_string()),
                Some(at) => check(rank, &self.keys[at].1, id, distance.into()),
            };
            checked.map_err(|message| format!("rank {rank}: ({id}, {distance}) {message}"))?;
        }
        Ok(())
    }

    /// True for rows that faiss may not find: their sum may be 0.
    fn may_be_lost(&self, answer: Answer, keys: &Keys) -> bool {
        answer.by_faiss && self.metric == Metric::InnerProduct && keys.most == 0
    }

    fn key_at(&self, distance: f64) -> i64 {
        let sum = ((distance - self.offset.value) * self.scale.value).round() as i64;
        if self.metric == Metric::L2 { sum } else { -sum }
    }

    fn distance(&self, sum: i64) -> Near {
        if self.scale.value == 0.0 {
            return self.offset;
        }
        let steps = sum as f64 / self.scale.value;
        Near { value: self.offset.value + steps, error: self.offset.error + steps.abs() * self.scale.error }
    }
}

fn near(distance: f64, expected: Near) -> bool {
    (distance - expected.value).abs() <= RELATIVE * expected.value.abs() + expected.error
}

/// Exact distances to the rows of a refinement, by their ids.
pub fn exact_distances<'a>(metric: Metric, query: &[f32], rows: &'a [f32]) -> impl Fn(i64) -> Near + use<'a> {
    let query = Query::new(query, false);
    move |id| query.distance(metric, &rows[id as usize * query.dim()..][..query.dim()], false)
}
