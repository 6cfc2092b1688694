//! Centroids made ready for comparing rows with them.

use std::sync::Arc;

use rayon::prelude::*;

use super::pruning::{Basis, SketchTable};
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::data::engine_cache::EngineCache;
use crate::device::simd::scores::{PANEL, panels};
use crate::error::Result;
use crate::factory::Metric;

/// With the directions of the table before, where there is one: they take long to find.
pub(crate) fn centroid_table(
    centroids: Matrix,
    metric: Metric,
    before: Option<&CentroidTable>,
) -> Result<CentroidTable> {
    let (values, nlist, dim) = (centroids.data.host("centroid_table")?, centroids.rows, centroids.dim);
    let mut mean = vec![0.0f64; dim];
    if metric == Metric::L2 {
        for centroid in values.chunks_exact(dim) {
            mean.iter_mut().zip(centroid).for_each(|(m, &c)| *m += f64::from(c) / nlist as f64);
        }
    }
    let (mut shifted, mut bias) = (vec![0.0; values.len()], vec![0.0; nlist]);
    let each = shifted.par_chunks_exact_mut(dim).zip(&mut bias).zip(values.par_chunks_exact(dim));
    each.for_each(|((shifted, bias), centroid)| {
        let mut half_norm_and_dot = 0.0;
        for ((out, &c), &m) in shifted.iter_mut().zip(centroid).zip(&mean) {
            *out = (f64::from(c) - m) as f32;
            half_norm_and_dot += f64::from(*out) * (0.5 * f64::from(*out) + m);
        }
        *bias = if metric == Metric::L2 { -half_norm_and_dot as f32 } else { 0.0 };
    });
    bias.resize(nlist.next_multiple_of(PANEL), f32::NEG_INFINITY);
    let shifted = Matrix::new(Buffer::on_host(panels(&shifted, dim)), nlist, dim, dim);
    let basis = match before {
        Some(before) => SketchTable::of(before).map(|sketch| sketch.basis().clone()),
        None => Basis::of(values, dim).map(Arc::new),
    };
    let cache = basis.map(|basis| EngineCache::new(SketchTable::new(basis, values, metric))).unwrap_or_default();
    Ok(CentroidTable { centroids, shifted, bias: Buffer::on_host(bias), cache, metric })
}
