//! What a search may find, by arithmetic of its own.

use std::collections::HashSet;
use std::iter::zip;

use rand::{Rng, RngExt};
use rvc_gpu_index::factory::{Codes, Metric};
use rvc_gpu_index::features::FeatureSource;
use rvc_gpu_index::index::{Index, IndexKind, IndexRows, Neighbors, SearchParams};

/// Values that are read at most: few bytes of codes may stand for many.
const VALUES: usize = 1 << 20;
/// Where squares of 32-bit floats neither overflow nor vanish.
const ORDINARY: std::ops::Range<f64> = 1e-30..1e30;

/// The rows of an index in the order of their ids, and how they are compared.
pub struct Expected<'a> {
    index: &'a Index,
    ids: Vec<i64>,
    rows: Vec<f32>,
}

impl<'a> Expected<'a> {
    /// Reads the rows of `index`.
    pub fn new(index: &'a Index) -> Self {
        let (dim, ntotal) = (index.dim(), index.ntotal());
        let source = IndexRows::new(index.clone());
        assert_eq!((source.rows(), source.dim()), (ntotal, dim));
        let mut rows = vec![0.0; ntotal.min(VALUES / dim) * dim];
        source.read(ntotal - rows.len() / dim, &mut rows).expect("rows that are there");
        let mut ids = ids(index);
        ids.sort_unstable();
        Self { index, ids, rows }
    }

    /// A row, or zeros where there is none.
    pub fn some_row(&self, rng: &mut impl Rng) -> Vec<f32> {
        let dim = self.index.dim();
        match self.rows.len() / dim {
            0 => vec![0.0; dim],
            rows => self.rows[rng.random_range(0..rows) * dim..][..dim].to_vec(),
        }
    }

    /// Fails unless `found` is what these queries may find.
    pub fn check(&self, queries: &[f32], found: &Neighbors, params: &SearchParams) {
        let (queries, k) = (queries.chunks(self.index.dim()), found.k);
        assert_eq!((found.ids.len(), found.distances.len()), (queries.len() * k, queries.len() * k));
        for (query, (ids, distances)) in zip(queries, zip(found.ids.chunks(k), found.distances.chunks(k))) {
            let count = ids.iter().position(|&id| id < 0).unwrap_or(k);
            let (ids, none) = ids.split_at(count);
            let (distances, worst) = distances.split_at(count);
            let metric = self.index.metric();
            assert!(none.iter().all(|&id| id == -1) && worst.iter().all(|x| x.abs() == f32::MAX));
            assert!(ids.iter().all(|id| self.ids.binary_search(id).is_ok()));
            assert!(distances.is_sorted_by(|a, b| if metric == Metric::L2 { a <= b } else { a >= b }));
            if self.is_exact() {
                self.check_distances(query, ids, distances);
                if self.compares_all(params) {
                    self.check_nearest(query, ids, distances, k);
                }
            }
        }
    }

    /// True where distances are those of rows that are known by their ids.
    fn is_exact(&self) -> bool {
        let exact = self.index.spec().codes == Codes::Flat || self.index.refine().is_some();
        exact && !self.index.l2norm() && self.ids.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// True where a search compares the query with every row itself.
    fn compares_all(&self, params: &SearchParams) -> bool {
        let nprobe = params.nprobe.or(self.index.nprobe());
        self.index.refine().is_none() && nprobe >= self.index.nlist()
    }

    fn check_distances(&self, query: &[f32], ids: &[i64], distances: &[f32]) {
        for (id, &distance) in zip(ids, distances) {
            let number = self.ids.binary_search(id).expect("an id of the index");
            let row = &self.rows[number * query.len()..][..query.len()];
            if let Some((exact, slack)) = self.distance(query, row) {
                assert!((f64::from(distance) - exact).abs() <= slack, "{distance} for {exact} of row {id}");
            }
        }
    }

    /// No row that was not found is nearer than those that were.
    fn check_nearest(&self, query: &[f32], ids: &[i64], distances: &[f32], k: usize) {
        let measured: Option<Vec<_>> = self.rows.chunks(query.len()).map(|row| self.distance(query, row)).collect();
        let Some(measured) = measured else { return };
        assert_eq!(ids.len(), k.min(self.ids.len()), "too few neighbours");
        let Some(&last) = distances.last() else { return };
        let found: HashSet<_> = ids.iter().collect();
        assert_eq!(found.len(), ids.len(), "a row was found twice");
        for (id, (exact, slack)) in zip(&self.ids, measured).filter(|(id, _)| !found.contains(id)) {
            let nearer =
                if self.index.metric() == Metric::L2 { f64::from(last) - exact } else { exact - f64::from(last) };
            assert!(nearer <= slack, "row {id} at {exact} was missed, one at {last} was found");
        }
    }

    /// The distance, and how far off a sum of 32-bit floats may be. None where that may overflow.
    fn distance(&self, query: &[f32], row: &[f32]) -> Option<(f64, f64)> {
        let terms = zip(query, row).map(|(&x, &y)| match self.index.metric() {
            Metric::L2 => (f64::from(x) - f64::from(y)).powi(2),
            Metric::InnerProduct => f64::from(x) * f64::from(y),
        });
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
        (size < ORDINARY.end).then_some((sum, 1e-5 * size + ORDINARY.start))
    }
}

fn ids(index: &Index) -> Vec<i64> {
    match index.kind() {
        IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => (0..index.ntotal() as i64).collect(),
        IndexKind::IvfFlat(ivf) => ivf.lists().iter().flat_map(|list| list.ids.iter().copied()).collect(),
        IndexKind::IvfPqFastScan(ivf) => ivf.lists().ids().iter().copied().filter(|&id| id >= 0).collect(),
    }
}
