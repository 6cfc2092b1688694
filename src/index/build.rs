//! Training an index and adding rows to it.

use std::sync::Arc;

use super::{Index, IndexKind, InvertedLists, IvfFlat};
use crate::cluster::{self, KMeansParams, Training};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::factory::{IndexSpec, Metric};
use crate::features::{FeatureSource, Normalized, for_each_batch};

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// k-means runs over its rows; `iteration` counts from 0.
    Training {
        /// The present pass.
        iteration: usize,
        /// Rows done in this pass.
        rows: usize,
    },
    /// Rows are assigned to their lists.
    Assigning {
        /// Rows done.
        rows: usize,
    },
    /// Rows are copied into their lists.
    Adding {
        /// Rows done.
        rows: usize,
    },
}

impl Index {
    /// An empty index of the kind that `spec` names, over rows of `dim` floats; nprobe is 1 until set.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a kind that is not built yet, or an IVF whose nlist is left open.
    pub fn new(spec: &IndexSpec, metric: Metric, dim: usize) -> Result<Self> {
        spec.check_built()?;
        spec.check_dim(dim)?;
        if dim == 0 {
            return Err(Error::parameter("dim", 0, "index rows of at least one float"));
        }
        let index = match &spec.ivf {
            None => Self::flat(dim, metric, Vec::new())?,
            Some(ivf) => {
                let Some(nlist) = ivf.nlist else {
                    return Err(Error::parameter("nlist", format!("left open by {spec}"), "name it, or ask a recipe"));
                };
                // Before room is made for the lists.
                cluster::check_nlist(nlist)?;
                Self::ivf_flat(metric, Vec::new(), 1, InvertedLists::new(nlist, dim))?
            }
        };
        Ok(if spec.l2norm { index.with_l2norm() } else { index })
    }

    /// Sets the number of lists that a search visits unless it names another; nothing to set on an index without lists.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0.
    pub fn set_nprobe(&mut self, nprobe: usize) -> Result<()> {
        if nprobe == 0 {
            return Err(Error::parameter("nprobe", 0, "visit at least one list"));
        }
        match &mut self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => {}
            IndexKind::IvfFlat(ivf) => ivf.nprobe = nprobe,
            IndexKind::IvfPqFastScan(ivf) => ivf.nprobe = nprobe,
        }
        Ok(())
    }

    /// Trains the coarse quantizer on `source`; a flat index needs none. An index that has rows keeps its centroids.
    ///
    /// # Errors
    /// As [`cluster::k_means`]; [`Error::Parameter`] where the widths differ or rows were added already.
    pub fn train(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        params: &KMeansParams,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Training> {
        self.check_width(source)?;
        if self.ntotal() > 0 {
            let found = format!("the index has {} rows", self.ntotal());
            return Err(Error::parameter("train", found, "train before adding rows"));
        }
        let normalized = Normalized(source);
        let source: &dyn FeatureSource = if self.l2norm { &normalized } else { source };
        let metric = self.metric;
        let IvfFlat { centroids, lists, .. } = match &mut self.kind {
            IndexKind::Flat { .. } => return Ok(Training::default()),
            IndexKind::IvfFlat(ivf) => ivf,
            IndexKind::PqFastScan(_) | IndexKind::IvfPqFastScan(_) => return Err(self.comes_later("training")),
        };
        let report = |iteration, rows| progress(Progress::Training { iteration, rows });
        let trained = cluster::k_means(device, source, lists.nlist(), metric, params, report)?;
        *centroids = trained.centroids;
        Ok(trained.training)
    }

    /// Adds all rows of `source`; they get the ids from [`Index::ntotal`] on. Rows are read twice (to assign them, to
    /// copy them), `batch_rows` at a time, so that memory holds the index and a batch.
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
        if self.refine.is_some() {
            return Err(self.comes_later("adding to"));
        }
        let normalized = Normalized(source);
        let source: &dyn FeatureSource = if self.l2norm { &normalized } else { source };
        let plan = device.batch_plan(source.rows(), source.dim(), 1, batch_rows);
        let (dim, metric) = (self.dim, self.metric);
        match &mut self.kind {
            IndexKind::Flat { rows } => {
                let rows = Arc::<Vec<f32>>::make_mut(rows);
                let kept = rows.len();
                rows.reserve_exact(source.rows() * dim);
                let copied = for_each_batch(source, plan.batch_rows, |start, batch| {
                    rows.extend_from_slice(batch);
                    progress(Progress::Adding { rows: start + batch.len() / dim });
                    Ok(())
                });
                if copied.is_err() {
                    rows.truncate(kept);
                }
                copied
            }
            IndexKind::IvfFlat(ivf) => {
                let table = device.centroid_table(&ivf.centroids, dim, metric)?;
                let report = |rows| progress(Progress::Assigning { rows });
                let labels = cluster::assign(device, source, &table, batch_rows, report)?;
                let mut grown = ivf.lists.grown(&labels);
                for_each_batch(source, plan.batch_rows, |start, batch| {
                    grown.put(batch);
                    progress(Progress::Adding { rows: start + batch.len() / dim });
                    Ok(())
                })?;
                ivf.lists = grown.finish();
                Ok(())
            }
            IndexKind::PqFastScan(_) | IndexKind::IvfPqFastScan(_) => Err(self.comes_later("adding to")),
        }
    }

    fn check_width(&self, source: &dyn FeatureSource) -> Result<()> {
        if source.dim() != self.dim {
            let found = format!("{} floats wide", source.dim());
            return Err(Error::parameter("rows", found, format!("the index has {}", self.dim)));
        }
        Ok(())
    }
}
