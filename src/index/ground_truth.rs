//! Ground truth: the exact neighbours of queries, and how much of them a search found.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::base_rows::{BaseRows, has_exact_rows};
use super::held_back::{HeldBack, Search};
use super::passed_over::PassedOver;
use super::{ExactSearch, Neighbors, Searcher};
use crate::device::{check_k, exact_distance};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::{FeatureSource, MemoryRows, l2_normalize};
use crate::memory;

/// Queries with their k exact neighbours among the rows that an index stands for.
///
/// Rows are told apart by their number, which counts them in the order of their ids, as [`IndexRows`](super::IndexRows)
/// does. Ids may start anywhere, have gaps, or occur twice. Neighbours are exact by the index's metric: unscaled where exact rows re-rank (`RFlat`), which is what such an index
/// ranks by in the end; of unit length behind `L2norm,` otherwise. Of equally near rows the first are the exact ones.
pub struct GroundTruth<'a> {
    /// As the rows are compared.
    base: Box<dyn FeatureSource + 'a>,
    metric: Metric,
    /// The id of each row; `None` where row i has the id i.
    ids: Option<Vec<i64>>,
    /// Row-major, as they are compared.
    queries: Vec<f32>,
    /// For each query the rows that count neither as found nor as to be found; empty where all rows count.
    own: Vec<Arc<PassedOver>>,
    exact: Neighbors,
}

/// How much of the ground truth a search found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Share of all exact neighbours that were found. Where the index has fewer than k rows, there are as many
    /// neighbours as rows; 1 where there are none.
    pub recall: f64,
    /// Share of the queries that found fewer than k rows.
    pub missing: f64,
    /// How much farther the rows found lie than the exact neighbours: the mean, over all queries and ranks, of the
    /// distance (not squared) of the i-th nearest row found by that of the i-th nearest of all; 1 at best. By inner
    /// product it is the mean ratio of the products, at most 1. Ranks without a row, and those whose exact distance is 0
    /// or whose exact product is not above 0, are left out; `None` where none is left.
    pub distance_ratio: Option<f64>,
}

impl<'a> GroundTruth<'a> {
    /// Finds the k nearest rows of each query. `base` are the rows that count: row i of it is the one with the id i, and
    /// rows whose id the index does not have are left out. By default they are those of the index itself, where it has
    /// exact ones. `progress` is told how many of the rows the queries were compared with.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an index without rows, a `base` of another shape, one for an index with an id that occurs
    /// twice or is no row of it, or none where the index has codes alone, queries of another width or none, or a k that no
    /// search takes; what the sources or the device report.
    pub fn new(
        searcher: &Searcher,
        queries: &dyn FeatureSource,
        base: Option<&'a dyn FeatureSource>,
        k: usize,
        batch_rows: Option<usize>,
        progress: impl FnMut(usize),
    ) -> Result<Self> {
        let dim = searcher.index().dim;
        if queries.rows() == 0 || queries.dim() != dim {
            let found = format!("{} × {}", queries.rows(), queries.dim());
            return Err(Error::parameter("queries", found, format!("pass at least one, of {dim} floats")));
        }
        let ask = |_: &Search, _: &mut dyn FnMut(f64)| {
            let mut values = memory::zeros(queries.rows().saturating_mul(dim), "the queries")?;
            queries.read(0, &mut values).map(|()| (values, Vec::new()))
        };
        Self::find(searcher, base, k, ask, batch_rows, progress)
    }

    /// The same for stretches of the rows themselves, drawn with `seed`, each asked as queries of all others but their
    /// copies: 20 seconds of speech, less of short voices. Another speaker's frames lie farther from the rows, and find
    /// less.
    ///
    /// # Errors
    /// As [`GroundTruth::new`]; [`Error::Parameter`] for an index of a single row, or of hardly anything but copies.
    pub fn held_back(
        searcher: &Searcher,
        base: Option<&'a dyn FeatureSource>,
        k: usize,
        seed: u64,
        batch_rows: Option<usize>,
        progress: impl FnMut(usize),
    ) -> Result<Self> {
        if searcher.index().ntotal() == 1 {
            return Err(Error::parameter("queries", "none, and a single row cannot ask others", "pass some"));
        }
        let ask = |search: &Search, progress: &mut dyn FnMut(f64)| {
            let held = HeldBack::draw(search, seed, progress)?;
            if held.len() == 0 {
                return Err(Error::parameter("queries", "none, and all rows are copies of each other", "pass some"));
            }
            Ok((held.queries, held.own))
        };
        Self::find(searcher, base, k, ask, batch_rows, progress)
    }

    /// `ask` returns the queries, with the rows that do not count for each, and is half of the work where it is any.
    fn find(
        searcher: &Searcher,
        base: Option<&'a dyn FeatureSource>,
        k: usize,
        ask: impl FnOnce(&Search, &mut dyn FnMut(f64)) -> Result<(Vec<f32>, Vec<Arc<PassedOver>>)>,
        batch_rows: Option<usize>,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let index = searcher.index();
        check_k(k)?;
        if index.ntotal() == 0 {
            return Err(Error::parameter("index", "it has no rows", "add some first"));
        }
        let own_rows = searcher.rows();
        let ids = own_rows.ids_in_order();
        let base: Box<dyn FeatureSource + 'a> = match base {
            Some(base) => Box::new(BaseRows::new(base, index, ids.as_deref())?),
            // Of unit length already where they should be.
            None if has_exact_rows(index) => Box::new(own_rows),
            None => {
                let found = format!("left out, but {} keeps codes and no exact rows", index.spec());
                return Err(Error::parameter("base", found, "pass the rows that the index was built from"));
            }
        };
        let (dim, metric, unit) = (index.dim, index.metric, index.l2norm && index.refine.is_none());
        let (device, rows) = (&searcher.device, base.as_ref());
        let plan = device.batch_plan(rows.rows(), dim, 1, batch_rows);
        let mut done = 0.0;
        let mut compared = |share: f64| progress((share * rows.rows() as f64).round() as usize);
        let (mut queries, own) = ask(&Search { device, rows, plan }, &mut |share| {
            done = 0.5;
            compared(share * done);
        })?;
        if unit {
            l2_normalize(&mut queries, dim);
        }
        let asked = MemoryRows::new(&queries, dim)?;
        let search = ExactSearch { device, queries: &asked, rows, metric, k, plan };
        let exact = search.run(&own, |share| compared(done + share * (1.0 - done)))?;
        Ok(Self { base, metric, ids, queries, own, exact })
    }

    /// The queries, row-major; of unit length where they are compared so.
    pub fn queries(&self) -> &[f32] {
        &self.queries
    }

    /// Their exact neighbours, by row numbers, with exact distances.
    pub fn exact(&self) -> &Neighbors {
        &self.exact
    }

    /// True where the queries are rows of the index that were held back.
    pub fn is_held_back(&self) -> bool {
        !self.own.is_empty()
    }

    /// Rows that one query passes over, at most.
    pub(super) fn passed_over(&self) -> usize {
        self.own.iter().map(|own| own.len()).max().unwrap_or(0)
    }

    /// The first `count` neighbours of each query that it does not pass over.
    pub(super) fn others(&self, found: &Neighbors, count: usize) -> Neighbors {
        let mut others = Neighbors { k: count, ..Neighbors::default() };
        for (query, places) in (0..found.queries()).map(|query| (query, query * found.k..(query + 1) * found.k)) {
            let passed_over = |row: usize| self.own.get(query).is_some_and(|own| own.contains(row));
            let counts = |&place: &usize| found.ids[place] >= 0 && !passed_over(found.ids[place] as usize);
            for place in places.filter(counts).take(count) {
                others.ids.push(found.ids[place]);
                others.distances.push(found.distances[place]);
            }
            others.ids.resize((query + 1) * count, -1);
            others.distances.resize((query + 1) * count, self.metric.worst());
        }
        others
    }

    /// How much of the truth is in what a search for k rows found for the same queries, perhaps in another form.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another number of queries or another k, or an id that no row has, or two, which
    /// [`Searcher::evaluate`] tells apart; what the rows' source reports.
    pub fn judge(&self, found: &Neighbors) -> Result<Quality> {
        let Some(ids) = &self.ids else { return self.judge_rows(found) };
        let numbers =
            found.ids.iter().map(|&id| if id < 0 { Ok(-1) } else { number(ids, id) }).collect::<Result<_>>()?;
        self.judge_rows(&Neighbors { ids: numbers, ..found.clone() })
    }

    /// The same for row numbers in place of ids.
    pub(super) fn judge_rows(&self, found: &Neighbors) -> Result<Quality> {
        let Neighbors { ids, k, .. } = &self.exact;
        let shape = |neighbors: &Neighbors| (neighbors.queries(), neighbors.k, neighbors.ids.len());
        if shape(found) != shape(&self.exact) {
            let remedy = format!("search for {k} with all {} queries", self.exact.queries());
            return Err(Error::parameter("found", format!("{} of {}", found.queries(), found.k), remedy));
        }
        let judged: Vec<Judged> = found
            .ids
            .par_chunks_exact(*k)
            .enumerate()
            .map(|(query, ids)| self.judge_query(query, ids))
            .collect::<Result<_>>()?;
        let sum = |of: fn(&Judged) -> f64| judged.iter().map(of).sum::<f64>();
        let (wanted, ranks) = (ids.iter().filter(|&&id| id >= 0).count() as f64, sum(|query| query.ranks));
        Ok(Quality {
            recall: if wanted > 0.0 { sum(|query| query.hits) / wanted } else { 1.0 },
            missing: found.incomplete() as f64 / judged.len().max(1) as f64,
            distance_ratio: (ranks > 0.0).then(|| sum(|query| query.ratios) / ranks),
        })
    }

    fn judge_query(&self, query: usize, found: &[i64]) -> Result<Judged> {
        let (k, dim) = (self.exact.k, self.base.dim());
        let (ids, exact) = (&self.exact.ids[query * k..][..k], &self.exact.distances[query * k..][..k]);
        let (mut hits, mut row) = (0.0, vec![0.0; dim]);
        let mut distances = Vec::with_capacity(k);
        for (rank, &id) in found.iter().enumerate().filter(|(_, id)| **id >= 0) {
            // Codes of two places may stand for one row.
            if found[..rank].contains(&id) {
                continue;
            }
            if let Some(rank) = ids.iter().position(|&exact| exact == id) {
                hits += 1.0;
                distances.push(exact[rank]);
                continue;
            }
            self.base.read(id as usize, &mut row)?;
            distances.push(exact_distance(self.metric, &self.queries[query * dim..][..dim], &row));
        }
        // A row of NaN, which a mapped file may have, is near to nothing.
        distances.retain(|distance| !distance.is_nan());
        distances.sort_by(|a, b| if self.metric == Metric::L2 { a.total_cmp(b) } else { b.total_cmp(a) });
        let ratio = |(found, exact): (f32, f32)| match self.metric {
            Metric::L2 => (f64::from(found) / f64::from(exact)).sqrt(),
            Metric::InnerProduct => f64::from(found) / f64::from(exact),
        };
        let there = exact.iter().zip(ids).filter(|(_, id)| **id >= 0).map(|(exact, _)| *exact);
        let ranks: Vec<_> = distances.into_iter().zip(there).filter(|(_, exact)| *exact > 0.0).map(ratio).collect();
        Ok(Judged { hits, ranks: ranks.len() as f64, ratios: ranks.iter().sum() })
    }
}

/// The number of the row with an id; `ids` are those of all rows, ascending.
fn number(ids: &[i64], id: i64) -> Result<i64> {
    let at = ids.partition_point(|&other| other < id);
    match ids[at..].iter().take_while(|&&other| other == id).count() {
        1 => Ok(at as i64),
        0 => Err(Error::parameter("found", format!("no row has the id {id}"), "judge searches of the same index")),
        _ => Err(Error::parameter("found", format!("two rows have the id {id}"), "judge by Searcher::evaluate")),
    }
}

/// What one query found.
struct Judged {
    hits: f64,
    /// Ranks that have a ratio of distances.
    ranks: f64,
    ratios: f64,
}
