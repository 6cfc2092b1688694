//! What a search finds, and how long it takes.

use std::time::Instant;

use serde::Serialize;

use super::{GroundTruth, Neighbors, Quality, Refine, SearchParams, Searcher};
use crate::error::{Error, Result};

/// Queries that are asked at a time: as many as the command `search` does.
const BATCH: usize = 4096;
/// All queries are asked at least so many times ...
const REPEATS: usize = 3;
/// ... and for so many seconds, because few queries take too little time to be measured once.
const SECONDS: f64 = 0.05;

/// A search with one setting, judged and timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// Lists that were visited; `None` for an index without lists.
    pub nprobe: Option<usize>,
    /// k · `k_factor` candidates were re-ranked; `None` for an index without `RFlat`.
    pub k_factor: Option<f32>,
    /// What was found.
    #[serde(flatten)]
    pub quality: Quality,
    /// Seconds a query: the best of several times that all queries were asked, 4,096 at a time.
    pub seconds_per_query: f64,
}

impl Searcher {
    /// Searches with `queries`, judges what was found by `truth`, and takes the time. `queries` are those of `truth`,
    /// row-major, perhaps in another form: expanded ones find what the plain ones should.
    ///
    /// # Errors
    /// As [`Searcher::search`]; [`Error::Parameter`] for as many queries as `truth` does not have, or a truth of rows held
    /// back, which would find themselves.
    pub fn evaluate(&self, queries: &[f32], truth: &GroundTruth, params: &SearchParams) -> Result<Evaluated> {
        if truth.is_held_back() {
            let found = "is of rows held back, which a search finds first";
            return Err(Error::parameter("truth", found, "make it from queries that are no rows of the index"));
        }
        let (found, seconds) = self.by_row().timed(queries, truth.exact().k, params)?;
        Ok(self.evaluated(params, truth.judge_rows(&found)?, seconds / found.queries().max(1) as f64))
    }

    /// The neighbours, and the least seconds that all queries took.
    pub(super) fn timed(&self, queries: &[f32], k: usize, params: &SearchParams) -> Result<(Neighbors, f64)> {
        let (mut times, started) = (Vec::new(), Instant::now());
        loop {
            let (mut found, start) = (Neighbors { k, ..Neighbors::default() }, Instant::now());
            for batch in queries.chunks(BATCH * self.index().dim) {
                found.append(self.search(batch, k, params)?);
            }
            times.push(start.elapsed().as_secs_f64());
            if times.len() >= REPEATS && started.elapsed().as_secs_f64() >= SECONDS {
                return Ok((found, times.into_iter().fold(f64::INFINITY, f64::min)));
            }
        }
    }

    /// The report of a setting, with what `params` leave to the index filled in.
    pub(super) fn evaluated(&self, params: &SearchParams, quality: Quality, seconds_per_query: f64) -> Evaluated {
        let index = self.index();
        let nprobe = index.nlist().zip(params.nprobe.or(index.nprobe())).map(|(nlist, nprobe)| nprobe.min(nlist));
        let k_factor = params.k_factor.or(index.refine().map(Refine::k_factor));
        Evaluated { nprobe, k_factor, quality, seconds_per_query }
    }
}
