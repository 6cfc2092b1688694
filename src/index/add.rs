//! Adding rows to an index.

use std::borrow::Cow;
use std::sync::Arc;

use super::build::Progress;
use super::{Index, IndexKind, ProductQuantizer};
use crate::cluster;
use crate::device::{Assignment, CentroidTable, Device, Matrix, flat_codes};
use crate::error::{Error, Result};
use crate::features::{FeatureSource, Normalized, for_each_batch};
use crate::memory;

impl Index {
    /// Adds all rows of `source`; they get the ids from [`Index::ntotal`] + [`Index::unlisted`] on. Rows are read batch by batch, `batch_rows`
    /// at a time, so that memory holds the index and a batch: once to find lists and codes, once more to copy them
    /// where the index keeps rows.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the widths differ or the index is not trained; what the source or the device reports.
    /// After an error the index is as it was.
    pub fn add(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        batch_rows: Option<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        self.add_to(device, source, None, batch_rows, progress)
    }

    /// The same for rows whose lists are known, one label each: from [`Training::labels`](cluster::Training::labels),
    /// [`Index::dissolve_short_lists`] or [`cluster::assign`]. An index without lists takes none. What faiss has as
    /// `IndexIVF::add_core` with `precomputed_idx`.
    ///
    /// # Errors
    /// As [`Index::add`]; [`Error::Parameter`] where labels are too few or too many, or name no list.
    pub fn add_labelled(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        labels: &[u32],
        batch_rows: Option<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        self.check_labels(source, labels)?;
        self.add_to(device, source, self.nlist().map(|_| labels), batch_rows, progress)
    }

    /// Fails where there is not a label of a list for each row of an index with lists, or one for any of another.
    pub(super) fn check_labels(&self, source: &dyn FeatureSource, labels: &[u32]) -> Result<()> {
        let nlist = self.nlist().unwrap_or(0);
        let expected = if nlist == 0 { 0 } else { source.rows() };
        if labels.len() != expected {
            let remedy = format!("pass {expected}: one for each row of an index with lists");
            return Err(Error::parameter("labels", format!("there are {}", labels.len()), remedy));
        }
        match labels.iter().find(|&&label| label as usize >= nlist) {
            Some(label) => Err(Error::parameter("labels", label, format!("there are {nlist} lists"))),
            None => Ok(()),
        }
    }

    fn add_to(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        labels: Option<&[u32]>,
        batch_rows: Option<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        self.check_width(source)?;
        if !self.is_trained() {
            return Err(Error::parameter("add", "the index is not trained", "train it first"));
        }
        let mut refined = self.refine.take();
        let kept = refined.as_ref().map_or(0, |refine| refine.rows.len());
        let mut added = match &mut refined {
            // The exact rows are those before the normalisation.
            Some(refine) => append(refine.rows.to_mut(), device, source, batch_rows, progress),
            None => Ok(()),
        };
        if added.is_ok() {
            added = self.add_kept(device, source, labels, batch_rows, progress);
        }
        if let (Err(_), Some(refine)) = (&added, &mut refined) {
            refine.rows.to_mut().truncate(kept);
        }
        self.refine = refined;
        added
    }

    /// Adds to lists, rows and codes.
    fn add_kept(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        labels: Option<&[u32]>,
        batch_rows: Option<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let normalized = Normalized(source);
        let source: &dyn FeatureSource = if self.l2norm { &normalized } else { source };
        let (dim, metric) = (self.dim, self.metric);
        let first_id = (self.ntotal() + self.unlisted) as i64;
        match &mut self.kind {
            IndexKind::Flat { rows } => append(Arc::make_mut(rows), device, source, batch_rows, progress)?,
            IndexKind::IvfFlat(ivf) => {
                let labels = match labels {
                    Some(labels) => Cow::Borrowed(labels),
                    None => {
                        let table = device.centroid_table(&ivf.centroids, dim, metric)?;
                        let report = |rows| progress(Progress::Assigning { rows });
                        Cow::Owned(cluster::assign(device, source, &table, batch_rows, report)?)
                    }
                };
                let mut grown = ivf.lists.grown(&labels, first_id)?;
                in_batches(device, source, batch_rows, |start, batch| {
                    grown.put(batch);
                    progress(Progress::Adding { rows: start + batch.len() / dim });
                    Ok(())
                })?;
                ivf.lists = grown.finish();
            }
            IndexKind::PqFastScan(whole) => {
                let (_, codes) = encode(device, source, &whole.pq, None, batch_rows, progress)?;
                whole.reserve(source.rows())?;
                whole.append(&codes);
            }
            IndexKind::IvfPqFastScan(ivf) => {
                let by_residual = ivf.by_residual;
                let needed = labels.is_none() || by_residual;
                let table = needed.then(|| device.centroid_table(&ivf.centroids, dim, metric)).transpose()?;
                let coarse = table.as_ref().map(|table| Coarse { table, labels, by_residual });
                let (found, codes) = encode(device, source, &ivf.pq, coarse, batch_rows, progress)?;
                let mut grown = ivf.lists.grown(labels.unwrap_or(&found), first_id)?;
                grown.put(&codes);
                ivf.lists = grown.finish();
            }
        }
        Ok(())
    }
}

/// Hands over all rows of `source` as [`for_each_batch`] does. Where nobody asks for a number, batches are planned by the
/// memory that is free now: the index has made room for its rows before.
fn in_batches(
    device: &Device,
    source: &dyn FeatureSource,
    batch_rows: Option<usize>,
    each: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let plan = device.batch_plan(source.rows(), source.dim(), 1, batch_rows);
    for_each_batch(source, plan.batch_rows, each)
}

/// Appends all rows of `source`; none where it fails.
fn append(
    rows: &mut Vec<f32>,
    device: &Device,
    source: &dyn FeatureSource,
    batch_rows: Option<usize>,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let kept = rows.len();
    memory::reserve(rows, source.rows().saturating_mul(source.dim()), "the rows of the index")?;
    let copied = in_batches(device, source, batch_rows, |start, batch| {
        rows.extend_from_slice(batch);
        progress(Progress::Adding { rows: start + batch.len() / source.dim() });
        Ok(())
    });
    if copied.is_err() {
        rows.truncate(kept);
    }
    copied
}

/// Where the lists of rows come from.
struct Coarse<'a> {
    table: &'a CentroidTable,
    /// Where they are known.
    labels: Option<&'a [u32]>,
    /// What is encoded is the row less its list's centroid.
    by_residual: bool,
}

impl Coarse<'_> {
    /// The lists of rows, which begin with row `start` of all.
    fn lists(&self, device: &Device, rows: &Matrix, start: usize) -> Result<Assignment> {
        match self.labels {
            Some(labels) => device.assignment(&labels[start..][..rows.rows()], self.table.nlist()),
            None => device.nearest_centroid(rows, self.table),
        }
    }
}

/// The flat code of each row, and its list where a coarse quantizer has to find it.
fn encode(
    device: &Device,
    source: &dyn FeatureSource,
    pq: &ProductQuantizer,
    coarse: Option<Coarse<'_>>,
    batch_rows: Option<usize>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<u32>, Vec<u8>)> {
    let codebooks = device.codebooks(pq.codebooks(), pq.m())?;
    let mut labels = Vec::new();
    let mut codes = memory::with_capacity(source.rows() * pq.code_size(), "the codes of the index")?;
    in_batches(device, source, batch_rows, |start, batch| {
        let rows = device.upload(batch, source.dim())?;
        let lists = coarse.as_ref().map(|coarse| coarse.lists(device, &rows, start)).transpose()?;
        let residuals_of = match (&lists, &coarse) {
            (Some(lists), Some(Coarse { table, by_residual: true, .. })) => Some((*table, lists)),
            _ => None,
        };
        let words = device.pq_encode(&rows, &codebooks, residuals_of)?;
        codes.extend(flat_codes(&device.download(&words)?, pq.m()));
        if let (Some(lists), Some(Coarse { labels: None, .. })) = (&lists, &coarse) {
            labels.extend_from_slice(&device.view(&lists.labels)?);
        }
        progress(Progress::Assigning { rows: start + rows.rows() });
        Ok(())
    })?;
    Ok((labels, codes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::KMeansParams;
    use crate::factory::Metric;
    use crate::features::MemoryRows;

    fn trained(factory: &str, metric: Metric, rows: &MemoryRows) -> (Index, Vec<u32>) {
        let mut index = Index::new(&factory.parse().unwrap(), metric, rows.dim()).unwrap();
        let params = KMeansParams { labels: true, ..KMeansParams::default() };
        let training = index.train(&Device::cpu(), rows, &params, &mut |_| ()).unwrap();
        (index, training.labels)
    }

    fn some_rows(count: usize, dim: usize) -> Vec<f32> {
        (0..count * dim).map(|i| ((i * i) as f32 * 0.61).sin() + (i % dim) as f32).collect()
    }

    #[test]
    fn labels_of_the_training_spare_an_assignment_and_change_nothing() {
        let values = some_rows(500, 6);
        let (rows, device) = (MemoryRows::new(&values, 6).unwrap(), Device::cpu());
        for factory in
            ["Flat", "IVF20,Flat", "L2norm,IVF20,Flat,RFlat", "PQ3x4fs", "IVF20,PQ3x4fs", "IVF20,PQ3x4fsr,RFlat"]
        {
            for metric in [Metric::L2, Metric::InnerProduct] {
                let (mut usual, labels) = trained(factory, metric, &rows);
                let mut labelled = usual.clone();
                for batch_rows in [None, Some(70)] {
                    usual.add(&device, &rows, batch_rows, &mut |_| ()).unwrap();
                    let mut assigned = false;
                    let progress = &mut |at| assigned |= matches!(at, Progress::Assigning { .. });
                    labelled.add_labelled(&device, &rows, &labels, batch_rows, progress).unwrap();
                    assert_eq!(labelled, usual, "{factory} {metric}");
                    assert!(!assigned || factory.contains("PQ"), "{factory}");
                }
            }
        }
    }

    #[test]
    fn wrong_labels_are_refused() {
        let values = some_rows(500, 6);
        let (rows, device) = (MemoryRows::new(&values, 6).unwrap(), Device::cpu());
        let refused = |factory, labels: &[u32]| {
            let mut index = trained(factory, Metric::L2, &rows).0;
            let added = index.add_labelled(&device, &rows, labels, None, &mut |_| ());
            assert_eq!(index.ntotal(), 0);
            added.unwrap_err().to_string()
        };
        let few = refused("IVF20,Flat", &[0; 499]);
        assert!(few.starts_with("labels: there are 499") && few.contains("pass 500"), "{few}");
        let beyond = refused("IVF20,PQ3x4fs", &[20; 500]);
        assert!(beyond.starts_with("labels: 20") && beyond.contains("there are 20 lists"), "{beyond}");
        let without = refused("Flat", &[0; 500]);
        assert!(without.starts_with("labels: there are 500") && without.contains("pass 0"), "{without}");
    }
}
