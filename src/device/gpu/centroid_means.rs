//! Launches `shaders/centroid_means.wgsl`: new centroids of a k-means.

use super::kernel::{CENTROID_MEANS, wgsl_struct};
use super::pipelines::{Pipelines, first_taken};
use super::{Gpu, grid};
use crate::device::data::buffer::{ClusterSums, Matrix, UpdateTally};
use crate::error::Result;

wgsl_struct!(Params { nlist, group, stride, seed });
// Filled on the GPU; the host only makes room.
wgsl_struct!(Split { cluster, donor });

#[derive(Debug)]
pub(crate) struct CentroidMeans(Pipelines<2>);

impl CentroidMeans {
    /// The fewest lanes that do, since many groups are many workgroups.
    fn get(gpu: &Gpu, group: usize) -> Result<&Self> {
        let wanted = usize::from(group > 32);
        first_taken(wanted, [1 - wanted], |many| {
            let make = || Pipelines::new(gpu, &CENTROID_MEANS[many], ["place_means", "halve"]).map(Self);
            gpu.stages.centroid_means[many].get_or_make(make)
        })
    }
}

pub(crate) fn centroid_means(
    gpu: &Gpu,
    sums: &ClusterSums,
    old: &Matrix,
    groups: usize,
    seed: u32,
    tally: &mut UpdateTally,
) -> Result<Matrix> {
    let name = "centroid_means";
    let Matrix { rows: nlist, dim, stride, .. } = sums.sums;
    let group = nlist / groups;
    let kernel = &CentroidMeans::get(gpu, group)?.0;
    let centroids = Matrix::new(gpu.zeros(nlist * stride)?, nlist, dim, stride);
    let params = Params { nlist: nlist as u32, group: group as u32, stride: stride as u32 / 4, seed };
    let splits = gpu.zeros::<Split>(nlist)?;
    let buffers = [
        &gpu.params(&params)?,
        old.data.gpu(gpu.id(), name)?,
        sums.sums.data.gpu(gpu.id(), name)?,
        sums.counts.gpu(gpu.id(), name)?,
        splits.gpu(gpu.id(), name)?,
        centroids.data.gpu(gpu.id(), name)?,
        tally.words.gpu(gpu.id(), name)?,
    ];
    let bindings = kernel.bind(gpu, &buffers)?;
    gpu.submit(name, &[kernel.step(0, &bindings, grid(nlist)), kernel.step(1, &bindings, grid(groups))])?;
    Ok(centroids)
}
