//! Launches `shaders/sketch.wgsl`: rows and centroids in few numbers.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::kernel::{SKETCH, wgsl_struct};
use super::matrices::Matrices;
use super::pipelines::{Pipelines, Step};
use super::tiles::{Best, Params};
use super::{Gpu, grid};
use crate::device::data::buffer::{Buffer, CentroidTable, Matrix};
use crate::device::data::method::{Method, Tile};
use crate::device::projection::Directions;
use crate::error::{Error, Result};
use crate::factory::Metric;

/// The tile of `project`, and the vectors a workgroup of `measure`, of `pack` and of `halve`.
const TILE: Tile = Tile::ALL[2];
const MEASURED: usize = 16;
const LABEL: &str = "sketch";

// All floats there; the host only makes room.
wgsl_struct!(Side { rest, slack, level, byte_rest, byte_scale, half_rest, half_scale });

/// Entry points: `project`, `measure`, `pack`, `halve`.
#[derive(Debug)]
pub(crate) struct Sketch(Pipelines<4>);

impl Sketch {
    fn get(gpu: &Gpu, metric: Metric) -> Result<&Self> {
        let (stage, kernel) = (&gpu.stages.sketch[metric as usize], &SKETCH[metric as usize]);
        stage.get_or_make(|| Pipelines::new(gpu, kernel, ["project", "measure", "pack", "halve"]).map(Self))
    }
}

/// Directions that sketches are made with, on a GPU.
#[derive(Debug)]
pub(crate) struct Basis {
    directions: Matrix,
    /// The mean's share in each, negated.
    bias: Buffer<f32>,
    mean: Matrix,
}

impl Basis {
    /// Directions for vectors like these, row-major; none where sketches of them would not pay.
    pub fn of(gpu: &Gpu, vectors: &[f32], dim: usize) -> Result<Option<Self>> {
        let Some(found) = Directions::for_floats(vectors, dim) else { return Ok(None) };
        let bias = found.bias();
        let directions = gpu.upload_matrix(&found.rows, bias.len(), dim)?;
        let mean = gpu.upload_matrix(&found.mean, 1, dim)?;
        Ok(Some(Self { directions, bias: gpu.upload(&bias)?, mean }))
    }
}

/// Sketches of a matrix.
#[derive(Clone, Debug)]
pub(crate) struct Sketches {
    /// Vectors × directions.
    pub shares: Matrix,
    /// The shares in bytes, four a word.
    pub bytes: Buffer<u32>,
    /// The shares in 16-bit floats, two a word, with zeros behind them to whole tiles; where there are matrix units.
    halves: Option<Buffer<u32>>,
    pub biases: Buffer<f32>,
    pub sides: Buffer<Side>,
}

impl Sketches {
    /// Sketches of `vectors`, submitted.
    pub fn new(gpu: &Gpu, basis: &Basis, vectors: &Matrix, metric: Metric) -> Result<Self> {
        let kernel = &Sketch::get(gpu, metric)?.0;
        let (count, width) = (vectors.rows, basis.directions.rows);
        let shares = Matrix::new(gpu.zeros(count * width)?, count, width, width);
        let bytes = gpu.zeros(count * width / 4)?;
        let halves = gpu.matrices.map(|_| gpu.zeros(count.next_multiple_of(TILE.rows) * width / 2)).transpose()?;
        let sketches = Self { shares, bytes, halves, biases: gpu.zeros(count)?, sides: gpu.zeros(count)? };
        let params =
            Params { rows: count as u32, nlist: width as u32, stride: vectors.stride as u32 / 4, part: width as u32 };
        let params = gpu.params(&params)?;
        let bind = |packed: &Buffer<u32>| {
            let buffers = [
                &params,
                vectors.data.gpu(gpu.id(), LABEL)?,
                basis.directions.data.gpu(gpu.id(), LABEL)?,
                basis.bias.gpu(gpu.id(), LABEL)?,
                basis.mean.data.gpu(gpu.id(), LABEL)?,
                sketches.shares.data.gpu(gpu.id(), LABEL)?,
                sketches.biases.gpu(gpu.id(), LABEL)?,
                sketches.sides.gpu(gpu.id(), LABEL)?,
                packed.gpu(gpu.id(), LABEL)?,
            ];
            kernel.bind(gpu, &buffers)
        };
        let tiles = [count.div_ceil(TILE.rows) as u32, width.div_ceil(TILE.centroids) as u32, 1];
        let measured = grid(count.div_ceil(MEASURED));
        let bindings = bind(&sketches.bytes)?;
        let entries = [tiles, measured, measured].into_iter().enumerate();
        let mut steps: Vec<Step> = entries.map(|(entry, grid)| kernel.step(entry, &bindings, grid)).collect();
        if let Some(halves) = &sketches.halves {
            steps.push(kernel.step(3, &bind(halves)?, measured));
        }
        gpu.submit(LABEL, &steps)?;
        Ok(sketches)
    }

    /// The shares in 16-bit floats.
    pub fn halves(&self) -> Result<&Buffer<u32>> {
        self.halves.as_ref().ok_or_else(Matrices::missing)
    }
}

/// Sketches of rows, kept with them for who next asks for the same.
#[derive(Debug)]
pub(crate) struct RowSketches {
    pub basis: Arc<Basis>,
    pub sketches: Sketches,
    /// What was nearest to each row when it was last asked for: likely to be near again.
    last: Mutex<Option<Best>>,
}

impl RowSketches {
    /// Those that are kept with the rows where they are fit, else new ones, which are kept where there were none.
    pub fn of(gpu: &Gpu, basis: &Arc<Basis>, rows: &Matrix, metric: Metric) -> Result<Arc<Self>> {
        if let Some(kept) = rows.cache.share::<Self>().filter(|kept| Arc::ptr_eq(&kept.basis, basis)) {
            return Ok(kept);
        }
        let sketches = Sketches::new(gpu, basis, rows, metric)?;
        let made = Arc::new(Self { basis: basis.clone(), sketches, last: Mutex::default() });
        rows.cache.set(made.clone());
        Ok(made)
    }

    /// What was nearest to each row when it was last asked for.
    pub fn last(&self) -> Option<Best> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_last(&self, best: Best) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(best);
    }
}

/// What a table of centroids holds of sketches; made when it is first asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableSketches {
    basis: OnceLock<Option<Arc<Basis>>>,
    own: OnceLock<Sketches>,
    /// What was measured to be fastest.
    pub fastest: OnceLock<Method>,
    /// Centroids have moved before.
    moved: bool,
}

impl TableSketches {
    /// Those of a table that a GPU made.
    pub fn of(table: &CentroidTable) -> Result<&Self> {
        table.cache.get().ok_or(Error::ForeignBuffer { stage: LABEL })
    }

    /// For as many centroids that moved: in the same directions. k-means begins with centroids that are rows, of which
    /// bounds tell less than of means, so that they have a second chance.
    pub fn moved(&self) -> Self {
        let fastest = self.fastest.get().filter(|method| matches!(method, Method::Sketches(_)) || self.moved).copied();
        let fastest = fastest.map(OnceLock::from).unwrap_or_default();
        Self { basis: self.basis.clone(), own: OnceLock::new(), fastest, moved: true }
    }

    /// The directions; `centroids` are looked at the first time.
    pub fn basis(&self, gpu: &Gpu, centroids: &Matrix) -> Result<Option<&Arc<Basis>>> {
        if self.basis.get().is_none() {
            let padded = gpu.download(centroids.data.gpu(gpu.id(), LABEL)?, centroids.data.len())?;
            let vectors = centroids.without_padding(padded);
            let found = Basis::of(gpu, &vectors, centroids.dim)?;
            let _ = self.basis.set(found.map(Arc::new));
        }
        Ok(self.basis.get().and_then(Option::as_ref))
    }

    /// Sketches of the centroids.
    pub fn centroids(&self, gpu: &Gpu, basis: &Basis, centroids: &Matrix, metric: Metric) -> Result<&Sketches> {
        if let Some(own) = self.own.get() {
            return Ok(own);
        }
        let made = Sketches::new(gpu, basis, centroids, metric)?;
        Ok(self.own.get_or_init(|| made))
    }
}
