//! The rows of an index one by one, as faiss's `reconstruct` gives them.

use std::sync::Arc;

use super::{BlockLists, Index, IndexKind, IvfPqFastScan, ProductQuantizer};
use crate::device::BLOCK_ROWS;
use crate::error::Result;
use crate::features::{FeatureSource, rows_asked};

/// The rows of an index in the order of their ids: RVC's `big_npy`. They are what faiss's `reconstruct_n` gives: the exact
/// rows of an index with `RFlat`, what the codes stand for of one without, unit vectors behind `L2norm,` alone.
#[derive(Clone, Debug)]
pub struct IndexRows {
    index: Arc<Index>,
    /// Where the rows stand in the lists, by their ids; `None` where row i has the id i.
    places: Option<Vec<usize>>,
}

impl IndexRows {
    /// The rows of `index`.
    pub fn new(index: impl Into<Arc<Index>>) -> Self {
        let index = index.into();
        let places = match &index.kind {
            // The exact rows stand in the order of their ids.
            _ if index.refine.is_some() => None,
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => None,
            IndexKind::IvfFlat(ivf) => Some(by_id((0..ivf.lists.ntotal()).collect(), ivf.lists.ids())),
            IndexKind::IvfPqFastScan(IvfPqFastScan { lists, .. }) => {
                Some(by_id((0..lists.nlist()).flat_map(|list| lists.places(list)).collect(), lists.ids()))
            }
        };
        Self { index, places }
    }

    /// The ids in their order; `None` where row i has the id i.
    pub(crate) fn ids_in_order(&self) -> Option<Vec<i64>> {
        let ids: Vec<i64> = self.places.as_ref()?.iter().map(|&place| self.ids()[place]).collect();
        let plain = ids.iter().zip(0..).all(|(&id, number)| id == number);
        (!plain).then_some(ids)
    }

    /// The row number of each place in the lists; `None` where rows have their number as id.
    pub(super) fn numbers(&self) -> Option<Vec<i64>> {
        let places = self.places.as_ref().filter(|_| self.ids_in_order().is_some())?;
        let mut numbers = vec![-1; self.ids().len()];
        for (&place, number) in places.iter().zip(0..) {
            numbers[place] = number;
        }
        Some(numbers)
    }

    /// Copies the row that is `number`th by its id into `out`, which has room for one row.
    pub(crate) fn copy_number(&self, number: usize, out: &mut [f32]) {
        let dim = self.index.dim;
        if let Some(refine) = &self.index.refine {
            return out.copy_from_slice(refine.rows.row(number, dim, &mut Vec::new()));
        }
        let place = self.places.as_ref().map_or(number, |places| places[number]);
        match &self.index.kind {
            IndexKind::Flat { rows } => out.copy_from_slice(&rows[place * dim..][..dim]),
            IndexKind::IvfFlat(ivf) => out.copy_from_slice(&ivf.lists.rows()[place * dim..][..dim]),
            IndexKind::PqFastScan(whole) => decode(&whole.pq, &whole.codes.unpack(place..place + 1), out),
            IndexKind::IvfPqFastScan(ivf) => {
                decode(&ivf.pq, &ivf.lists.codes().unpack(place..place + 1), out);
                if ivf.by_residual {
                    let centroid = &ivf.centroids[list_of(&ivf.lists, place) * dim..][..dim];
                    out.iter_mut().zip(centroid).for_each(|(x, c)| *x += c);
                }
            }
        }
    }

    /// The ids that [`Self::places`] are ordered by.
    fn ids(&self) -> &[i64] {
        match &self.index.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => &[],
            IndexKind::IvfFlat(ivf) => ivf.lists.ids(),
            IndexKind::IvfPqFastScan(ivf) => ivf.lists.ids(),
        }
    }
}

impl FeatureSource for IndexRows {
    fn rows(&self) -> usize {
        self.index.ntotal()
    }

    fn dim(&self) -> usize {
        self.index.dim
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let rows = rows_asked(self, start, out.len())?;
        rows.zip(out.chunks_exact_mut(self.dim())).for_each(|(number, out)| self.copy_number(number, out));
        Ok(())
    }
}

fn by_id(mut places: Vec<usize>, ids: &[i64]) -> Vec<usize> {
    places.sort_by_key(|&place| ids[place]);
    places
}

fn decode(pq: &ProductQuantizer, code: &[u8], out: &mut [f32]) {
    out.copy_from_slice(&pq.decode(code));
}

/// The list that has a row at this place.
fn list_of(lists: &BlockLists, place: usize) -> usize {
    // Empty lists start where the next one does: the last list that starts here or before has the place.
    lists.starts().partition_point(|&start| start * BLOCK_ROWS <= place) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::Metric;
    use crate::index::InvertedLists;

    /// Codeword c is (c, -c).
    fn pq() -> ProductQuantizer {
        ProductQuantizer::new(2, 1, (0..16).flat_map(|c| [c as f32, -(c as f32)]).collect()).unwrap()
    }

    fn all(rows: &IndexRows) -> Vec<f32> {
        let mut out = vec![f32::NAN; rows.rows() * rows.dim()];
        rows.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn rows_come_by_id_whatever_their_ids() {
        let lists = InvertedLists::from_parts(1, &[0, 2, 1], vec![70, 5, 9], vec![7.0, 0.5, 0.9]).unwrap();
        let rows = IndexRows::new(Index::ivf_flat(Metric::L2, vec![0.0; 3], 1, lists).unwrap());
        assert_eq!(all(&rows), [0.5, 0.9, 7.0]);
        assert_eq!((rows.ids_in_order(), rows.numbers()), (Some(vec![5, 9, 70]), Some(vec![2, 0, 1])));
        assert!(rows.read(2, &mut [0.0; 2]).is_err());
    }

    #[test]
    fn rows_of_one_id_are_told_apart() {
        let rows = |ids: &[i64]| {
            let lists = InvertedLists::from_parts(1, &[0, 2, 1], ids.to_vec(), vec![7.0, 0.5, 0.9]).unwrap();
            IndexRows::new(Index::ivf_flat(Metric::L2, vec![0.0; 3], 1, lists).unwrap())
        };
        assert_eq!((all(&rows(&[1, 0, 1])), rows(&[1, 0, 1]).numbers()), (vec![0.5, 7.0, 0.9], Some(vec![1, 0, 2])));
        assert_eq!((all(&rows(&[1, 0, 2])), rows(&[1, 0, 2]).numbers()), (vec![0.5, 7.0, 0.9], None));
    }

    #[test]
    fn residuals_are_added_to_their_centroid() {
        // Lists of 0, 33, 0 and 1 rows: two blocks, then one.
        let labels = [[1; 33].as_slice(), &[3]].concat();
        let codes: Vec<u8> = (0..34).map(|code| code % 16).collect();
        let lists = || BlockLists::from_codes(1, 4, &labels, &codes).unwrap();
        let centroids = [0.0, 0.0, 100.0, 200.0, 0.0, 0.0, 300.0, 400.0];
        for (by_residual, first, last) in [(false, [0.0, -0.0], [1.0, -1.0]), (true, [100.0, 200.0], [301.0, 399.0])] {
            let ivf = IvfPqFastScan::new(centroids.to_vec(), 1, by_residual, pq(), lists()).unwrap();
            let rows = all(&IndexRows::new(Index::ivf_pq_fast_scan(Metric::L2, ivf)));
            assert_eq!((rows.len(), &rows[..2], &rows[66..]), (68, &first[..], &last[..]), "{by_residual}");
        }
    }

    #[test]
    fn exact_rows_come_before_codes() {
        let codes = crate::index::PqFastScan::from_codes(pq(), &[3, 4]).unwrap();
        let index = Index::pq_fast_scan(Metric::L2, codes);
        assert_eq!(all(&IndexRows::new(index.clone())), [3.0, -3.0, 4.0, -4.0]);
        let exact = index.with_refine(vec![3.5, -3.5, 4.5, -4.5], 1.0).unwrap();
        assert_eq!(all(&IndexRows::new(exact)), [3.5, -3.5, 4.5, -4.5]);
        let empty = IndexRows::new(Index::flat(2, Metric::L2, Vec::new()).unwrap());
        assert!(all(&empty).is_empty());
    }
}
