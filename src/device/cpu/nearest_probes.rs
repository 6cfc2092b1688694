//! The nprobe nearest centroids of each row.

use rayon::prelude::*;

use super::pruning::{SketchTable, Work};
use super::smallest::Smallest;
use super::workspace::Workspace;
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::simd::arch;
use crate::device::simd::scores::{PANEL, Scores, Take};
use crate::error::Result;

/// Rows that one thread takes at a time, at most; few rows are spread over the cores.
const ROWS: usize = 96;

pub(crate) fn nearest_probes(
    rows: &Matrix,
    table: &CentroidTable,
    nprobe: usize,
    probes: &mut Buffer<u32>,
) -> Result<()> {
    let name = "nearest_probes";
    let dim = rows.dim;
    let (data, panels, bias) = (rows.data.host(name)?, table.shifted.data.host(name)?, table.bias.host(name)?);
    let centroids = table.centroids.data.host(name)?;
    let probes = probes.renew(rows.rows * nprobe, 0);
    let share = rows.rows.div_ceil(rayon::current_num_threads()).clamp(1, ROWS);
    let arch = arch();
    data.par_chunks(share * dim).zip(probes.par_chunks_mut(share * nprobe)).for_each(|(rows, probes)| {
        Workspace::with(|workspace| {
            let Workspace { pools, packed, sketches, bounding, .. } = workspace;
            let pools = pools.renew(rows.len() / dim, nprobe);
            match SketchTable::of(table) {
                Some(sketch) => {
                    sketch.basis().sketch(rows, false, packed, sketches);
                    sketch.nearest(centroids, rows, sketches, Work { pools, among: None, near: None, bounding });
                }
                None => {
                    arch.dispatch(Scores { rows, mean: None, dim, panels, bias, packed, take: &mut Nearest(pools) })
                }
            }
            for (pool, out) in pools.iter_mut().zip(probes.chunks_exact_mut(nprobe)) {
                pool.write(None, out);
            }
        });
    });
    Ok(())
}

struct Nearest<'a>(&'a mut [Smallest]);

impl Take for Nearest<'_> {
    #[inline(always)]
    fn take(&mut self, row: usize, first: u32, scores: &[f32; PANEL]) {
        let nearest = &mut self.0[row];
        let bound = -nearest.float_bound();
        // All are looked at, which needs no branches; few panels hold a score within the bound.
        let mut within = false;
        for &score in scores {
            within |= score >= bound;
        }
        if within {
            for (scores, first) in scores.as_chunks::<8>().0.iter().zip((first..).step_by(8)) {
                if scores.iter().any(|&score| score >= bound) {
                    scores.iter().zip(first..).for_each(|(&score, label)| nearest.offer_float(-score, label));
                }
            }
        }
    }
}
