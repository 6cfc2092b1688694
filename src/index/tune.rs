//! Choosing how many lists a search visits and how many candidates it re-ranks, by measuring what it finds.

use std::collections::HashMap;
use std::iter;

use serde::Serialize;

use super::held_back::{HeldBack, Search};
use super::recall::Ranks;
use super::{Index, IndexKind, Neighbors, SearchParams, Searcher};
use crate::device::{Device, MAX_K};
use crate::error::{Error, Result};
use crate::features::{FeatureSource, MemoryRows, l2_normalize};
use crate::memory;

/// Neighbours that RVC asks for.
const K: usize = 8;
/// Share of the exact neighbours that a search should find.
const RECALL: f64 = 0.99;
/// What held-back rows have to find instead: a tenth of the misses, so that any tenth of the queries still reaches
/// [`RECALL`]. Those who use a voice ask with another speaker's frames. A third of these lie farther from its rows than
/// nine tenths of its own do, and the farther a query, the more neighbours codes and lists miss.
const HELD_BACK_RECALL: f64 = 0.999;
/// Codes may miss one in so many neighbours, half of what [`HELD_BACK_RECALL`] leaves, because so few misses are counted
/// with an error about as large as they are.
const CODES_MISS_ONE_IN: usize = 2000;
/// Lists half of that again: one that is not visited costs a query several neighbours at once.
const LISTS_MISS_ONE_IN: usize = 4000;
/// Queries whose distances to all lists are in memory at a time.
const PROBED: usize = 64;

/// What [`Index::tune`] chose and measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// Lists that a search visits; `None` for an index without lists.
    pub nprobe: Option<usize>,
    /// A search for k rows re-ranks k · `k_factor` candidates.
    pub k_factor: f32,
    /// Rows asked as queries.
    pub queries: usize,
    /// Share of their 8 exact neighbours that was found so; `None` where there was nothing to ask for.
    pub recall: Option<f64>,
    /// What the caller should tell the user.
    pub warnings: Vec<String>,
}

impl Index {
    /// Sets the least nprobe and k_factor with which a search for 8 rows finds 99 % of the exact neighbours; what `fixed`
    /// names is set as it is named. Measured on stretches of the rows themselves, drawn with `seed`, each asked as
    /// queries of all others. These may miss a tenth of that, because real queries come from another speaker.
    /// Neighbours are those that the exact rows rank first, by the index's metric and without normalisation.
    ///
    /// `progress` is told how many rows the queries were compared with.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an index without `RFlat`, or a `fixed` that cannot be; what the device reports.
    pub fn tune(
        &mut self,
        device: &Device,
        fixed: &SearchParams,
        seed: u64,
        batch_rows: Option<usize>,
        mut progress: impl FnMut(usize),
    ) -> Result<Tuned> {
        let Some(refine) = self.refine.clone() else {
            let found = format!("{} re-ranks nothing", self.spec());
            return Err(Error::parameter("factory", found, "put ,RFlat behind it"));
        };
        if let Some(k_factor) = fixed.k_factor {
            self.set_k_factor(k_factor)?;
        }
        let rows = refine.rows();
        let rows = MemoryRows::new(&rows, self.dim)?;
        let plan = device.batch_plan(self.ntotal(), self.dim, 1, batch_rows);
        let search = Search { device, rows: &rows, plan };
        let mut compared = |share: f64| progress((share * rows.rows() as f64).round() as usize);
        let held = HeldBack::draw(&search, seed, |share| compared(share / 2.0))?;
        let exact = held.exact_neighbors(&search, self.metric, K, |share| compared((1.0 + share) / 2.0))?;
        let lists = self.list_ranks(device, &held.queries, &exact)?;
        let wanted = exact.ids.iter().filter(|&&id| id >= 0).count();
        let nprobe = self.nlist().map(|nlist| match fixed.nprobe {
            Some(nprobe) => nprobe.min(nlist),
            None => lists.depth_missing(wanted / LISTS_MISS_ONE_IN).unwrap_or(nlist),
        });
        if let Some(nprobe) = nprobe {
            self.set_nprobe(nprobe)?;
        }
        // Re-ranking is exact: a neighbour is found where it is among the candidates.
        let candidates = Searcher::new(Self { refine: None, ..self.clone() }, device)?;
        let found = candidates.search(&held.queries, MAX_K, &SearchParams::default())?;
        let ranks = held.ranks(&exact, &found);
        let most = MAX_K / K;
        // No number of candidates makes up for lists that were not visited.
        let may_miss = wanted / CODES_MISS_ONE_IN + nprobe.map_or(0, |nprobe| lists.missed(nprobe));
        let least = ranks.depth_missing(may_miss).map_or(most, |depth| depth.div_ceil(K).min(most));
        let k_factor = fixed.k_factor.unwrap_or(least as f32);
        self.set_k_factor(k_factor)?;
        let recall = (wanted > 0).then(|| ranks.recall((K as f32 * k_factor) as usize));
        let warnings = warning(recall, held.len(), nprobe, k_factor).into_iter().collect();
        Ok(Tuned { nprobe, k_factor, queries: held.len(), recall, warnings })
    }

    /// How many lists are nearer to a query than the list that each of its exact neighbours lies in.
    fn list_ranks(&self, device: &Device, queries: &[f32], exact: &Neighbors) -> Result<Ranks> {
        let (centroids, lists): (_, Vec<&[i64]>) = match &self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => return Ok(Ranks::new(iter::empty())),
            IndexKind::IvfFlat(ivf) => (&ivf.centroids, ivf.lists.iter().map(|list| list.ids).collect()),
            IndexKind::IvfPqFastScan(ivf) => (&ivf.centroids, ivf.lists.iter().map(|list| list.ids).collect()),
        };
        memory::check_memory(2 * size_of::<(i64, u32)>() as u64 * self.ntotal() as u64, "the lists of the rows")?;
        let mut list_of = HashMap::with_capacity(self.ntotal());
        for (list, ids) in lists.iter().enumerate() {
            list_of.extend(ids.iter().map(|&id| (id, list as u32)));
        }
        let mut queries = queries.to_vec();
        if self.l2norm {
            l2_normalize(&mut queries, self.dim);
        }
        let table = device.centroid_table(centroids, self.dim, self.metric)?;
        let mut ranks = Vec::new();
        for (queries, exact) in queries.chunks(PROBED * self.dim).zip(exact.ids.chunks(PROBED * K)) {
            let matrix = device.upload(queries, self.dim)?;
            let probes = device.download(&device.nearest_probes(&matrix, &table, lists.len())?)?;
            for (probes, exact) in probes.chunks_exact(lists.len()).zip(exact.chunks_exact(K)) {
                let rank = |id: &i64| probes.iter().position(|list| list_of.get(id) == Some(list));
                ranks.extend(exact.iter().filter(|&&id| id >= 0).map(rank));
            }
        }
        Ok(Ranks::new(ranks.into_iter()))
    }
}

/// What there is to say where a search finds less than it should.
fn warning(recall: Option<f64>, queries: usize, nprobe: Option<usize>, k_factor: f32) -> Option<String> {
    let Some(recall) = recall else {
        return Some("the voice is too short to measure what a search of it finds".into());
    };
    let nprobe = nprobe.map_or(String::new(), |nprobe| format!("nprobe {nprobe} and "));
    (recall < HELD_BACK_RECALL).then(|| {
        format!(
            "of the {K} nearest rows of {queries} held-back rows {:.2} % are found with {nprobe}k_factor {k_factor}; \
             it takes {:.1} % for {:.0} % with another speaker's frames",
            100.0 * recall,
            100.0 * HELD_BACK_RECALL,
            100.0 * RECALL,
        )
    })
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::cluster::KMeansParams;
    use crate::factory::{IndexSpec, Metric};

    const OPEN: SearchParams = SearchParams { nprobe: None, k_factor: None };

    fn random(rows: usize, dim: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        (0..rows * dim).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn built(factory: &str, rows: &[f32], dim: usize) -> Index {
        let (rows, device) = (MemoryRows::new(rows, dim).unwrap(), Device::cpu());
        let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), Metric::L2, dim).unwrap();
        index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
        index.add(&device, &rows, None, &mut |_| ()).unwrap();
        index
    }

    fn tune(index: &mut Index, fixed: &SearchParams) -> Tuned {
        index.tune(&Device::cpu(), fixed, 5, None, |_| ()).unwrap()
    }

    #[test]
    fn one_less_would_miss_too_many() {
        for factory in ["PQ4x4fs,RFlat", "IVF9,PQ4x4fs,RFlat", "IVF9,PQ4x4fsr,RFlat", "L2norm,PQx4fs,RFlat"] {
            let mut index = built(factory, &random(900, 8), 8);
            let tuned = tune(&mut index, &OPEN);
            assert_eq!((tuned.queries, &tuned.warnings), (440, &Vec::new()), "{factory}");
            assert!(tuned.recall.unwrap() >= 0.999 && tuned.k_factor > 1.0, "{factory} {tuned:?}");
            assert_eq!((index.nprobe(), index.refine().unwrap().k_factor()), (tuned.nprobe, tuned.k_factor));
            let k_factor = Some(tuned.k_factor - 1.0);
            let less = tune(&mut index, &SearchParams { nprobe: tuned.nprobe, k_factor });
            assert!(less.recall < tuned.recall && less.recall.unwrap() < 0.9997, "{factory} {less:?}");
            assert_eq!((less.nprobe, Some(less.k_factor)), (tuned.nprobe, k_factor), "{factory}");
            let none = tune(&mut index, &SearchParams { nprobe: tuned.nprobe, k_factor: Some(1.0) });
            assert!(none.recall.unwrap() < 0.99 && none.warnings.len() == 1, "{factory} {none:?}");
        }
    }

    #[test]
    fn lists_are_visited_until_few_neighbours_lie_in_others() {
        // Whole rows in lists: what is missed lies in a list that was not visited.
        let mut index = built("IVF9,Flat,RFlat", &random(900, 8), 8);
        let tuned = tune(&mut index, &OPEN);
        assert_eq!((tuned.k_factor, tuned.warnings.len()), (1.0, 0));
        assert!((2..=9).contains(&tuned.nprobe.unwrap()) && tuned.recall.unwrap() >= 0.9997, "{tuned:?}");
        let less = tune(&mut index, &SearchParams { nprobe: Some(tuned.nprobe.unwrap() - 1), k_factor: None });
        assert!(less.recall.unwrap() < 0.9997, "{less:?}");
        let all = tune(&mut index, &SearchParams { nprobe: Some(100), k_factor: None });
        assert_eq!((all.nprobe, all.recall), (Some(9), Some(1.0)));
    }

    #[test]
    fn what_cannot_be_reached_is_said() {
        // 16 codes for 4,000 rows: 1,024 candidates are four of them.
        let mut index = built("PQ1x4fs,RFlat", &random(4000, 8), 8);
        let tuned = tune(&mut index, &OPEN);
        assert_eq!((tuned.k_factor, tuned.warnings.len()), (128.0, 1));
        let percent = format!("{:.2} %", 100.0 * tuned.recall.unwrap());
        assert!(tuned.recall.unwrap() < 0.99 && tuned.warnings[0].contains(&percent), "{tuned:?}");
    }

    #[test]
    fn short_and_dull_voices() {
        for rows in [0, 1, 2, 7, 8, 9, 10, 39, 40, 41, 100] {
            let tuned = tune(&mut built("Flat,RFlat", &random(rows, 3), 3), &OPEN);
            // Single rows, of which all others are neighbours; one row has none.
            assert_eq!((tuned.queries, tuned.k_factor), (if rows < 80 { rows.min(20) } else { 40 }, 1.0), "{rows}");
            assert_eq!((tuned.recall, tuned.warnings.len()), if rows < 2 { (None, 1) } else { (Some(1.0), 0) });
        }
        for rows in [16, 17, 24, 25, 50] {
            for dim in [1, 3, 4] {
                let tuned = tune(&mut built("PQx4fs,RFlat", &random(rows, dim), dim), &OPEN);
                assert!(tuned.recall == Some(1.0) && tuned.k_factor <= rows.div_ceil(8) as f32, "{rows} {tuned:?}");
            }
        }
        for rows in [16, 2000] {
            for factory in ["PQx4fs,RFlat", "IVF2,PQx4fs,RFlat"] {
                let tuned = tune(&mut built(factory, &vec![0.5; rows * 4], 4), &OPEN);
                assert!((1.0..=128.0).contains(&tuned.k_factor) && tuned.recall.is_some(), "{rows} {tuned:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_tuned() {
        let tune = |factory, fixed| built(factory, &random(50, 2), 2).tune(&Device::cpu(), &fixed, 5, None, |_| ());
        let error = tune("PQx4fs", OPEN).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("PQ1x4fs re-ranks nothing"), "{error}");
        for k_factor in [0.5, f32::NAN, 1001.0] {
            let fixed = SearchParams { nprobe: None, k_factor: Some(k_factor) };
            assert!(tune("Flat,RFlat", fixed).unwrap_err().is_usage());
        }
        let fixed = SearchParams { nprobe: Some(0), k_factor: None };
        assert!(tune("IVF2,Flat,RFlat", fixed).unwrap_err().is_usage());
    }
}
