//! Ground truth: the exact neighbours of queries, and how much of them a search found.

use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use super::recall::HeldBack;
use super::{ExactSearch, Index, IndexKind, Neighbors, Searcher};
use crate::device::{check_k, exact_distance};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::{FeatureSource, MemoryRows, Normalized, l2_normalize};
use crate::memory;

/// Queries with their k exact neighbours among the rows that an index stands for.
///
/// Neighbours are exact by the index's metric: unscaled where exact rows re-rank (`RFlat`), which is what such an index
/// ranks by in the end; of unit length behind `L2norm,` otherwise. Of equally near rows the lowest ids are the exact ones.
pub struct GroundTruth<'a> {
    /// As the rows are compared; row i has the id i.
    base: Box<dyn FeatureSource + 'a>,
    metric: Metric,
    /// Row-major, as they are compared.
    queries: Vec<f32>,
    /// For each query the rows that count neither as found nor as to be found; empty where all rows count.
    own: Vec<Range<usize>>,
    exact: Neighbors,
}

/// How much of the ground truth a search found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Share of all exact neighbours that were found, by id. Where the index has fewer than k rows, there are as many
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
    /// Finds the k nearest rows of each query. `base` are the rows that count, row i having the id i; by default those of
    /// the index itself, where it has exact ones. `progress` is told how many of the rows the queries were compared with.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an index without rows or with ids that are none of 0 to ntotal − 1, a `base` of another
    /// shape or none where the index has codes alone, queries of another width or none, or a k that no search takes;
    /// what the sources or the device report.
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
        let ask = |_: &dyn FeatureSource| {
            let mut values = memory::zeros(queries.rows().saturating_mul(dim), "the queries")?;
            queries.read(0, &mut values).map(|()| (values, Vec::new()))
        };
        Self::find(searcher, base, k, ask, batch_rows, progress)
    }

    /// The same for stretches of the rows themselves, drawn with `seed`, each asked as queries of all others: 20 seconds
    /// of speech, less of short voices. Another speaker's frames lie farther from the rows, and find less.
    ///
    /// # Errors
    /// As [`GroundTruth::new`]; [`Error::Parameter`] for an index of a single row.
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
        let ask = |rows: &dyn FeatureSource| HeldBack::draw(rows, seed).map(|held| (held.queries, held.own));
        Self::find(searcher, base, k, ask, batch_rows, progress)
    }

    /// `ask` is handed the rows and returns the queries, with the rows that do not count for each.
    fn find(
        searcher: &Searcher,
        base: Option<&'a dyn FeatureSource>,
        k: usize,
        ask: impl FnOnce(&dyn FeatureSource) -> Result<(Vec<f32>, Vec<Range<usize>>)>,
        batch_rows: Option<usize>,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let index = searcher.index();
        check_k(k)?;
        check_base(index, base)?;
        let (dim, metric, unit) = (index.dim, index.metric, index.l2norm && index.refine.is_none());
        let base: Box<dyn FeatureSource + 'a> = match base {
            Some(base) if unit => Box::new(Normalized(base)),
            Some(base) => Box::new(base),
            // Of unit length already where they should be.
            None => Box::new(searcher.rows()),
        };
        let (mut queries, own) = ask(base.as_ref())?;
        if unit {
            l2_normalize(&mut queries, dim);
        }
        let (device, rows) = (&searcher.device, base.as_ref());
        let asked = MemoryRows::new(&queries, dim)?;
        let plan = device.batch_plan(rows.rows(), dim, 1, batch_rows);
        let search = ExactSearch { device, queries: &asked, rows, metric, k, plan };
        let exact = search.run(&own, |share| progress((share * rows.rows() as f64).round() as usize))?;
        Ok(Self { base, metric, queries, own, exact })
    }

    /// The queries, row-major; of unit length where they are compared so.
    pub fn queries(&self) -> &[f32] {
        &self.queries
    }

    /// Their exact neighbours, with exact distances.
    pub fn exact(&self) -> &Neighbors {
        &self.exact
    }

    /// True where the queries are rows of the index that were held back.
    pub fn is_held_back(&self) -> bool {
        !self.own.is_empty()
    }

    /// Rows that one query passes over, at most.
    pub(super) fn passed_over(&self) -> usize {
        self.own.iter().map(Range::len).max().unwrap_or(0)
    }

    /// The first `count` neighbours of each query that it does not pass over.
    pub(super) fn others(&self, found: &Neighbors, count: usize) -> Neighbors {
        let mut others = Neighbors { k: count, ..Neighbors::default() };
        for (query, places) in (0..found.queries()).map(|query| (query, query * found.k..(query + 1) * found.k)) {
            let own = self.own.get(query).cloned().unwrap_or_default();
            let counts = |&place: &usize| found.ids[place] >= 0 && !own.contains(&(found.ids[place] as usize));
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
    /// [`Error::Parameter`] for another number of queries or another k, or an id that no row has; what the rows' source
    /// reports.
    pub fn judge(&self, found: &Neighbors) -> Result<Quality> {
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
        for &id in found.iter().filter(|&&id| id >= 0) {
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

/// What one query found.
struct Judged {
    hits: f64,
    /// Ranks that have a ratio of distances.
    ranks: f64,
    ratios: f64,
}

/// Fails where there are no rows to compare an index with.
fn check_base(index: &Index, base: Option<&dyn FeatureSource>) -> Result<()> {
    let (rows, dim) = (index.ntotal(), index.dim);
    if rows == 0 {
        return Err(Error::parameter("index", "it has no rows", "add some first"));
    }
    if let Some(id) = index.id_without_row() {
        let found = format!("it has the id {id} among {rows} rows");
        return Err(Error::parameter("index", found, "use an index with ids from 0 on"));
    }
    let codes = matches!(index.kind, IndexKind::PqFastScan(_) | IndexKind::IvfPqFastScan(_));
    match base {
        Some(base) if (base.rows(), base.dim()) != (rows, dim) => {
            let remedy = format!("pass the {rows} × {dim} rows that the index was built from");
            Err(Error::parameter("base", format!("{} × {}", base.rows(), base.dim()), remedy))
        }
        None if codes && index.refine.is_none() => {
            let found = format!("left out, but {} keeps codes and no exact rows", index.spec());
            Err(Error::parameter("base", found, "pass the rows that the index was built from"))
        }
        _ => Ok(()),
    }
}
