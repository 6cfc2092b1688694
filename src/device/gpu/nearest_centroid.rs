//! Launches `shaders/nearest_centroid.wgsl`: the nearest centroid of each row, by all products or by those that bounds
//! leave.

use std::sync::Arc;
use std::time::Duration;

use super::autotune;
use super::bounds::{self, Bounds};
use super::kernel::NEAREST_CENTROID;
use super::pipelines::{Pipelines, Step, first_taken, if_possible};
use super::sketch::{RowSketches, TableSketches};
use super::stopwatch::Stopwatch;
use super::tiles::{Best, Params, parts};
use super::{Gpu, compare, grid};
use crate::device::data::buffer::{Assignment, Buffer, CentroidTable, Matrix};
use crate::device::data::method::{Method, Shares, Tile};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// Rows a workgroup of `measure`.
const MEASURED: usize = 16;
/// Rows that bounds are tried on before they are used.
const TRIED: usize = 2048;
const LABEL: &str = "nearest_centroid";

/// Entry points: `assign`, `measure`.
#[derive(Debug)]
pub(crate) struct NearestCentroid(Pipelines<2>);

impl NearestCentroid {
    fn get(gpu: &Gpu, metric: Metric, tile: Tile) -> Result<&Self> {
        let (metric, tile) = (metric as usize, tile.number()?);
        let (stage, kernel) = (&gpu.stages.nearest_centroid[metric][tile], &NEAREST_CENTROID[metric][tile]);
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["assign", "measure"]).map(Self))
    }
}

/// The tile for so many multiply-adds, or the next for which the driver takes what `make` needs.
fn tile_for<T>(gpu: &Gpu, multiply_adds: u64, make: impl Fn(Tile) -> Result<T>) -> Result<(Tile, T)> {
    let wanted = gpu.tuned.for_work(gpu, multiply_adds, all_products)?;
    let others = Tile::ALL.into_iter().filter(|&tile| tile != wanted);
    first_taken(wanted, others, |tile| Ok((tile, make(tile)?)))
}

/// The fastest tile, measured unless it is known.
pub(crate) fn tune(gpu: &Gpu) -> Result<Tile> {
    gpu.tuned.for_work(gpu, u64::MAX, all_products)
}

/// By `method`, or by the one that is fastest here.
pub(crate) fn nearest_centroid(
    gpu: &Gpu,
    rows: &Matrix,
    table: &CentroidTable,
    method: Option<Method>,
) -> Result<Assignment> {
    let method = match method {
        Some(method) => method,
        None => fastest(gpu, rows, table)?,
    };
    let (steps, assignment) = by(gpu, rows, table, method)?;
    if rows.rows > 0 {
        gpu.submit(LABEL, &steps)?;
    }
    Ok(assignment)
}

/// The centroids that bounds leave, a bit each, [`bounds::words`] a row; none where there are no sketches.
pub(crate) fn marks(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, shares: Shares) -> Result<Option<Vec<u32>>> {
    if rows.rows == 0 || TableSketches::of(table)?.basis(gpu, &table.centroids)?.is_none() {
        return Ok(None);
    }
    let bounded = Bounded::new(gpu, rows, table, shares)?;
    gpu.submit(LABEL, &bounded.steps)?;
    gpu.download(bounded.marks.gpu(gpu.id(), LABEL)?, bounded.marks.len()).map(Some)
}

/// The fastest method for rows such as these, measured when an assignment is large for the first time. Results do not
/// depend on it.
fn fastest(gpu: &Gpu, rows: &Matrix, table: &CentroidTable) -> Result<Method> {
    let multiply_adds = rows.rows as u64 * table.nlist() as u64 * rows.dim as u64;
    let (tile, _) = tile_for(gpu, multiply_adds, |tile| NearestCentroid::get(gpu, table.metric, tile))?;
    let by_products = Method::Tile(tile);
    let marks = 4 * (rows.rows * bounds::words(table.nlist())) as u64;
    if rows.rows == 0 || marks > gpu.max_binding() {
        return Ok(by_products);
    }
    if let Some(fastest) = TableSketches::of(table)?.fastest.get() {
        return Ok(*fastest);
    }
    if !autotune::pays(multiply_adds) || TableSketches::of(table)?.basis(gpu, &table.centroids)?.is_none() {
        return Ok(by_products);
    }
    let few = rows.rows.min(TRIED);
    let fastest = measured(gpu, rows, few, table, by_products)?.into_iter().min_by_key(|(time, _)| *time);
    let fastest = fastest.map_or(by_products, |(_, method)| method);
    Ok(*TableSketches::of(table)?.fastest.get_or_init(|| fastest))
}

/// What all products and each kind of sketches take for the first `few` rows. A method that is refused here, or that a
/// driver has find other labels than all products, is none to take.
fn measured(
    gpu: &Gpu,
    rows: &Matrix,
    few: usize,
    table: &CentroidTable,
    by_products: Method,
) -> Result<Vec<(Duration, Method)>> {
    let stopwatch = Stopwatch::new(gpu)?;
    let tried = |method| -> Result<(Duration, Vec<u32>)> {
        // Each begins without a guess.
        let few = Matrix::new(rows.data.clone(), few, rows.dim, rows.stride);
        let (steps, found) = by(gpu, &few, table, method)?;
        let time = stopwatch.median(&steps)?;
        Ok((time, gpu.download(found.labels.gpu(gpu.id(), LABEL)?, few.rows)?))
    };
    let (time, labels) = tried(by_products)?;
    let mut times = vec![(time, by_products)];
    for method in gpu.shares().iter().copied().map(Method::Sketches) {
        let same = if_possible(tried(method))?.filter(|(_, found)| *found == labels);
        times.extend(same.map(|(time, _)| (time, method)));
    }
    Ok(times)
}

fn by(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, method: Method) -> Result<(Vec<Step>, Assignment)> {
    match method {
        Method::Tile(tile) => by_products(gpu, rows, table, tile),
        Method::Sketches(shares) => by_bounds(gpu, rows, table, shares),
    }
}

/// The steps of all products.
fn all_products(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, tile: Tile) -> Result<Vec<Step>> {
    by_products(gpu, rows, table, tile).map(|(steps, _)| steps)
}

/// All products: `assign` and `measure`, and what they fill.
fn by_products(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, tile: Tile) -> Result<(Vec<Step>, Assignment)> {
    let stage = NearestCentroid::get(gpu, table.metric, tile)?;
    let (assign, best) = stage.assign(gpu, tile, rows, &table.shifted, &table.bias)?;
    let (measure, assignment) = stage.measure(gpu, rows, table, &best)?;
    Ok((vec![assign, measure], assignment))
}

/// The few products that bounds leave, and what they fill.
fn by_bounds(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, shares: Shares) -> Result<(Vec<Step>, Assignment)> {
    let Bounded { mut steps, marks, sketches } = Bounded::new(gpu, rows, table, shares)?;
    let (compare, found) = compare::compare(gpu, rows, table, &marks)?;
    let best = Best { found, part: table.nlist() };
    let (_, stage) = tile_for(gpu, 0, |tile| NearestCentroid::get(gpu, table.metric, tile))?;
    let (measure, assignment) = stage.measure(gpu, rows, table, &best)?;
    sketches.set_last(best);
    steps.extend([compare, measure]);
    Ok((steps, assignment))
}

/// Centroids that may be the nearest: those whose bounds reach the score of a guess, which is what was nearest the last
/// time, or else by sketches alone.
struct Bounded {
    steps: Vec<Step>,
    marks: Buffer<u32>,
    sketches: Arc<RowSketches>,
}

impl Bounded {
    fn new(gpu: &Gpu, rows: &Matrix, table: &CentroidTable, shares: Shares) -> Result<Self> {
        let metric = table.metric;
        let (tile, (stage, bounds)) = tile_for(gpu, 0, |tile| {
            Ok((NearestCentroid::get(gpu, metric, tile)?, Bounds::get(gpu, shares, metric, tile)?))
        })?;
        let none = || {
            let found = format!("{} centroids of {} floats", table.nlist(), table.dim());
            Error::parameter("method", found, "sketches take 256 or more of 128 or more that have directions in common")
        };
        let basis = TableSketches::of(table)?.basis(gpu, &table.centroids)?.ok_or_else(none)?;
        let theirs = TableSketches::of(table)?.centroids(gpu, basis, &table.centroids, metric)?;
        let sketches = RowSketches::of(gpu, basis, rows, metric)?;
        let own = &sketches.sketches;
        let mut steps = Vec::new();
        let guess = match sketches.last() {
            Some(last) => last,
            None => {
                let (assign, guess) = stage.assign(gpu, tile, &own.shares, &theirs.shares, &theirs.biases)?;
                steps.push(assign);
                guess
            }
        };
        let (measure, guesses) = stage.measure(gpu, rows, table, &guess)?;
        let (reach, marks) = bounds.reach(gpu, (own, theirs), &guesses, shares, tile)?;
        steps.extend([measure, reach]);
        Ok(Self { steps, marks, sketches })
    }
}

impl NearestCentroid {
    fn assign(
        &self,
        gpu: &Gpu,
        tile: Tile,
        rows: &Matrix,
        shifted: &Matrix,
        bias: &Buffer<f32>,
    ) -> Result<(Step, Best)> {
        let (tiles, part) = parts(tile, rows.rows, shifted.rows);
        let best = Best { found: gpu.zeros(shifted.rows.div_ceil(part) * rows.rows)?, part };
        let unused = Assignment { labels: gpu.zeros(1)?, distances: gpu.zeros(1)?, nlist: shifted.rows };
        let bindings = self.bind(gpu, rows, (shifted, bias, shifted), &best, &unused)?;
        Ok((self.0.step(0, &bindings, tiles), best))
    }

    /// Takes the best of the parts, and measures the distance to it.
    fn measure(&self, gpu: &Gpu, rows: &Matrix, table: &CentroidTable, best: &Best) -> Result<(Step, Assignment)> {
        let (labels, distances) = (gpu.zeros(rows.rows)?, gpu.zeros(rows.rows)?);
        let assignment = Assignment { labels, distances, nlist: table.nlist() };
        let bindings = self.bind(gpu, rows, (&table.shifted, &table.bias, &table.centroids), best, &assignment)?;
        Ok((self.0.step(1, &bindings, grid(rows.rows.div_ceil(MEASURED))), assignment))
    }

    fn bind(
        &self,
        gpu: &Gpu,
        rows: &Matrix,
        (shifted, bias, centroids): (&Matrix, &Buffer<f32>, &Matrix),
        best: &Best,
        assignment: &Assignment,
    ) -> Result<wgpu::BindGroup> {
        let params = Params {
            rows: rows.rows as u32,
            nlist: shifted.rows as u32,
            stride: rows.stride as u32 / 4,
            part: best.part as u32,
        };
        let buffers = [
            &gpu.params(&params)?,
            rows.data.gpu(gpu.id(), LABEL)?,
            shifted.data.gpu(gpu.id(), LABEL)?,
            bias.gpu(gpu.id(), LABEL)?,
            centroids.data.gpu(gpu.id(), LABEL)?,
            best.found.gpu(gpu.id(), LABEL)?,
            assignment.labels.gpu(gpu.id(), LABEL)?,
            assignment.distances.gpu(gpu.id(), LABEL)?,
        ];
        self.0.bind(gpu, &buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Engine, broken};

    /// Rows that vary in a few directions only.
    fn in_few_directions(count: usize, seed: usize) -> Vec<f32> {
        let wave = |i: usize| (i * 7919 % 1009) as f32 / 504.5 - 1.0;
        let value = |i, j| (0..6).map(|d| wave(i * 31 + seed + d * 17) * ((j * (d + 1)) as f32 * 0.7).sin()).sum();
        (0..count * 128).map(|at| value(at / 128, at % 128)).collect()
    }

    #[test]
    fn a_method_that_finds_other_labels_is_not_taken() {
        let methods = |swap| {
            broken::SWAP.set(swap);
            let Ok(device @ Device { engine: Engine::Gpu(gpu), .. }) = &Device::gpu("llvmpipe/vulkan") else {
                eprintln!("no llvmpipe here: no kernel was broken");
                return None;
            };
            let table = device.centroid_table(&in_few_directions(300, 2), 128, Metric::L2).unwrap();
            let rows = device.upload(&in_few_directions(200, 1), 128).unwrap();
            let found = measured(gpu, &rows, 150, &table, Method::Tile(Tile::ALL[2])).unwrap();
            broken::SWAP.set(None);
            Some(found.into_iter().map(|(_, method)| method).collect::<Vec<_>>())
        };
        let Some(all) = methods(None) else { return };
        assert!(all.len() >= 3, "{all:?}");
        let right = methods(Some(("compare", "b.score > a.score ||", "b.score < a.score ||")));
        assert_eq!(right, Some(vec![Method::Tile(Tile::ALL[2])]));
    }
}
