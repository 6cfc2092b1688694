//! Adding rows to an index.

use std::sync::Arc;

use super::build::Progress;
use super::{Index, IndexKind, ProductQuantizer};
use crate::cluster;
use crate::device::{CentroidTable, Device, flat_codes};
use crate::error::{Error, Result};
use crate::features::{FeatureSource, Normalized, for_each_batch};

impl Index {
    /// Adds all rows of `source`; they get the ids from [`Index::ntotal`] on. Rows are read batch by batch, `batch_rows`
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
        self.check_width(source)?;
        if !self.is_trained() {
            return Err(Error::parameter("add", "the index is not trained", "train it first"));
        }
        let batch_rows = device.batch_plan(source.rows(), source.dim(), 1, batch_rows).batch_rows;
        let mut refined = self.refine.take();
        let kept = refined.as_ref().map_or(0, |refine| refine.rows.len());
        let mut added = match &mut refined {
            // The exact rows are those before the normalisation.
            Some(refine) => append(refine.rows.to_mut(), source, batch_rows, progress),
            None => Ok(()),
        };
        if added.is_ok() {
            added = self.add_kept(device, source, batch_rows, progress);
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
        batch_rows: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let normalized = Normalized(source);
        let source: &dyn FeatureSource = if self.l2norm { &normalized } else { source };
        let (dim, metric) = (self.dim, self.metric);
        match &mut self.kind {
            IndexKind::Flat { rows } => append(Arc::make_mut(rows), source, batch_rows, progress)?,
            IndexKind::IvfFlat(ivf) => {
                let table = device.centroid_table(&ivf.centroids, dim, metric)?;
                let report = |rows| progress(Progress::Assigning { rows });
                let labels = cluster::assign(device, source, &table, Some(batch_rows), report)?;
                let mut grown = ivf.lists.grown(&labels);
                for_each_batch(source, batch_rows, |start, batch| {
                    grown.put(batch);
                    progress(Progress::Adding { rows: start + batch.len() / dim });
                    Ok(())
                })?;
                ivf.lists = grown.finish();
            }
            IndexKind::PqFastScan(whole) => {
                let (_, codes) = encode(device, source, &whole.pq, None, batch_rows, progress)?;
                whole.reserve(source.rows());
                whole.append(&codes);
            }
            IndexKind::IvfPqFastScan(ivf) => {
                let table = device.centroid_table(&ivf.centroids, dim, metric)?;
                let coarse = Some((&table, ivf.by_residual));
                let (labels, codes) = encode(device, source, &ivf.pq, coarse, batch_rows, progress)?;
                let mut grown = ivf.lists.grown(&labels);
                grown.put(&codes);
                ivf.lists = grown.finish();
            }
        }
        Ok(())
    }
}

/// Appends all rows of `source`; none where it fails.
fn append(
    rows: &mut Vec<f32>,
    source: &dyn FeatureSource,
    batch_rows: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let kept = rows.len();
    rows.reserve_exact(source.rows() * source.dim());
    let copied = for_each_batch(source, batch_rows, |start, batch| {
        rows.extend_from_slice(batch);
        progress(Progress::Adding { rows: start + batch.len() / source.dim() });
        Ok(())
    });
    if copied.is_err() {
        rows.truncate(kept);
    }
    copied
}

/// The flat code of each row, and its list where there is a coarse quantizer. With `by_residual` what is encoded is the
/// row less its list's centroid.
fn encode(
    device: &Device,
    source: &dyn FeatureSource,
    pq: &ProductQuantizer,
    coarse: Option<(&CentroidTable, bool)>,
    batch_rows: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<u32>, Vec<u8>)> {
    let codebooks = device.codebooks(pq.codebooks(), pq.m())?;
    let mut labels = Vec::with_capacity(if coarse.is_some() { source.rows() } else { 0 });
    let mut codes = Vec::with_capacity(source.rows() * pq.code_size());
    for_each_batch(source, batch_rows, |start, batch| {
        let rows = device.upload(batch, source.dim())?;
        let nearest = coarse.map(|(table, _)| device.nearest_centroid(&rows, table)).transpose()?;
        let residuals_of = match (&nearest, coarse) {
            (Some(nearest), Some((table, true))) => Some((table, nearest)),
            _ => None,
        };
        let words = device.pq_encode(&rows, &codebooks, residuals_of)?;
        codes.extend(flat_codes(&device.download(&words)?, pq.m()));
        if let Some(nearest) = nearest {
            labels.extend(device.download(&nearest.labels)?);
        }
        progress(Progress::Assigning { rows: start + rows.rows() });
        Ok(())
    })?;
    Ok((labels, codes))
}
