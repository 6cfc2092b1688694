//! The setting that takes the least time of those that find enough.

use serde::Serialize;

use super::{Evaluated, GroundTruth, K_FACTORS, Neighbors, Quality, SearchParams, Searcher};
use crate::device::MAX_K;
use crate::error::{Error, Result};

/// Settings that are timed, at most.
const SETTINGS: usize = 9;

/// What [`Searcher::cheapest`] chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cheapest {
    /// The setting.
    pub chosen: Evaluated,
    /// All settings that were timed, by their nprobe.
    pub considered: Vec<Evaluated>,
}

impl Searcher {
    /// The setting that takes the least time, as measured here, of those that find the share `recall` of the exact
    /// neighbours. They are the least nprobe that does, and greater ones for as long as these get by with fewer
    /// candidates; each with its least whole k_factor. The least is looked for by halving, as more lists and candidates
    /// find more.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a recall that is not above 0 and at most 1, or that no setting reaches; for an index with
    /// neither lists nor `RFlat`, which leaves nothing to choose; what the device reports.
    pub fn cheapest(&self, truth: &GroundTruth, recall: f64) -> Result<Cheapest> {
        let index = self.index();
        if !(recall > 0.0 && recall <= 1.0) {
            return Err(Error::parameter("recall", recall, "choose a share above 0, at most 1"));
        }
        if index.nlist().is_none() && index.refine().is_none() {
            let found = format!("{} has neither lists nor RFlat", index.spec());
            return Err(Error::parameter("index", found, "there is nothing to tune: every search of it is the same"));
        }
        let searcher = &self.by_row();
        let choice = Choice { searcher, truth, recall };
        let mut chosen = choice.setting(choice.least_nprobe()?)?;
        let mut considered = vec![chosen];
        while let Some(nprobe) = choice.further(considered[considered.len() - 1])
            && considered.len() < SETTINGS
        {
            let setting = choice.setting(Some(nprobe))?;
            considered.push(setting);
            if setting.seconds_per_query < chosen.seconds_per_query {
                chosen = setting;
            } else if setting.seconds_per_query > 2.0 * chosen.seconds_per_query {
                break;
            }
        }
        Ok(Cheapest { chosen, considered })
    }
}

struct Choice<'a> {
    searcher: &'a Searcher,
    truth: &'a GroundTruth<'a>,
    recall: f64,
}

impl Choice<'_> {
    /// The least nprobe with which some k_factor finds enough.
    fn least_nprobe(&self) -> Result<Option<usize>> {
        let reached = |nprobe| Ok::<_, Error>(self.quality(&self.candidates(nprobe)?, self.most())?.recall);
        let nlist = self.searcher.index().nlist();
        let (mut low, mut high) = (1, nlist.map(|_| 1));
        loop {
            let found = reached(high)?;
            match high {
                _ if found >= self.recall => break,
                Some(nprobe) if Some(nprobe) < nlist => {
                    (low, high) = (nprobe + 1, nlist.map(|nlist| nlist.min(2 * nprobe)));
                }
                _ => return Err(self.unreached(high, found)),
            }
        }
        let Some(high) = high else { return Ok(None) };
        least(low, high, |nprobe| Ok(reached(Some(nprobe))? >= self.recall)).map(Some)
    }

    /// A greater nprobe, where it may get by with fewer candidates.
    fn further(&self, last: Evaluated) -> Option<usize> {
        let nprobe = last.nprobe? * 4 / 3 + 1;
        (last.k_factor? > 1.0 && nprobe <= self.searcher.index().nlist()?).then_some(nprobe)
    }

    /// The setting with an nprobe that finds enough, and the least k_factor.
    fn setting(&self, nprobe: Option<usize>) -> Result<Evaluated> {
        let candidates = self.candidates(nprobe)?;
        let k_factor = match self.searcher.index().refine() {
            None => None,
            Some(_) => {
                let enough = |factor| Ok(self.quality(&candidates, factor)?.recall >= self.recall);
                Some(least(1, self.most(), enough)?)
            }
        };
        let params = SearchParams { nprobe, k_factor: k_factor.map(|factor| factor as f32) };
        let quality = self.quality(&candidates, k_factor.unwrap_or(1))?;
        let exact = self.truth.exact();
        let (_, seconds) = self.searcher.timed(self.truth.queries(), exact.k, &params)?;
        Ok(self.searcher.evaluated(&params, quality, seconds / exact.queries() as f64))
    }

    /// What the index finds before any re-ranking: for an index with `RFlat` as many as it may re-rank, otherwise the k
    /// nearest. Those that a query passes over come on top.
    fn candidates(&self, nprobe: Option<usize>) -> Result<Neighbors> {
        let count = self.truth.exact().k * self.most() + self.truth.passed_over();
        self.searcher.candidates(self.truth.queries(), count.min(MAX_K), nprobe)
    }

    /// How good a search with this k_factor is.
    fn quality(&self, candidates: &Neighbors, k_factor: usize) -> Result<Quality> {
        let (index, k) = (self.searcher.index(), self.truth.exact().k);
        let found = self.truth.others(candidates, k * k_factor);
        let Some(refine) = index.refine() else { return self.truth.judge_rows(&found) };
        let mut nearest = Neighbors { k, ..Neighbors::default() };
        refine.rerank(self.truth.queries(), &found, index.dim(), index.metric(), &mut nearest);
        self.truth.judge_rows(&nearest)
    }

    /// The greatest k_factor.
    fn most(&self) -> usize {
        let most = (MAX_K - self.truth.passed_over().min(MAX_K / 2)) / self.truth.exact().k;
        if self.searcher.index().refine().is_some() { most.clamp(1, *K_FACTORS.end() as usize) } else { 1 }
    }

    fn unreached(&self, nprobe: Option<usize>, found: f64) -> Error {
        let nprobe = nprobe.map(|nprobe| format!("nprobe {nprobe}"));
        let k_factor = self.searcher.index().refine().map(|_| format!("k_factor {}", self.most()));
        let setting: Vec<String> = nprobe.into_iter().chain(k_factor).collect();
        let best =
            format!("{} is reached by no setting, the best is {found:.4} with {}", self.recall, setting.join(", "));
        Error::parameter("recall", best, "ask for less, or tune another index")
    }
}

/// The least number from `low` on that does, where `high` does and more never do worse.
fn least(mut low: usize, mut high: usize, does: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    while low < high {
        let middle = low.midpoint(high);
        if does(middle)? { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}
