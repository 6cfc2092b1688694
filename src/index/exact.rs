//! Exact neighbours, found without an index: each query is compared with each row.

use std::ops::Range;
use std::sync::Arc;

use super::Neighbors;
use super::passed_over::PassedOver;
use crate::device::{BatchPlan, Device, RowFormat, RowRanges, RowSet, TopK};
use crate::error::Result;
use crate::factory::Metric;
use crate::features::{FeatureSource, for_each_batch};
use crate::memory;

/// Queries that are on the device at a time, at most.
const QUERIES: usize = 1024;

/// Which rows are compared with which queries, and how.
pub(crate) struct ExactSearch<'a> {
    pub device: &'a Device,
    pub queries: &'a dyn FeatureSource,
    /// As wide as the queries; row i has the id i.
    pub rows: &'a dyn FeatureSource,
    pub metric: Metric,
    pub k: usize,
    /// Whether all rows are on the device together, or else how many at a time.
    pub plan: BatchPlan,
}

impl ExactSearch<'_> {
    /// The k nearest rows of each query, of equally near ones the lowest id first. `own` has the rows that do not count
    /// for a query; without an entry all do. `progress` is told the share that is done, up to 1.
    pub fn run(&self, own: &[Arc<PassedOver>], mut progress: impl FnMut(f64)) -> Result<Neighbors> {
        let (total, dim, k) = (self.queries.rows(), self.rows.dim(), self.k);
        let places = total.saturating_mul(k);
        let distances = memory::filled(places, self.metric.worst(), "the distances of neighbours")?;
        let mut nearest = Neighbors { distances, ids: memory::filled(places, -1, "the ids of neighbours")?, k };
        let all = total as f64 * self.rows.rows() as f64;
        let mut compare = |start: usize, rows: &RowSet| {
            let count = rows.rows();
            for_each_batch(self.queries, QUERIES.min(self.plan.batch_rows), |first, asked| {
                let asked = self.device.upload(asked, dim)?;
                let mut ranges = RowRanges::default();
                for query in first..first + asked.rows() {
                    let here = |range: Range<usize>| (range.start - start) as u32..(range.end - start) as u32;
                    match own.get(query) {
                        None => ranges.push([here(start..start + count)]),
                        Some(own) => ranges.push(own.others(start..start + count).map(here)),
                    }
                }
                let top = self.device.exact_topk(&asked, rows, &ranges, self.metric, k)?;
                self.merge(&mut nearest, first, start, &top);
                progress((start as f64 * total as f64 + (first + asked.rows()) as f64 * count as f64) / all);
                Ok(())
            })
        };
        if self.plan.resident {
            compare(0, &self.device.row_set_of(self.rows, RowFormat::F32)?)?;
        } else {
            for_each_batch(self.rows, self.plan.batch_rows, |start, batch| {
                compare(start, &self.device.row_set(&Arc::new(memory::copied(batch, "rows of a batch")?), dim)?)
            })?;
        }
        Ok(nearest)
    }

    /// Takes in what the queries from `first` on found among the rows from `start` on.
    fn merge(&self, nearest: &mut Neighbors, first: usize, start: usize, top: &TopK) {
        let k = self.k;
        let found = top.rows.chunks_exact(k).zip(top.distances.chunks_exact(k));
        let ids = nearest.ids[first * k..].chunks_exact_mut(k);
        let kept = ids.zip(nearest.distances[first * k..].chunks_exact_mut(k));
        for ((ids, distances), (rows, further)) in kept.zip(found) {
            let known = ids.iter().copied().zip(distances.iter().copied()).filter(|(id, _)| *id >= 0);
            let new = rows.iter().zip(further).filter(|(row, distance)| **row != TopK::NONE && !distance.is_nan());
            let mut all: Vec<(i64, f32)> = known.collect();
            all.extend(new.map(|(&row, &distance)| (start as i64 + i64::from(row), distance)));
            // Stable: of equally near rows the lowest stays first.
            all.sort_by(|a, b| match self.metric {
                Metric::L2 => a.1.total_cmp(&b.1),
                Metric::InnerProduct => b.1.total_cmp(&a.1),
            });
            for ((id, distance), found) in ids.iter_mut().zip(distances).zip(all) {
                (*id, *distance) = found;
            }
        }
    }
}
