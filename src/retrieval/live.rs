//! A voice that stays on a GPU, for frames that come live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blend::Blended;
use crate::device::{
    CodeSet, Codebooks, Device, Live, LiveCodes, MAX_K, Recording, RowFormat, RowSet, TopK, check_blend, check_k,
};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::FeatureSource;
use crate::index::{Index, IndexKind, IndexRows, Neighbors};

/// Frames a call, at most.
const MAX_FRAMES: usize = 4096;
/// Rows that ways to search are timed with.
const SAMPLE: usize = 64;
/// The scan of codes is taken where it takes at most this share of the time of an exact search.
const CLEARLY: f64 = 0.8;
/// Times that each way is timed.
const REPEATS: usize = 5;

/// The rows of an index resident on a GPU, and its codes where it has some of all rows.
///
/// Live frames are compared with the whole voice, whatever the lists of the index: on a GPU that takes less time than to
/// find out which lists to visit, and no neighbour is missed. A [`LivePlan`] does it for a number of frames.
#[derive(Clone, Debug)]
pub struct LiveVoice {
    device: Device,
    rows: Arc<RowSet>,
    codes: Option<Arc<VoiceCodes>>,
    metric: Metric,
    /// Rows are unit vectors, and so are queries to be.
    unit_rows: bool,
    /// The id of each row; `None` where row i has the id i.
    ids: Option<Arc<Vec<i64>>>,
    /// Rows of the voice, to time with.
    sample: Arc<Vec<f32>>,
}

#[derive(Debug)]
struct VoiceCodes {
    codes: CodeSet,
    codebooks: Codebooks,
    /// Codes are of unit vectors.
    unit: bool,
    k_factor: f32,
}

/// How the rows are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LiveScan {
    /// The scan of codes where it was clearly faster when it was planned, otherwise exactly.
    #[default]
    Measured,
    /// Every row is compared with every frame: finds all neighbours.
    Exact,
    /// 4-bit codes of all rows are scanned, and the k · k_factor best rows compared: for an index of the kind
    /// `PQMx4fs,RFlat`.
    FastScan {
        /// By default as the index says.
        k_factor: Option<f32>,
    },
}

/// What is planned for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveParams {
    /// Frames a call, 1 to 4,096. An exact plan keeps 16 bytes for 16 frames and 64 rows, besides working memory.
    pub frames: usize,
    /// Neighbours a frame, 1 to [`MAX_K`].
    pub k: usize,
    /// How the rows are searched.
    pub scan: LiveScan,
    /// Share of the neighbours in a blend, 0 to 1.
    pub index_rate: f32,
    /// A neighbour at the squared distance s weighs (1 / s)^power.
    pub power: f32,
}

impl LiveParams {
    /// Calls of `frames` frames, with RVC's values for the rest.
    pub fn new(frames: usize) -> Self {
        Self { frames, k: 8, scan: LiveScan::Measured, index_rate: 0.75, power: 2.0 }
    }
}

impl LiveVoice {
    /// Copies the rows of `index`, those of [`IndexRows`], to a GPU. The index itself is not needed any more.
    ///
    /// # Errors
    /// [`Error::Parameter`] for the CPU engine, which has [`Searcher`](crate::index::Searcher) and
    /// [`Blender`](super::Blender), or an untrained index; [`Error::OutOfMemory`] where the device has no room.
    pub fn new(index: impl Into<Arc<Index>>, device: &Device, format: RowFormat) -> Result<Self> {
        let index = index.into();
        if device.is_cpu() {
            let remedy = "pass a GPU, or use a Searcher and a Blender";
            return Err(Error::parameter("device", "the CPU engine", remedy));
        }
        if !index.is_trained() {
            return Err(Error::parameter("index", "it is not trained", "train it, or load one that is"));
        }
        let exact = index.refine().is_some();
        let codes = match &index.kind {
            // Without the exact rows there is nothing better than what the codes stand for, and that is resident.
            IndexKind::PqFastScan(whole) if exact => Some(Arc::new(VoiceCodes {
                codes: device.code_set(whole.codes.bytes(), whole.codes.m())?,
                codebooks: device.codebooks(whole.pq.codebooks(), whole.pq.m())?,
                unit: index.l2norm(),
                k_factor: index.refine().map_or(1.0, |refine| refine.k_factor()),
            })),
            _ => None,
        };
        let (metric, unit_rows) = (index.metric(), index.l2norm() && !exact);
        let rows = IndexRows::new(index);
        let sample = sample(&rows)?;
        let resident = device.row_set_of(&rows, format)?;
        let ids = rows.ids_in_order().map(Arc::new);
        let (device, rows, sample) = (device.clone(), Arc::new(resident), Arc::new(sample));
        Ok(Self { device, rows, codes, metric, unit_rows, ids, sample })
    }

    /// Number of rows.
    pub fn ntotal(&self) -> usize {
        self.rows.rows()
    }

    /// Floats a row and a frame.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// Prepares calls: their working memory is made, their kernels are compiled.
    ///
    /// # Errors
    /// [`Error::Parameter`] for parameters that cannot be; [`Error::OutOfMemory`] where the device has no room.
    pub fn plan(&self, params: &LiveParams) -> Result<LivePlan> {
        let LiveParams { frames, k, index_rate, power, .. } = *params;
        if frames == 0 || frames > MAX_FRAMES {
            return Err(Error::parameter("frames", frames, format!("choose 1 to {MAX_FRAMES}")));
        }
        check_k(k)?;
        check_blend(index_rate, power)?;
        match params.scan {
            LiveScan::Exact => self.record(params, None),
            LiveScan::FastScan { k_factor } => self.record(params, Some(self.live_codes(k, k_factor)?)),
            LiveScan::Measured if self.codes.is_none() => self.record(params, None),
            LiveScan::Measured => {
                let exact = self.record(params, None)?;
                // The file's k_factor may be too large for this k.
                let Ok(codes) = self.live_codes(k, None) else { return Ok(exact) };
                // There may be no room for a second plan.
                let Ok(scanned) = self.record(params, Some(codes)) else { return Ok(exact) };
                // What finds less has to be clearly faster.
                Ok(if self.time(&scanned)? < self.time(&exact)?.mul_f64(CLEARLY) { scanned } else { exact })
            }
        }
    }

    fn record(&self, params: &LiveParams, codes: Option<LiveCodes<'_>>) -> Result<LivePlan> {
        let LiveParams { frames, k, index_rate, power, .. } = *params;
        let (metric, unit_rows) = (self.metric, self.unit_rows);
        let live = Live { rows: &self.rows, metric, unit_rows, codes, frames, k, index_rate, power };
        let recording = self.device.record(&live)?;
        Ok(LivePlan { recording, candidates: codes.map(|codes| codes.candidates), voice: self.clone(), frames, k })
    }

    fn live_codes(&self, k: usize, k_factor: Option<f32>) -> Result<LiveCodes<'_>> {
        let Some(VoiceCodes { codes, codebooks, unit, k_factor: own }) = self.codes.as_deref() else {
            let found = "an index without 4-bit codes of all rows before its exact rows";
            return Err(Error::parameter("scan", found, "choose Exact, or load an index of the kind PQMx4fs,RFlat"));
        };
        let k_factor = k_factor.unwrap_or(*own);
        let candidates = (k as f32 * k_factor) as usize;
        if !(k..=MAX_K).contains(&candidates) {
            let found = format!("{k_factor} for k = {k} asks for {candidates} candidates");
            return Err(Error::parameter("k_factor", found, format!("choose one for {k} to {MAX_K}")));
        }
        Ok(LiveCodes { codes, codebooks, unit: *unit, candidates })
    }

    /// The least time of a search for rows of the voice.
    fn time(&self, plan: &LivePlan) -> Result<Duration> {
        let frames: Vec<f32> = self.sample.iter().copied().cycle().take(plan.frames * self.dim()).collect();
        let mut least = Duration::MAX;
        for _ in 0..=REPEATS {
            let start = Instant::now();
            plan.search(&frames)?;
            least = least.min(start.elapsed());
        }
        Ok(least)
    }
}

/// Rows from all over the voice; zeros of one that has none.
fn sample(rows: &IndexRows) -> Result<Vec<f32>> {
    let (count, dim) = (rows.rows(), rows.dim());
    let mut sample = vec![0.0; SAMPLE * dim];
    for (i, row) in sample.chunks_exact_mut(dim).enumerate().take(if count == 0 { 0 } else { SAMPLE }) {
        rows.read(i * count / SAMPLE, row)?;
    }
    Ok(sample)
}

/// Calls of one number of frames against a voice, ready to be recorded into a host's own commands or to be run: nothing is
/// compiled or bound any more, and no buffer made but those of a call from one more thread at once than ever before.
/// Usable from several threads.
///
/// ```no_run
/// # fn host(voice: rvc_gpu_index::retrieval::LiveVoice, device: wgpu::Device, queue: wgpu::Queue,
/// #         frames: wgpu::Buffer, blended: wgpu::Buffer) -> rvc_gpu_index::Result<()> {
/// use rvc_gpu_index::retrieval::LiveParams;
/// use rvc_gpu_index::wgpu;
///
/// let plan = voice.plan(&LiveParams::new(28))?;
/// let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
/// // … the host's own passes, which write `frames` …
/// plan.encode_blend(&mut encoder, &frames, &blended, None)?;
/// // … its passes that read `blended` …
/// queue.submit([encoder.finish()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LivePlan {
    voice: LiveVoice,
    recording: Recording,
    frames: usize,
    k: usize,
    candidates: Option<usize>,
}

impl LivePlan {
    /// Frames a call.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Rows that a frame is compared with after a scan of the codes; `None` where it is compared with all.
    pub fn candidates(&self) -> Option<usize> {
        self.candidates
    }

    /// Has calls that are submitted from now on blend with another index_rate and power.
    ///
    /// # Errors
    /// [`Error::Parameter`] where index_rate is not 0 to 1 or power is not above 0 and finite.
    pub fn set_blend(&self, index_rate: f32, power: f32) -> Result<()> {
        check_blend(index_rate, power)?;
        self.recording.set_blend(index_rate, power)
    }

    /// Records a search into a host's commands. `queries` holds frames × d floats; `rows` and `distances` get frames × k
    /// row numbers (u32, [`TopK::NONE`] where there is none) and distances (f32), nearest first. Row numbers count the
    /// rows in the order of their ids, as RVC's `big_npy` does.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a buffer that is too small, or has no `COPY_SRC` (`queries`) or `COPY_DST` (the others).
    pub fn encode_search(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        queries: &wgpu::Buffer,
        rows: &wgpu::Buffer,
        distances: &wgpu::Buffer,
    ) -> Result<()> {
        check_buffer("queries", queries, self.frames * self.voice.dim(), wgpu::BufferUsages::COPY_SRC)?;
        check_buffer("rows", rows, self.frames * self.k, wgpu::BufferUsages::COPY_DST)?;
        check_buffer("distances", distances, self.frames * self.k, wgpu::BufferUsages::COPY_DST)?;
        self.recording.encode_search(encoder, queries, rows, distances)
    }

    /// Records a search and a blend into a host's commands. `frames` holds frames × d floats, and `blended` gets as many;
    /// what is blended is said at [`Blender`](super::Blender). `outcomes` gets a word for each frame: 0 blended, 1 passed
    /// through for its NaN or infinity, 2 without neighbours.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a buffer that is too small, or has no `COPY_SRC` (`frames`) or `COPY_DST` (the others).
    pub fn encode_blend(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        frames: &wgpu::Buffer,
        blended: &wgpu::Buffer,
        outcomes: Option<&wgpu::Buffer>,
    ) -> Result<()> {
        let values = self.frames * self.voice.dim();
        check_buffer("frames", frames, values, wgpu::BufferUsages::COPY_SRC)?;
        check_buffer("blended", blended, values, wgpu::BufferUsages::COPY_DST)?;
        if let Some(outcomes) = outcomes {
            check_buffer("outcomes", outcomes, self.frames, wgpu::BufferUsages::COPY_DST)?;
        }
        self.recording.encode_blend(encoder, frames, blended, outcomes)
    }

    /// Searches for frames in the host's memory, row-major, as many as planned or fewer.
    ///
    /// # Errors
    /// [`Error::Parameter`] for more frames than planned or no whole frames; what the device reports.
    pub fn search(&self, frames: &[f32]) -> Result<Neighbors> {
        let count = self.count(frames)?;
        let (rows, distances) = self.recording.search(&self.filled(frames))?;
        let id = |row: &u32| match (*row, &self.voice.ids) {
            (TopK::NONE, _) => -1,
            (row, Some(ids)) => ids[row as usize],
            (row, None) => i64::from(row),
        };
        let (ids, mut distances): (Vec<i64>, _) = (rows[..count * self.k].iter().map(id).collect(), distances);
        distances.truncate(ids.len());
        Ok(Neighbors { distances, ids, k: self.k })
    }

    /// Blends frames in the host's memory, row-major, as many as planned or fewer.
    ///
    /// # Errors
    /// As [`LivePlan::search`].
    pub fn blend(&self, frames: &[f32]) -> Result<Blended> {
        let count = self.count(frames)?;
        let mut blended = self.recording.blend(&self.filled(frames))?;
        blended.rows.truncate(frames.len());
        Ok(Blended::new(blended.rows, &blended.outcomes[..count]))
    }

    fn count(&self, frames: &[f32]) -> Result<usize> {
        let (dim, planned) = (self.voice.dim(), self.frames);
        if !frames.len().is_multiple_of(dim) || frames.len() > planned * dim {
            let found = format!("{} floats", frames.len());
            return Err(Error::parameter("frames", found, format!("pass up to {planned} whole frames of {dim}")));
        }
        Ok(frames.len() / dim)
    }

    /// As many frames as planned.
    fn filled<'a>(&self, frames: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        let values = self.frames * self.voice.dim();
        if frames.len() == values {
            return frames.into();
        }
        let mut filled = frames.to_vec();
        filled.resize(values, 0.0);
        filled.into()
    }
}

fn check_buffer(name: &'static str, buffer: &wgpu::Buffer, values: usize, usage: wgpu::BufferUsages) -> Result<()> {
    let need = 4 * values as u64;
    if buffer.size() < need {
        let found = format!("a buffer of {} bytes", buffer.size());
        return Err(Error::parameter(name, found, format!("make it of {need}, 4 a value")));
    }
    if !buffer.usage().contains(usage) {
        let found = format!("a buffer with the usage {:?}", buffer.usage());
        return Err(Error::parameter(name, found, format!("make it with {usage:?} too")));
    }
    Ok(())
}
