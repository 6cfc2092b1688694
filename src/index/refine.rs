//! `,RFlat`: the exact rows behind an index, which re-rank what it finds.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Index, IndexKind, MappedFloats, Neighbors};
use crate::device::{MAX_K, exact_distance};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// What faiss takes for a k factor.
pub const K_FACTORS: RangeInclusive<f32> = 1.0..=1000.0;

/// The exact rows behind an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Refine {
    /// Row-major, ntotal × d, in the order of their ids, never normalised.
    pub(crate) rows: RefineRows,
    /// A search for k rows re-ranks the k · `k_factor` that the index finds, a whole number of them.
    pub(crate) k_factor: f32,
}

/// Where the exact rows are.
#[derive(Clone, Debug)]
pub(crate) enum RefineRows {
    InMemory(Arc<Vec<f32>>),
    /// In the index file.
    Mapped(MappedFloats),
}

impl RefineRows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::InMemory(rows) => rows.len(),
            Self::Mapped(rows) => rows.len(),
        }
    }

    /// All of them, as they lie in a file.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::InMemory(rows) => bytemuck::cast_slice(rows),
            Self::Mapped(rows) => rows.bytes(),
        }
    }

    /// The rows to change, read into memory first.
    pub(super) fn to_mut(&mut self) -> &mut Vec<f32> {
        match self {
            Self::InMemory(rows) => Arc::make_mut(rows),
            Self::Mapped(_) => {
                *self = Self::InMemory(Arc::new(self.all().into_owned()));
                self.to_mut()
            }
        }
    }

    fn all(&self) -> Cow<'_, [f32]> {
        match self {
            Self::InMemory(rows) => Cow::Borrowed(rows),
            Self::Mapped(rows) => Cow::Owned(bytemuck::pod_collect_to_vec(rows.bytes())),
        }
    }

    pub(super) fn row<'a>(&'a self, number: usize, dim: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let floats = number * dim..(number + 1) * dim;
        match self {
            Self::InMemory(rows) => &rows[floats],
            Self::Mapped(rows) => rows.get(floats, scratch),
        }
    }
}

/// The same rows, wherever they are.
impl PartialEq for RefineRows {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}

impl Refine {
    /// The rows, row-major, ntotal × d, in the order of their ids; never normalised. Those of a mapped index are all read
    /// from the file.
    pub fn rows(&self) -> Cow<'_, [f32]> {
        self.rows.all()
    }

    /// A search for k rows re-ranks the k · `k_factor` that the index finds.
    pub fn k_factor(&self) -> f32 {
        self.k_factor
    }
}

impl Refine {
    /// Puts the `found.k` nearest of the candidates of each query by exact distances into `found`; of equally near ones
    /// the lowest id first.
    pub(super) fn rerank(
        &self,
        queries: &[f32],
        candidates: &Neighbors,
        dim: usize,
        metric: Metric,
        found: &mut Neighbors,
    ) {
        let k = found.k;
        found.distances.resize(candidates.queries() * k, metric.worst());
        found.ids.resize(candidates.queries() * k, -1);
        let out = found.ids.par_chunks_mut(k).zip(found.distances.par_chunks_mut(k));
        let asked = queries.par_chunks(dim).zip(candidates.ids.par_chunks(candidates.k));
        out.zip(asked).for_each(|((ids, distances), (query, candidates))| {
            SCRATCH.with_borrow_mut(|Scratch { exact, row }| {
                let distance = |id| exact_distance(metric, query, self.rows.row(id as usize, dim, row));
                nearest(candidates, distance, metric, k, exact);
                for ((&(distance, id), out), out_id) in exact.iter().zip(distances).zip(ids) {
                    (*out, *out_id) = (distance, id);
                }
            });
        });
    }
}

/// What a thread re-ranks a query in, kept from call to call so that a search allocates nothing.
#[derive(Default)]
struct Scratch {
    /// Distances and ids.
    exact: Vec<(f32, i64)>,
    /// A row out of a mapped file.
    row: Vec<f32>,
}

thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());

/// The k nearest candidates with their distances, nearest first, in `exact`.
fn nearest(
    candidates: &[i64],
    mut distance: impl FnMut(i64) -> f32,
    metric: Metric,
    k: usize,
    exact: &mut Vec<(f32, i64)>,
) {
    exact.clear();
    let measured = candidates.iter().filter(|&&id| id >= 0).map(|&id| (distance(id), id));
    // A row of NaN, which a mapped file may have, is near to nothing.
    exact.extend(measured.filter(|(distance, _)| !distance.is_nan()));
    let by_distance = |a: &(f32, i64), b: &(f32, i64)| {
        let nearer = if metric == Metric::L2 { a.0.total_cmp(&b.0) } else { b.0.total_cmp(&a.0) };
        nearer.then(a.1.cmp(&b.1))
    };
    if exact.len() > k {
        exact.select_nth_unstable_by(k, by_distance);
        exact.truncate(k);
    }
    exact.sort_unstable_by(by_distance);
}

impl Index {
    /// Candidates that a search for k rows looks at before it re-ranks them: int(k · k_factor), as in faiss.
    pub(super) fn candidates(&self, k: usize, k_factor: Option<f32>) -> Result<usize> {
        let refused = |found: String, remedy: &str| Err(Error::parameter("k_factor", found, remedy));
        let factor = match (&self.refine, k_factor) {
            (None, None) => return Ok(k),
            (None, Some(factor)) => return refused(factor.to_string(), "leave it out: this index does not re-rank"),
            (Some(refine), asked) => asked.unwrap_or(refine.k_factor),
        };
        let candidates = (k as f32 * factor) as usize;
        if !K_FACTORS.contains(&factor) {
            return refused(factor.to_string(), "choose 1 to 1000");
        }
        if candidates > MAX_K {
            let found = format!("{factor} for k = {k} asks for {candidates} candidates");
            return refused(found, "choose a smaller one: 1024 candidates at most");
        }
        Ok(candidates)
    }

    /// The same index with `,RFlat` behind it: `rows` are those it was built from, row-major, in the order of their ids,
    /// before any normalisation.
    ///
    /// # Errors
    /// [`Error::Parameter`] where there is not one row for each of the index, an id names none of them, or the factor
    /// is not 1 to 1000.
    pub fn with_refine(self, rows: Vec<f32>, k_factor: f32) -> Result<Self> {
        if self.unlisted > 0 {
            let found = format!("{} rows of the index are in no list", self.unlisted);
            return Err(Error::parameter("rows", found, "build it from finite rows"));
        }
        if self.ntotal().checked_mul(self.dim) != Some(rows.len()) {
            let found = format!("{} floats for {} rows of {}", rows.len(), self.ntotal(), self.dim);
            return Err(Error::parameter("rows", found, "pass all rows of the index"));
        }
        if let Some(id) = self.id_without_row() {
            return Err(Error::parameter("rows", format!("none has the id {id}"), "use an index with ids from 0 on"));
        }
        if !K_FACTORS.contains(&k_factor) {
            return Err(Error::parameter("k_factor", k_factor, "choose 1 to 1000"));
        }
        Ok(Self { refine: Some(Refine { rows: RefineRows::InMemory(Arc::new(rows)), k_factor }), ..self })
    }

    /// The exact rows that re-rank what the index finds; `None` without `,RFlat`.
    pub fn refine(&self) -> Option<&Refine> {
        self.refine.as_ref()
    }

    /// An id that is none of 0 to ntotal − 1, and so names no row of a refinement.
    pub(crate) fn id_without_row(&self) -> Option<i64> {
        let ntotal = self.ntotal() as i64;
        let beyond = |id: &i64| *id >= ntotal;
        match &self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => None,
            IndexKind::IvfFlat(ivf) => ivf.lists.ids().iter().copied().find(beyond),
            IndexKind::IvfPqFastScan(ivf) => ivf.lists.ids().iter().copied().find(beyond),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::InvertedLists;

    #[test]
    fn each_id_has_its_exact_row() {
        let index = |ids| {
            let lists = InvertedLists::from_parts(1, &[2], ids, vec![0.0; 2]).unwrap();
            Index::ivf_flat(Metric::L2, vec![0.0], 1, lists).unwrap()
        };
        let refined = index(vec![1, 0]).with_refine(vec![5.0, 6.0], 1.0).unwrap();
        assert_eq!((refined.refine().unwrap().k_factor(), refined.spec().to_string()), (1.0, "IVF1,Flat,RFlat".into()));
        for (ids, rows, k_factor, said) in [
            (vec![1, 0], 1, 1.0, "1 floats for 2 rows of 1"),
            (vec![1, 2], 2, 1.0, "none has the id 2"),
            (vec![1, 0], 2, 0.9, "k_factor: 0.9"),
            (vec![1, 0], 2, f32::NAN, "k_factor: NaN"),
        ] {
            let error = index(ids).with_refine(vec![0.0; rows], k_factor).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(said), "{said:?} is not in {error}");
        }
    }
}
