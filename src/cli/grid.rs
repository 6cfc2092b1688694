//! The settings that an evaluation goes through: nprobe × k_factor.

use std::num::NonZeroUsize;

use clap::Args;
use rvc_gpu_index::device::MAX_K;
use rvc_gpu_index::index::{Index, Refine, SearchParams, Searcher};
use rvc_gpu_index::{Error, Result};

use super::query_args::needs_ivf;

/// Greatest nprobe and k_factor unless others are asked for.
const NPROBE: usize = 256;
const K_FACTOR: usize = 32;

/// The axes of the grid.
#[derive(Args)]
pub struct GridArgs {
    /// Lists to visit, for each its own row: 1,2,4 [default: powers of two to 256, and what the index file says]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    nprobe: Vec<NonZeroUsize>,
    /// Candidates a neighbour that an index with RFlat re-ranks: 1,2,4 [default: powers of two to 32, and what the index
    /// file says]
    #[arg(long, value_name = "FACTOR,...", value_delimiter = ',', allow_negative_numbers = true)]
    k_factor: Vec<f32>,
}

impl GridArgs {
    /// All settings, by k_factor and then by nprobe. An axis that the index does not have is left out.
    pub fn settings(&self, index: &Index, k: usize) -> Result<Vec<SearchParams>> {
        let nprobes = self.nprobes(index)?;
        let on_line = |&k_factor: &Option<f32>| nprobes.iter().map(move |&nprobe| SearchParams { nprobe, k_factor });
        Ok(self.k_factors(index, k)?.iter().flat_map(on_line).collect())
    }

    fn nprobes(&self, index: &Index) -> Result<Vec<Option<usize>>> {
        let Some((nlist, own)) = index.nlist().zip(index.nprobe()) else {
            let asked = self.nprobe.first().map(|nprobe| needs_ivf("nprobe", nprobe.get(), &index.spec()));
            return asked.map_or(Ok(vec![None]), Err);
        };
        let mut nprobes: Vec<usize> = self.nprobe.iter().map(|nprobe| nprobe.get()).collect();
        check_different("nprobe", &nprobes)?;
        if nprobes.is_empty() {
            // A file may say 0: its searches name another.
            nprobes = powers_of_two(NPROBE).chain([own.max(1)]).collect();
        }
        // More lists than there are means all.
        nprobes.iter_mut().for_each(|nprobe| *nprobe = nlist.min(*nprobe));
        nprobes.sort_unstable();
        nprobes.dedup();
        Ok(nprobes.into_iter().map(Some).collect())
    }

    fn k_factors(&self, index: &Index, k: usize) -> Result<Vec<Option<f32>>> {
        check_different("k_factor", &self.k_factor)?;
        let mut factors = self.k_factor.clone();
        match index.refine().map(Refine::k_factor) {
            None if factors.is_empty() => return Ok(vec![None]),
            Some(own) if factors.is_empty() => {
                let fits = |factor: &f32| (k as f32 * factor) as usize <= MAX_K;
                factors = powers_of_two(K_FACTOR).map(|factor| factor as f32).chain([own]).filter(fits).collect();
            }
            // A search says what is wrong with them.
            _ => {}
        }
        factors.sort_by(f32::total_cmp);
        factors.dedup();
        Ok(factors.into_iter().map(Some).collect())
    }
}

/// Fails for settings that no search takes, before any work.
pub fn check(searcher: &Searcher, settings: &[SearchParams], k: usize) -> Result<()> {
    settings.iter().try_for_each(|params| searcher.search(&[], k, params).map(drop))
}

fn powers_of_two(most: usize) -> impl Iterator<Item = usize> {
    (0..).map(|power| 1 << power).take_while(move |&power| power <= most)
}

fn check_different<T: PartialEq + ToString>(name: &'static str, values: &[T]) -> Result<()> {
    let twice = values.iter().enumerate().find(|(at, value)| values[..*at].contains(value));
    twice.map_or(Ok(()), |(_, value)| {
        let found = format!("{} is named twice", value.to_string());
        Err(Error::Parameter { name, found, remedy: "name each once".into() })
    })
}
