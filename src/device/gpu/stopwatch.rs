//! How long steps take.

use std::time::{Duration, Instant};

use super::{Gpu, Step};
use crate::error::{Error, Result};

/// How often steps are timed at most, and what it may take: a slow device is measured once.
const TIMES: usize = 5;
const PATIENCE: Duration = Duration::from_millis(20);
const LABEL: &str = "stopwatch";

/// Times steps by the GPU's clock where the device may read it, else from submission to the end of the wait for it.
pub(super) struct Stopwatch<'a> {
    gpu: &'a Gpu,
    clock: Option<Clock>,
}

struct Clock {
    queries: wgpu::QuerySet,
    ticks: wgpu::Buffer,
    staging: wgpu::Buffer,
    tick_nanoseconds: f64,
}

impl<'a> Stopwatch<'a> {
    pub fn new(gpu: &'a Gpu) -> Result<Self> {
        let has_clock = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        Ok(Self { gpu, clock: if has_clock { Some(Clock::new(gpu)?) } else { None } })
    }

    /// The median of a few runs, the first of which warms up and is not counted.
    pub fn median(&self, steps: &[Step]) -> Result<Duration> {
        self.time(steps)?;
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.is_empty() || times.len() < TIMES && begun.elapsed() < PATIENCE {
            times.push(self.time(steps)?);
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    fn time(&self, steps: &[Step]) -> Result<Duration> {
        // What a submission costs the host must be little beside what it costs the GPU.
        let turns = if self.clock.is_some() { 1 } else { 4 };
        let begun = Instant::now();
        let submission = self.gpu.run(LABEL, |encoder| {
            let timestamp_writes = self.clock.as_ref().map(|clock| wgpu::ComputePassTimestampWrites {
                query_set: &clock.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some(LABEL), timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            (0..turns).for_each(|_| steps.iter().for_each(|step| step.encode(&mut pass)));
            drop(pass);
            if let Some(Clock { queries, ticks, staging, .. }) = &self.clock {
                encoder.resolve_query_set(queries, 0..2, ticks, 0);
                encoder.copy_buffer_to_buffer(ticks, 0, staging, 0, staging.size());
            }
        })?;
        match &self.clock {
            Some(clock) => clock.read(self.gpu, submission),
            None => self.gpu.wait(submission).map(|()| begun.elapsed() / turns),
        }
    }
}

impl Clock {
    fn new(gpu: &Gpu) -> Result<Self> {
        use wgpu::BufferUsages;
        let device = &gpu.device;
        let buffer = |usage| {
            let size = 2 * u64::from(wgpu::QUERY_SIZE);
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(LABEL), size, usage, mapped_at_creation: false })
        };
        gpu.guarded(LABEL, || Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some(LABEL),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            ticks: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            staging: buffer(BufferUsages::COPY_DST | BufferUsages::MAP_READ),
            tick_nanoseconds: f64::from(gpu.queue.get_timestamp_period()),
        })
    }

    fn read(&self, gpu: &Gpu, submission: wgpu::SubmissionIndex) -> Result<Duration> {
        let ticks = gpu.read::<u64>(&self.staging, submission, 2)?;
        let passed = ticks[1].saturating_sub(ticks[0]);
        if passed == 0 {
            return Err(Error::Validation { label: LABEL.into(), message: "the GPU's clock stands still".into() });
        }
        Ok(Duration::from_nanos((passed as f64 * self.tick_nanoseconds) as u64))
    }
}
