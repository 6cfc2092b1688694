//! Rows, distances and counts added to the sums of their labels, cluster by cluster in the order of the rows, so that
//! the number of threads changes nothing.

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use crate::device::data::buffer::{Assignment, ClusterSums, Matrix};
use crate::device::simd::arch;
use crate::error::Result;

pub(crate) fn centroid_update(rows: &Matrix, nearest: &Assignment, sums: &mut ClusterSums) -> Result<()> {
    let name = "centroid_update";
    let dim = rows.dim;
    let (data, labels, distances) = (rows.data.host(name)?, nearest.labels.host(name)?, nearest.distances.host(name)?);
    let (starts, order) = sort_by_label(labels, sums.sums.rows);
    let arch = arch();
    sums.sums
        .data
        .host_mut(name)?
        .par_chunks_exact_mut(dim)
        .zip(sums.counts.host_mut(name)?)
        .zip(sums.costs.host_mut(name)?)
        .zip(starts.par_windows(2))
        .for_each(|(((sum, count), cost), run)| {
            let run = &order[run[0] as usize..run[1] as usize];
            *count += run.len() as u32;
            *cost += run.iter().map(|&row| distances[row as usize]).sum::<f32>();
            arch.dispatch(AddRows { run, rows: data, sum });
        });
    Ok(())
}

/// Adds a run of rows to their sum. A closure would not be inlined, and so not be compiled for the machine's SIMD.
struct AddRows<'a> {
    run: &'a [u32],
    rows: &'a [f32],
    sum: &'a mut [f32],
}

impl NullaryFnOnce for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for &row in self.run {
            let row = &self.rows[row as usize * self.sum.len()..][..self.sum.len()];
            self.sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    }
}

/// Counting sort: where each label's run starts (nlist + 1), and the row numbers in the order of their labels.
fn sort_by_label(labels: &[u32], nlist: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; nlist + 1];
    for &label in labels {
        starts[label as usize + 1] += 1;
    }
    for label in 0..nlist {
        starts[label + 1] += starts[label];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; labels.len()];
    for (&label, row) in labels.iter().zip(0..) {
        let place = &mut next[label as usize];
        order[*place as usize] = row;
        *place += 1;
    }
    (starts, order)
}
