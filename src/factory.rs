//! What is asked for: faiss's index factory strings, and how vectors are compared.

mod parse;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An index as faiss's factory describes it: `IVF1024,PQ128x4fs,RFlat`.
///
/// ```
/// use rvc_gpu_index::factory::IndexSpec;
///
/// let spec: IndexSpec = "L2norm,IVF1k,Flat".parse()?;
/// assert!(spec.l2norm);
/// assert_eq!(spec.to_string(), "L2norm,IVF1024,Flat");
/// # Ok::<(), rvc_gpu_index::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// `L2norm,`: rows and queries are scaled to unit length first.
    pub l2norm: bool,
    /// `IVFn,`: rows are split into inverted lists.
    pub ivf: Option<Ivf>,
    /// How a row is kept.
    pub codes: Codes,
    /// `,RFlat`: results are re-ranked with the exact rows.
    pub refine: bool,
}

/// The inverted lists of an [`IndexSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ivf {
    /// Number of lists; `None` (`IVF,…`) leaves it to a recipe that knows the number of rows.
    pub nlist: Option<usize>,
}

/// How an [`IndexSpec`] keeps a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// `Flat`: as it is.
    Flat,
    /// `PQMx4fs`: cut into M parts of four bits each, laid out for fast scanning.
    PqFastScan {
        /// Number of parts; `None` (`PQx4fs`) leaves it to a recipe that knows the width of the rows.
        m: Option<usize>,
        /// `PQMx4fsr`: codes the difference to the list's centroid. Only inside `IVFn,`.
        by_residual: bool,
    },
}

impl IndexSpec {
    /// Fails where rows of `d` floats cannot be kept this way: M must divide d.
    pub fn check_dim(&self, d: usize) -> Result<()> {
        match self.codes {
            Codes::PqFastScan { m: Some(m), .. } if !d.is_multiple_of(m) => Err(Error::parameter(
                "factory",
                format_args!("{} cuts a row into M = {m} parts, but d = {d} is not a multiple of {m}", self.codes),
                format_args!("choose an M that divides {d}"),
            )),
            _ => Ok(()),
        }
    }

    /// The same with M filled in where it is left open: d / 2, or d where that is odd.
    pub fn with_dim(self, d: usize) -> Self {
        let codes = match self.codes {
            Codes::PqFastScan { m: None, by_residual } => {
                Codes::PqFastScan { m: Some(if d.is_multiple_of(2) { d / 2 } else { d }), by_residual }
            }
            codes => codes,
        };
        Self { codes, ..self }
    }
}

impl FromStr for IndexSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::index_spec(text)
    }
}

impl fmt::Display for IndexSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.l2norm {
            f.write_str("L2norm,")?;
        }
        if let Some(Ivf { nlist }) = self.ivf {
            write!(f, "IVF{},", OrNothing(nlist))?;
        }
        write!(f, "{}", self.codes)?;
        if self.refine { f.write_str(",RFlat") } else { Ok(()) }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Codes::Flat => f.write_str("Flat"),
            Codes::PqFastScan { m, by_residual } => {
                write!(f, "PQ{}x4fs{}", OrNothing(m), if by_residual { "r" } else { "" })
            }
        }
    }
}

/// Prints a number, or nothing where it is left to a recipe.
struct OrNothing(Option<usize>);

impl fmt::Display for OrNothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |number| number.fmt(f))
    }
}

/// How an index compares two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Metric {
    /// Squared Euclidean distance; smaller is nearer.
    #[serde(rename = "l2")]
    L2,
    /// Inner product; larger is nearer.
    #[serde(rename = "ip")]
    InnerProduct,
}

impl Metric {
    /// The distance that stands where there is no neighbour: farther than any other.
    pub(crate) fn worst(self) -> f32 {
        match self {
            Metric::L2 => f32::MAX,
            Metric::InnerProduct => -f32::MAX,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::L2 => "l2",
            Metric::InnerProduct => "ip",
        })
    }
}

/// What a user means by near: a [`Metric`], or the cosine, which is the inner product of unit vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// `l2`: squared Euclidean distance.
    L2,
    /// `ip`: inner product.
    InnerProduct,
    /// `cosine`: inner product behind an L2 normalisation.
    Cosine,
}

impl Similarity {
    /// The index and the metric that give this similarity: the cosine adds `L2norm,` to the index.
    pub fn apply(self, spec: IndexSpec) -> (IndexSpec, Metric) {
        match self {
            Similarity::L2 => (spec, Metric::L2),
            Similarity::InnerProduct => (spec, Metric::InnerProduct),
            Similarity::Cosine => (IndexSpec { l2norm: true, ..spec }, Metric::InnerProduct),
        }
    }
}

impl FromStr for Similarity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "l2" => Ok(Similarity::L2),
            "ip" => Ok(Similarity::InnerProduct),
            "cosine" => Ok(Similarity::Cosine),
            _ => Err(Error::parameter("metric", format_args!("{text:?} is not known"), "choose l2, ip or cosine")),
        }
    }
}

impl fmt::Display for Similarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Similarity::L2 => "l2",
            Similarity::InnerProduct => "ip",
            Similarity::Cosine => "cosine",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: IndexSpec = IndexSpec { l2norm: false, ivf: None, codes: Codes::Flat, refine: false };

    fn message(result: Result<impl fmt::Debug>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn every_combination_prints_and_parses_back() {
        let numbers = [None, Some(1), Some(1000), Some(65536), Some(usize::MAX)];
        let mut all = Vec::new();
        for l2norm in [false, true] {
            for ivf in [None].into_iter().chain(numbers.map(|nlist| Some(Ivf { nlist }))) {
                let plain = numbers.map(|m| Codes::PqFastScan { m, by_residual: false });
                let residual = numbers.map(|m| Codes::PqFastScan { m, by_residual: true });
                let residual = residual.into_iter().filter(|_| ivf.is_some());
                for codes in [Codes::Flat].into_iter().chain(plain).chain(residual) {
                    all.extend([false, true].map(|refine| IndexSpec { l2norm, ivf, codes, refine }));
                }
            }
        }
        assert_eq!(all.len(), 2 * 2 * (6 + 5 * 11));
        for spec in all {
            assert_eq!(spec.to_string().parse::<IndexSpec>().unwrap(), spec, "{spec}");
        }
    }

    #[test]
    fn the_metric_is_named_as_users_write_it() {
        for (text, spec, metric) in [
            ("l2", "Flat", Metric::L2),
            ("ip", "Flat", Metric::InnerProduct),
            ("cosine", "L2norm,Flat", Metric::InnerProduct),
        ] {
            let similarity: Similarity = text.parse().unwrap();
            assert_eq!(similarity.to_string(), text);
            assert_eq!(similarity.apply(FLAT), (spec.parse().unwrap(), metric));
        }
        assert_eq!(Metric::InnerProduct.to_string(), "ip");
        assert_eq!(serde_json::to_string(&Metric::L2).unwrap(), "\"l2\"");
        assert_eq!(message("L2".parse::<Similarity>()), "metric: \"L2\" is not known; choose l2, ip or cosine");
    }

    fn pq(m: Option<usize>) -> IndexSpec {
        IndexSpec { codes: Codes::PqFastScan { m, by_residual: false }, ..FLAT }
    }

    #[test]
    fn m_divides_d() {
        assert!(FLAT.check_dim(7).is_ok());
        assert!(pq(None).check_dim(7).is_ok());
        assert!(pq(Some(128)).check_dim(256).is_ok());
        assert_eq!(
            message(pq(Some(100)).check_dim(768)),
            "factory: PQ100x4fs cuts a row into M = 100 parts, but d = 768 is not a multiple of 100; \
             choose an M that divides 768"
        );
        // A spec made by hand may hold what the grammar refuses.
        assert!(pq(Some(0)).check_dim(768).is_err());
    }

    #[test]
    fn an_open_m_is_half_the_width() {
        let m = |d| match pq(None).with_dim(d).codes {
            Codes::PqFastScan { m, .. } => m,
            Codes::Flat => None,
        };
        assert_eq!((m(768), m(7)), (Some(384), Some(7)));
        assert_eq!(pq(Some(3)).with_dim(768), pq(Some(3)));
    }
}
