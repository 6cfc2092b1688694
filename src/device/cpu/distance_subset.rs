//! Distances of each query to rows of its own choice.

use rayon::prelude::*;

use crate::device::data::buffer::{Matrix, TopK};
use crate::device::data::rows::RowSet;
use crate::device::simd::distance::exact_distance;
use crate::error::Result;
use crate::factory::Metric;

pub(crate) fn distance_subset(queries: &Matrix, rows: &RowSet, candidates: &[u32], metric: Metric) -> Result<Vec<f32>> {
    let name = "distance_subset";
    let (dim, queries_data, rows) = (queries.dim, queries.data.host(name)?, rows.host(name)?);
    let subset = candidates.len().checked_div(queries.rows).unwrap_or(0).max(1);
    let distances = candidates.par_iter().enumerate().map(|(pair, &candidate)| match candidate {
        TopK::NONE => metric.worst(),
        row => exact_distance(metric, &queries_data[pair / subset * dim..][..dim], &rows[row as usize * dim..][..dim]),
    });
    Ok(distances.collect())
}
