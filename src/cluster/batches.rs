//! The rows of a k-means on their device: kept there between passes where they fit, else read again for each pass.

use crate::device::{BatchPlan, Device, Matrix};
use crate::error::Result;
use crate::features::{FeatureSource, for_each_batch};

pub(super) enum Batches<'a> {
    Resident(Vec<Matrix>),
    Streamed { device: &'a Device, source: &'a dyn FeatureSource, batch_rows: usize },
}

impl<'a> Batches<'a> {
    pub fn new(device: &'a Device, source: &'a dyn FeatureSource, plan: BatchPlan) -> Result<Self> {
        let streamed = Self::Streamed { device, source, batch_rows: plan.batch_rows };
        if !plan.resident {
            return Ok(streamed);
        }
        let mut resident = Vec::new();
        for_each_batch(source, plan.batch_rows, |_, rows| {
            resident.push(device.upload(rows, source.dim())?);
            Ok(())
        })?;
        Ok(Self::Resident(resident))
    }

    /// Hands over all batches in order.
    pub fn for_each(&self, mut each: impl FnMut(&Matrix) -> Result<()>) -> Result<()> {
        match self {
            Self::Resident(batches) => batches.iter().try_for_each(each),
            Self::Streamed { device, source, batch_rows } => {
                for_each_batch(*source, *batch_rows, |_, rows| each(&device.upload(rows, source.dim())?))
            }
        }
    }
}
