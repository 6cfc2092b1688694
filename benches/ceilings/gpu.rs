//! The host's side of a GPU: a device of its own that it lends to the engine, a clock in its queue, and its ceilings.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pollster::block_on;
use rvc_gpu_index::device::{Device, DeviceInfo, list, required_features, required_limits};
use rvc_gpu_index::wgpu;
use wgpu::BufferUsages as Usage;
use wgpu::CommandEncoder;

use super::Outcome;
use super::kernels::{Kernel, WORKGROUP, buffer};
use super::report::Ceilings;
use super::sample::{Clock, Seconds, wall};
use super::stages::patience;

/// Chains of multiply-adds that are tried: many fill a GPU's pipelines, few fit a CPU's registers.
const CHAINS: [usize; 3] = [2, 4, 8];
/// Turns of their loop, and what a dispatch of them takes at least, so that starting it is little beside it.
const TURNS: u32 = 256;
const LONG: f64 = 0.01;
const MOST_WORKGROUPS: usize = 1 << 16;
/// The host has this long to hand its work over before the GPU comes to it.
const HELD: f64 = 0.005;
/// Bytes that are copied, uploaded and read back: more than a GPU's caches hold.
const COPIED: u64 = 256 << 20;
const MOVED: u64 = 64 << 20;
const LATENCIES: Duration = Duration::from_millis(200);

pub struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    ticks: Option<Ticks>,
    /// What the GPU does while the host hands work over, and how many workgroups of it.
    hold: Kernel,
    held: usize,
    failed: Arc<OnceLock<String>>,
    /// The cooperative matrices that the adapter offers.
    pub matrices: Vec<String>,
}

struct Ticks {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    seconds: f64,
}

impl Host {
    /// A device of the adapter that the engine would take, and the engine on it.
    pub fn open(info: &DeviceInfo) -> Outcome<(Self, Device)> {
        let adapter = adapter(info)?;
        let mut limits = required_limits().or_better_values_from(&adapter.limits());
        // On DX12 this one reserves memory; the default is plenty.
        limits.max_non_sampler_bindings = required_limits().max_non_sampler_bindings;
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: required_features() | adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            required_limits: limits,
            ..Default::default()
        }))?;
        let failed = Arc::new(OnceLock::new());
        let report = failed.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = report.set(error.to_string());
        }));
        let engine = Device::from_wgpu(&adapter.get_info(), device.clone(), queue.clone())?;
        let hold = Kernel::multiply_add(&device, CHAINS[0], 16);
        let mut host = Self { device, queue, ticks: None, hold, held: 1, failed, matrices: matrices(&adapter) };
        host.held = host.workgroups_for(&host.hold, HELD)?;
        host.ticks = Ticks::new(&host.device, &host.queue);
        if host.time_of(|encoder| host.hold.record(encoder, host.held, None))? == 0.0 {
            // A clock that stands still.
            host.ticks = None;
        }
        Ok((host, engine))
    }

    pub fn clock(&self) -> Clock {
        if self.ticks.is_some() { Clock::Gpu } else { Clock::Wall }
    }

    /// Seconds of what `work` submits: by the GPU's clock where it has one, else until the wait for it is over.
    pub fn time(&self, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
        let Some(ticks) = &self.ticks else {
            self.wait()?;
            return wall(|| work().and_then(|()| self.wait()));
        };
        let writes = |from, to| wgpu::ComputePassTimestampWrites {
            query_set: &ticks.queries,
            beginning_of_pass_write_index: from,
            end_of_pass_write_index: to,
        };
        self.submit(|encoder| self.hold.record(encoder, self.held, Some(writes(None, Some(0)))));
        work()?;
        self.submit(|encoder| {
            self.hold.record(encoder, 1, Some(writes(Some(1), None)));
            encoder.resolve_query_set(&ticks.queries, 0..2, &ticks.resolved, 0);
            encoder.copy_buffer_to_buffer(&ticks.resolved, 0, &ticks.staging, 0, ticks.staging.size());
        });
        let read: Vec<u64> = bytemuck::pod_collect_to_vec(&self.read(&ticks.staging)?);
        Ok(read[1].saturating_sub(read[0]) as f64 * ticks.seconds)
    }

    /// The same of what `record` records.
    fn time_of(&self, record: impl Fn(&mut CommandEncoder)) -> Outcome<f64> {
        self.time(|| {
            self.submit(&record);
            Ok(())
        })
    }

    /// Waits for all that was submitted.
    pub fn wait(&self) -> Outcome<()> {
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        match self.failed.get() {
            None => Ok(()),
            Some(message) => Err(message.clone().into()),
        }
    }

    fn submit(&self, record: impl FnOnce(&mut CommandEncoder)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }

    /// Reads a buffer that can be mapped, once all that was submitted is through.
    fn read(&self, staging: &wgpu::Buffer) -> Outcome<Vec<u8>> {
        staging.map_async(wgpu::MapMode::Read, .., |_| ());
        self.wait()?;
        let bytes = staging.get_mapped_range(..)?.to_vec();
        staging.unmap();
        Ok(bytes)
    }

    /// A power of two of workgroups, as few as take `seconds`.
    fn workgroups_for(&self, kernel: &Kernel, seconds: f64) -> Outcome<usize> {
        let mut workgroups = 1;
        let time = |workgroups| self.time_of(|encoder| kernel.record(encoder, workgroups, None));
        time(1)?;
        while workgroups < MOST_WORKGROUPS && time(workgroups)? < seconds {
            workgroups *= 2;
        }
        Ok(workgroups)
    }

    pub fn ceilings(&self, quick: bool) -> Outcome<Ceilings> {
        let (upload, readback) = self.transfers(quick)?;
        Ok(Ceilings {
            flops: self.flops(quick)?,
            copy: self.copy(quick)?,
            upload: Some(upload),
            readback: Some(readback),
            latency: Some(self.latency()?),
        })
    }

    fn flops(&self, quick: bool) -> Outcome<f64> {
        let mut best: f64 = 0.0;
        for chains in CHAINS {
            let kernel = Kernel::multiply_add(&self.device, chains, TURNS);
            let workgroups = self.workgroups_for(&kernel, LONG)?;
            let run = || self.time_of(|encoder| kernel.record(encoder, workgroups, None));
            let seconds = Seconds::of(patience(quick), run)?.best;
            best = best.max(workgroups as f64 * Kernel::flops(TURNS) / seconds);
        }
        Ok(best)
    }

    /// Bytes a second, those read and those written, by a kernel or the copy command, whichever is faster.
    fn copy(&self, quick: bool) -> Outcome<f64> {
        let limits = self.device.limits();
        let bytes = if quick { COPIED / 4 } else { COPIED };
        let bytes = bytes.min(limits.max_storage_buffer_binding_size).min(limits.max_buffer_size);
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let [from, to] = ["from", "to"].map(|label| buffer(&self.device, label, bytes, usage));
        let kernel = Kernel::copy(&self.device, &from, &to);
        let workgroups = (bytes / 16).div_ceil(WORKGROUP as u64) as usize;
        let by_kernel = || self.time_of(|encoder| kernel.record(encoder, workgroups, None));
        let by_command = || self.time_of(|encoder| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes));
        let kernel = Seconds::of(patience(quick), by_kernel)?.best;
        let command = Seconds::of(patience(quick), by_command)?.best;
        Ok(2.0 * bytes as f64 / kernel.min(command))
    }

    /// Bytes a second to the GPU and back, from and to the host's memory, by its clock.
    fn transfers(&self, quick: bool) -> Outcome<(f64, f64)> {
        let bytes = if quick { MOVED / 4 } else { MOVED };
        let there = buffer(&self.device, "there", bytes, Usage::COPY_SRC | Usage::COPY_DST);
        let staging = buffer(&self.device, "staging", bytes, Usage::MAP_READ | Usage::COPY_DST);
        let here = vec![1u8; bytes as usize];
        let upload = || {
            wall(|| {
                self.queue.write_buffer(&there, 0, &here);
                self.queue.submit([]);
                self.wait()
            })
        };
        let upload = Seconds::of(patience(quick), upload)?.best;
        let readback = || {
            wall(|| {
                self.submit(|encoder| encoder.copy_buffer_to_buffer(&there, 0, &staging, 0, bytes));
                self.read(&staging).map(drop)
            })
        };
        let readback = Seconds::of(patience(quick), readback)?.best;
        Ok((bytes as f64 / upload, bytes as f64 / readback))
    }

    /// From the submission of next to nothing until its answer is on the host.
    fn latency(&self) -> Outcome<Seconds> {
        let there = buffer(&self.device, "there", 16, Usage::COPY_SRC);
        let staging = buffer(&self.device, "staging", 16, Usage::MAP_READ | Usage::COPY_DST);
        let nothing = Kernel::multiply_add(&self.device, CHAINS[0], 0);
        Seconds::of(LATENCIES, || {
            wall(|| {
                self.submit(|encoder| {
                    nothing.record(encoder, 1, None);
                    encoder.copy_buffer_to_buffer(&there, 0, &staging, 0, 16);
                });
                self.read(&staging).map(drop)
            })
        })
    }
}

impl Ticks {
    /// None where the GPU has no clock.
    fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Self> {
        let size = 2 * u64::from(wgpu::QUERY_SIZE);
        device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("ticks"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(device, "resolved", size, Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            staging: buffer(device, "ticks", size, Usage::MAP_READ | Usage::COPY_DST),
            seconds: f64::from(queue.get_timestamp_period()) * 1e-9,
        })
    }
}

/// The adapter of a device that the engine lists: of several of one name the one in the same place among them.
fn adapter(info: &DeviceInfo) -> Outcome<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let twins = list().0.into_iter().filter(|other| (&other.name, &other.backend) == (&info.name, &info.backend));
    let place = twins.map(|twin| twin.selector).position(|selector| selector == info.selector).unwrap_or(0);
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let is_one = |adapter: &wgpu::Adapter| {
        let found = adapter.get_info();
        found.name == info.name && found.backend.to_string() == info.backend
    };
    let found = adapters.into_iter().filter(is_one).nth(place);
    found.ok_or_else(|| format!("{} ({}) is gone", info.name, info.backend).into())
}

fn matrices(adapter: &wgpu::Adapter) -> Vec<String> {
    if !adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return Vec::new();
    }
    let describe = |matrix: wgpu::CooperativeMatrixProperties| {
        let wgpu::CooperativeMatrixProperties { m_size, n_size, k_size, ab_type, cr_type, .. } = matrix;
        let saturating = if matrix.saturating_accumulation { ", saturating" } else { "" };
        format!("{m_size}x{n_size}x{k_size} {ab_type:?} to {cr_type:?}{saturating}")
    };
    adapter.cooperative_matrix_properties().into_iter().map(describe).collect()
}
