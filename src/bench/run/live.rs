//! Calls of a few frames, one after the other, as a voice host makes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sample::summary;
use super::workload::{K, Loaded};
use crate::bench::{LiveResult, percentiles};
use crate::device::{Device, RowFormat};
use crate::error::Result;
use crate::index::{Index, SearchParams, Searcher};
use crate::retrieval::{BlendParams, Blender, LiveParams, LiveVoice};

/// Frames a call: what RVC's hosts hand over at 160 ms, 280 ms and 780 ms of sound.
const FRAMES: [usize; 3] = [16, 28, 78];
/// Calls before those that are timed; calls at least, in a quick run and in another, and at most; and how long they are made.
const WARM_UP: usize = 2;
const LEAST: [usize; 2] = [10, 100];
const MOST: usize = 1000;
const CALLING: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Whoever makes the calls: through the searcher on the CPU engine, with recorded work on a GPU, which scans all rows.
pub(super) enum LiveHost {
    Cpu(Box<Blender>, String),
    Gpu(Box<LiveVoice>, String),
}

impl LiveHost {
    pub(super) fn new(index: Arc<Index>, device: &Device, format: RowFormat) -> Result<Self> {
        let factory = index.spec().to_string();
        Ok(match device.is_cpu() {
            true => Self::Cpu(Box::new(Blender::new(Searcher::new(index, device)?)), factory),
            false => Self::Gpu(Box::new(LiveVoice::new(index, device, format)?), factory),
        })
    }
}

/// Blends of each number of frames.
pub(super) fn live(host: &LiveHost, loaded: &Loaded, quick: bool) -> Result<Vec<LiveResult>> {
    let fitting = FRAMES.into_iter().filter(|&frames| frames <= loaded.workload.queries);
    fitting.map(|frames| calls(host, loaded, frames, quick)).collect()
}

fn calls(host: &LiveHost, loaded: &Loaded, frames: usize, quick: bool) -> Result<LiveResult> {
    let result = |factory: &String, nprobe, k_factor: Option<f32>, seconds: &[f64]| {
        let k_factor = k_factor.map(f64::from);
        let (summary, percentiles) = (summary(seconds)?, percentiles(seconds));
        Ok(LiveResult { factory: factory.clone(), nprobe, k_factor, k: K, frames, seconds: summary, percentiles })
    };
    match host {
        LiveHost::Cpu(blender, factory) => {
            let index = blender.searcher().index();
            let k_factor = index.refine().map(|refine| refine.k_factor());
            let params = BlendParams { k: K, search: SearchParams::default(), ..BlendParams::default() };
            let seconds = time(loaded, frames, quick, |frames| blender.blend(frames, &params).map(drop))?;
            result(factory, index.nprobe(), k_factor, &seconds)
        }
        LiveHost::Gpu(voice, factory) => {
            let plan = voice.plan(&LiveParams { k: K, ..LiveParams::new(frames) })?;
            let seconds = time(loaded, frames, quick, |frames| plan.blend(frames).map(drop))?;
            let k_factor = plan.candidates().map(|candidates| candidates as f32 / K as f32);
            result(factory, None, k_factor, &seconds)
        }
    }
}

/// Seconds of calls with `count` frames each, from frame to frame through the queries.
fn time(loaded: &Loaded, count: usize, quick: bool, mut call: impl FnMut(&[f32]) -> Result<()>) -> Result<Vec<f64>> {
    let dim = loaded.workload.d;
    let starts = loaded.workload.queries - count + 1;
    let frames = |number: usize| &loaded.queries[number * count % starts * dim..][..count * dim];
    (0..WARM_UP).try_for_each(|number| call(frames(number)))?;
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    let patience = CALLING[usize::from(!quick)];
    while seconds.len() < LEAST[usize::from(!quick)] || seconds.len() < MOST && begun.elapsed() < patience {
        let start = Instant::now();
        call(frames(seconds.len()))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
