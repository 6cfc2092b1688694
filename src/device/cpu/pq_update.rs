//! Sub-vectors, squared errors and counts added to the sums of their codes. Blocks of rows are tallied side by side and
//! added up in their order, so that the number of threads changes nothing.

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use crate::device::data::buffer::{Buffer, ClusterSums, HostSums, Matrix};
use crate::device::data::pq::{CENTROIDS, CODES_A_WORD, Codebooks};
use crate::device::simd::arch;
use crate::error::Result;

/// Rows a block: many against the sixteen centroids whose sums every block has.
const BLOCK: usize = 512;

pub(crate) fn pq_update(
    rows: &Matrix,
    codes: &Buffer<u32>,
    codebooks: &Codebooks,
    sums: &mut ClusterSums,
) -> Result<()> {
    let name = "pq_update";
    let (data, codes, centroids) = (rows.data.host(name)?, codes.host(name)?, codebooks.data.host(name)?);
    let (m, dsub) = (codebooks.m, codebooks.dsub);
    let arch = arch();
    let blocks: Vec<HostSums> = data
        .par_chunks(BLOCK * rows.dim)
        .zip(codes.par_chunks(BLOCK * codebooks.words()))
        .map(|(rows, codes)| arch.dispatch(Block { rows, codes, centroids, m, dsub }))
        .collect();
    let (total, costs) = (sums.sums.data.host_mut(name)?, sums.costs.host_mut(name)?);
    let counts = sums.counts.host_mut(name)?;
    for block in blocks {
        total.iter_mut().zip(block.sums).for_each(|(total, sum)| *total += sum);
        counts.iter_mut().zip(block.counts).for_each(|(total, count)| *total += count);
        costs.iter_mut().zip(block.costs).for_each(|(total, cost)| *total += cost);
    }
    Ok(())
}

/// Rows with their codes. A type of its own, because a closure of this size is not sure to be inlined into the code that
/// has SIMD.
struct Block<'a> {
    rows: &'a [f32],
    codes: &'a [u32],
    centroids: &'a [f32],
    m: usize,
    dsub: usize,
}

impl NullaryFnOnce for Block<'_> {
    type Output = HostSums;

    #[inline(always)]
    fn call(self) -> HostSums {
        match self.dsub {
            1 => self.tally(1),
            2 => self.tally(2),
            4 => self.tally(4),
            dsub => self.tally(dsub),
        }
    }
}

impl Block<'_> {
    /// `dsub` is a constant for the common widths, so that their loops over the sub-vector are unrolled.
    #[inline(always)]
    fn tally(self, dsub: usize) -> HostSums {
        let clusters = self.m * CENTROIDS;
        let (mut sums, mut counts, mut costs) = (vec![0.0; clusters * dsub], vec![0; clusters], vec![0.0; clusters]);
        let rows = self.rows.chunks_exact(self.m * dsub);
        for (row, words) in rows.zip(self.codes.chunks_exact(self.m.div_ceil(CODES_A_WORD))) {
            for (sub, x) in row.chunks_exact(dsub).enumerate() {
                let code = words[sub / CODES_A_WORD] >> (4 * (sub % CODES_A_WORD)) & 15;
                let at = sub * CENTROIDS + code as usize;
                let (sum, centroid) = (&mut sums[at * dsub..][..dsub], &self.centroids[at * dsub..][..dsub]);
                let mut cost = 0.0;
                for ((sum, &x), &c) in sum.iter_mut().zip(x).zip(centroid) {
                    *sum += x;
                    cost += (x - c) * (x - c);
                }
                counts[at] += 1;
                costs[at] += cost;
            }
        }
        HostSums { sums, counts, costs }
    }
}
