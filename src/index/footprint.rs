//! How much memory an index takes, known before it is built.

use super::{Index, IndexKind};
use crate::device::BLOCK_ROWS;

/// A label of the list that a row goes to.
const LABEL: u64 = size_of::<u32>() as u64;
const ID: u64 = size_of::<i64>() as u64;

impl Index {
    /// Bytes of memory that it takes to fill this index with `rows` rows: what it then holds, and what only the filling
    /// needs, but for batches of rows.
    pub fn memory_to_fill(&self, rows: usize) -> u64 {
        let (rows, row) = (rows as u64, 4 * self.dim as u64);
        let lists = self.nlist().unwrap_or(0) as u64;
        let kept = match &self.kind {
            IndexKind::Flat { .. } => row,
            IndexKind::IvfFlat(_) => row + ID + LABEL,
            // Codes as they are found, and in blocks.
            IndexKind::PqFastScan(codes) => 2 * codes.pq.code_size() as u64,
            IndexKind::IvfPqFastScan(ivf) => 2 * ivf.pq.code_size() as u64 + ID + LABEL,
        };
        let exact = if self.refine.is_some() { row } else { 0 };
        // Each list ends in a block that need not be full; centroids are there twice, the second time less their mean.
        let lists = lists.saturating_mul(2 * row + BLOCK_ROWS as u64 * ID);
        rows.saturating_mul(kept + exact).saturating_add(lists)
    }
}

#[cfg(test)]
mod tests {
    use crate::factory::Metric;
    use crate::index::Index;

    #[test]
    fn what_an_index_takes() {
        let bytes =
            |factory: &str| Index::new(&factory.parse().unwrap(), Metric::L2, 768).unwrap().memory_to_fill(1000);
        assert_eq!(bytes("Flat"), 1000 * 3072);
        assert_eq!(bytes("Flat,RFlat"), 1000 * 2 * 3072);
        // 384 codes of four bits.
        assert_eq!(bytes("PQ384x4fs,RFlat"), 1000 * (2 * 192 + 3072));
        assert_eq!(bytes("IVF10,Flat"), 1000 * (3072 + 12) + 10 * (2 * 3072 + 32 * 8));
        assert_eq!(bytes("IVF10,PQ3x4fs"), 1000 * (4 + 12) + 10 * (2 * 3072 + 32 * 8));
    }
}
