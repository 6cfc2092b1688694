//! Making an index and training it.

use super::{BlockLists, Index, IndexKind, InvertedLists, IvfPqFastScan, K_FACTORS, PqFastScan, ProductQuantizer};
use crate::cluster::{self, KMeansParams, Training};
use crate::device::{CentroidTable, Device};
use crate::error::{Error, Result};
use crate::factory::{Codes, IndexSpec, Metric};
use crate::features::{FeatureSource, Normalized};

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
    /// The codebooks' k-means runs over its rows; `iteration` counts from 0.
    TrainingCodes {
        /// The present pass.
        iteration: usize,
        /// Rows done in this pass.
        rows: usize,
    },
    /// Rows are assigned to their lists, or encoded.
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
    /// An empty index of the kind that `spec` names, over rows of `dim` floats; nprobe is 1 until set. An M that is left
    /// open is d / 2, and an index with `RFlat` re-ranks as many candidates as are asked for.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an M that does not divide d, or an IVF whose nlist is left open.
    pub fn new(spec: &IndexSpec, metric: Metric, dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(Error::parameter("dim", 0, "index rows of at least one float"));
        }
        spec.check_dim(dim)?;
        let spec = spec.clone().with_dim(dim);
        let nlist = match spec.ivf {
            None => None,
            Some(ivf) => {
                let left_open =
                    || Error::parameter("nlist", format!("left open by {spec}"), "name it, or ask a recipe");
                let nlist = ivf.nlist.ok_or_else(left_open)?;
                // Before room is made for the lists.
                cluster::check_nlist(nlist)?;
                Some(nlist)
            }
        };
        let index = match (spec.codes, nlist) {
            (Codes::Flat, None) => Self::flat(dim, metric, Vec::new())?,
            (Codes::Flat, Some(nlist)) => Self::ivf_flat(metric, Vec::new(), 1, InvertedLists::new(nlist, dim))?,
            (Codes::PqFastScan { m, by_residual }, nlist) => {
                let pq = ProductQuantizer::new(dim, m.unwrap_or(dim), Vec::new())?;
                match nlist {
                    None => Self::pq_fast_scan(metric, PqFastScan::from_codes(pq, &[])?),
                    Some(nlist) => {
                        let lists = BlockLists::from_codes(pq.m(), nlist, &[], &[])?;
                        Self::ivf_pq_fast_scan(metric, IvfPqFastScan::new(Vec::new(), 1, by_residual, pq, lists)?)
                    }
                }
            }
        };
        let index = if spec.l2norm { index.with_l2norm() } else { index };
        if spec.refine { index.with_refine(Vec::new(), 1.0) } else { Ok(index) }
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

    /// Sets how many candidates a search re-ranks unless it names another number: k · `k_factor`.
    ///
    /// # Errors
    /// [`Error::Parameter`] where it is not 1 to 1000, or for an index without `RFlat`.
    pub fn set_k_factor(&mut self, k_factor: f32) -> Result<()> {
        if !K_FACTORS.contains(&k_factor) {
            return Err(Error::parameter("k_factor", k_factor, "choose 1 to 1000"));
        }
        match &mut self.refine {
            Some(refine) => refine.k_factor = k_factor,
            None => return Err(Error::parameter("k_factor", k_factor, "leave it out: this index does not re-rank")),
        }
        Ok(())
    }

    /// Trains the coarse quantizer and the codebooks on `source`, as far as the index has them. Codebooks are trained
    /// with the seed and the batches of `params` and faiss's own parameters otherwise. The report is that of the coarse
    /// quantizer where there is one; labels that `params` asks for are what [`Index::add_labelled`] takes.
    ///
    /// # Errors
    /// As [`cluster::k_means`] and [`cluster::train_product_quantizer`]; [`Error::Parameter`] where the widths differ or
    /// rows were added already.
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
        let (nlist, metric, dim) = (self.nlist(), self.metric, self.dim);
        let coarse = match nlist {
            None => None,
            Some(nlist) => {
                let report = |iteration, rows| match iteration == params.iterations {
                    true => progress(Progress::Assigning { rows }),
                    false => progress(Progress::Training { iteration, rows }),
                };
                Some(cluster::k_means(device, source, nlist, metric, params, report)?)
            }
        };
        let centroids = coarse.as_ref().map(|trained| trained.centroids.as_slice());
        let codes = match &self.kind {
            IndexKind::Flat { .. } | IndexKind::IvfFlat(_) => None,
            IndexKind::PqFastScan(whole) => Some(train_codes(device, source, &whole.pq, params, None, progress)?),
            IndexKind::IvfPqFastScan(ivf) => {
                let residuals = centroids.filter(|_| ivf.by_residual);
                let table = residuals.map(|centroids| device.centroid_table(centroids, dim, metric)).transpose()?;
                Some(train_codes(device, source, &ivf.pq, params, table.as_ref(), progress)?)
            }
        };
        let (pq, code_training) = codes.unzip();
        let (centroids, training) = coarse.map(|trained| (trained.centroids, trained.training)).unzip();
        self.take_trained(centroids.unwrap_or_default(), pq);
        match (training, code_training) {
            (Some(mut training), Some(code_training)) => {
                training.warnings.extend(code_training.warnings);
                Ok(training)
            }
            (training, code_training) => Ok(training.or(code_training).unwrap_or_default()),
        }
    }

    fn take_trained(&mut self, trained: Vec<f32>, trained_pq: Option<ProductQuantizer>) {
        match &mut self.kind {
            IndexKind::Flat { .. } => {}
            IndexKind::IvfFlat(ivf) => ivf.centroids = trained,
            IndexKind::PqFastScan(PqFastScan { pq, .. }) => *pq = trained_pq.unwrap_or_else(|| pq.clone()),
            IndexKind::IvfPqFastScan(IvfPqFastScan { centroids, pq, .. }) => {
                *centroids = trained;
                *pq = trained_pq.unwrap_or_else(|| pq.clone());
            }
        }
    }

    pub(super) fn check_width(&self, source: &dyn FeatureSource) -> Result<()> {
        if source.dim() != self.dim {
            let found = format!("{} floats wide", source.dim());
            return Err(Error::parameter("rows", found, format!("the index has {}", self.dim)));
        }
        Ok(())
    }
}

fn train_codes(
    device: &Device,
    source: &dyn FeatureSource,
    pq: &ProductQuantizer,
    params: &KMeansParams,
    residuals_of: Option<&CentroidTable>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(ProductQuantizer, Training)> {
    let params = KMeansParams { seed: params.seed, batch_rows: params.batch_rows, ..KMeansParams::product_quantizer() };
    let report = |iteration, rows| progress(Progress::TrainingCodes { iteration, rows });
    let trained = cluster::train_product_quantizer(device, source, pq.m(), &params, residuals_of, report)?;
    Ok((ProductQuantizer::new(pq.dim(), pq.m(), trained.codebooks)?, trained.training))
}
