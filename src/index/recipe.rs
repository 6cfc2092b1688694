//! What index, how many lists, and how many of them a search visits: rules of thumb by the number of rows.

use std::fmt;
use std::str::FromStr;

use crate::device::PQ_CENTROIDS;
use crate::error::{Error, Result};
use crate::factory::{Codes, IndexSpec, Ivf};

/// Rows from which the quality recipe takes lists. A recall of 0.99 means visiting a third of them, so they gain little:
/// with faiss on two Zen 4 cores, 16 queries against 68,000 rows of speech take 1.5 ms either way at 256-d and 4.0 ms or
/// about 2 ms at 768-d, 2,000 queries on one core 1.4 to 1.6 times less; at 300,000 × 768 lists are up to twice as fast.
/// Below this the whole scan is at most 3 ms behind, needs no k-means, and is surer of other speakers' queries.
const LISTS_FROM: usize = 100_000;

/// A way to choose what a factory string leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recipe {
    /// What RVC does today: min(16·√N, N/39) lists, one of them visited.
    #[default]
    Rvc,
    /// What RVC's tuning tips of April 2023 say: N/39 lists, nlist^0.3 of them visited.
    Tips,
    /// What finds nearly all neighbours: codes that [`Index::tune`](super::Index::tune) makes good, and exact rows behind
    /// them.
    Quality,
}

impl Recipe {
    /// The index for `rows` rows, with all numbers left open.
    pub fn spec(self, rows: usize) -> IndexSpec {
        let codes = Codes::PqFastScan { m: None, by_residual: false };
        let (ivf, codes) = match self {
            Recipe::Rvc | Recipe::Tips => (true, Codes::Flat),
            // Too few to train codes on; few enough to compare all of them.
            Recipe::Quality if rows < PQ_CENTROIDS => (false, Codes::Flat),
            Recipe::Quality => (rows >= LISTS_FROM, codes),
        };
        let ivf = ivf.then_some(Ivf { nlist: None });
        IndexSpec { l2norm: false, ivf, refine: codes != Codes::Flat, codes }
    }

    /// Number of lists for `rows` rows, at least one.
    pub fn nlist(self, rows: usize) -> usize {
        match self {
            Recipe::Rvc => ListCount::SixteenSqrt.of(rows).min(ListCount::RowsOver39.of(rows)),
            Recipe::Tips => ListCount::RowsOver39.of(rows),
            // Four times as many are no faster at this recall.
            Recipe::Quality => rows.isqrt().max(1),
        }
    }

    /// Lists that a search visits; for quality what is to be tuned.
    pub fn nprobe(self, nlist: usize) -> usize {
        match self {
            Recipe::Rvc | Recipe::Quality => 1,
            Recipe::Tips => ((nlist as f64).powf(0.3) as usize).max(1),
        }
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rvc" => Ok(Recipe::Rvc),
            "tips" => Ok(Recipe::Tips),
            "quality" => Ok(Recipe::Quality),
            _ => Err(Error::parameter("recipe", format!("{text:?} is not known"), "choose rvc, tips or quality")),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Recipe::Rvc => "rvc",
            Recipe::Tips => "tips",
            Recipe::Quality => "quality",
        })
    }
}

/// A number of lists, given or by a rule over the number of rows N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListCount {
    /// This many.
    Fixed(usize),
    /// `n/39`: as many rows a list as k-means wants at least.
    RowsOver39,
    /// `4sqrt`: 4·√N, the lower end of faiss's guideline for fewer than a million rows.
    FourSqrt,
    /// `16sqrt`: 16·√N, its upper end.
    SixteenSqrt,
}

impl ListCount {
    /// The number of lists for `rows` rows. Rules give at least one list and at most one a row.
    pub fn of(self, rows: usize) -> usize {
        let times_sqrt = |factor: f64| (factor * (rows as f64).sqrt()) as usize;
        let ruled = match self {
            ListCount::Fixed(nlist) => return nlist,
            ListCount::RowsOver39 => rows / 39,
            ListCount::FourSqrt => times_sqrt(4.0),
            ListCount::SixteenSqrt => times_sqrt(16.0),
        };
        ruled.clamp(1, rows.max(1))
    }
}

impl FromStr for ListCount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "n/39" => Ok(ListCount::RowsOver39),
            "4sqrt" => Ok(ListCount::FourSqrt),
            "16sqrt" => Ok(ListCount::SixteenSqrt),
            _ => match text.parse() {
                Ok(nlist) if nlist > 0 => Ok(ListCount::Fixed(nlist)),
                _ => {
                    let remedy = "choose a number from 1 on, auto, n/39, 4sqrt or 16sqrt";
                    Err(Error::parameter("nlist", format!("{text:?}"), remedy))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_give_what_rvc_computes() {
        // Worked out with Python: max(1, min(int(16 * N ** 0.5), N // 39)) and int(max(1, N // 39) ** 0.3).
        for (rows, rvc, tips, tips_nprobe) in
            [(1, 1, 1, 1), (38, 1, 1, 1), (3003, 77, 77, 3), (125_000, 3205, 3205, 11), (1_000_000, 16000, 25641, 21)]
        {
            assert_eq!(Recipe::Rvc.nlist(rows), rvc, "rvc, {rows} rows");
            assert_eq!(Recipe::Tips.nlist(rows), tips, "tips, {rows} rows");
            assert_eq!((Recipe::Rvc.nprobe(rvc), Recipe::Tips.nprobe(tips)), (1, tips_nprobe), "{rows} rows");
        }
    }

    #[test]
    fn quality_takes_what_the_number_of_rows_allows() {
        let spec = |recipe: Recipe, rows| recipe.spec(rows).to_string();
        for (rows, expected) in
            [(0, "Flat"), (15, "Flat"), (16, "PQx4fs,RFlat"), (99_999, "PQx4fs,RFlat"), (100_000, "IVF,PQx4fs,RFlat")]
        {
            assert_eq!(spec(Recipe::Quality, rows), expected, "{rows}");
            assert_eq!((spec(Recipe::Rvc, rows), spec(Recipe::Tips, rows)), ("IVF,Flat".into(), "IVF,Flat".into()));
        }
        assert_eq!([0, 1, 100_000, 250_000].map(|rows| Recipe::Quality.nlist(rows)), [1, 1, 316, 500]);
    }

    #[test]
    fn rules_stay_between_one_and_the_rows() {
        assert_eq!(ListCount::SixteenSqrt.of(9), 9);
        assert_eq!(ListCount::FourSqrt.of(10_000), 400);
        assert_eq!(ListCount::RowsOver39.of(3), 1);
        assert_eq!(ListCount::Fixed(70).of(9), 70);
    }

    #[test]
    fn parsing() {
        assert_eq!("16sqrt".parse::<ListCount>().unwrap(), ListCount::SixteenSqrt);
        assert_eq!("12".parse::<ListCount>().unwrap(), ListCount::Fixed(12));
        for bad in ["0", "-1", "", "many", "5sqrt", "99999999999999999999999"] {
            assert!(bad.parse::<ListCount>().unwrap_err().is_usage(), "{bad}");
        }
    }
}
