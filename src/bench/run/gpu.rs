//! The host's side of a GPU: a device of its own that it lends to the engine, a clock in its queue, and its ceilings.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pollster::block_on;
use wgpu::BufferUsages as Usage;
use wgpu::CommandEncoder;

use super::kernels::{Kernel, WORKGROUP, buffer};
use super::patience;
use super::sample::{rates, sample, summary, wall};
use crate::bench::{Ceilings, Clock, Summary};
use crate::device::{Device, DeviceInfo, list, required_features, required_limits};
use crate::error::{Error, Result};

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

#[cfg(test)]
thread_local! {
    /// Has this thread's next wait find its device lost.
    static LOSE_NEXT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
pub(super) fn lose_next(lose: bool) {
    LOSE_NEXT.set(lose);
}

pub(super) struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    ticks: Option<Ticks>,
    /// What the GPU does while the host hands work over, and how many workgroups of it.
    hold: Kernel,
    held: usize,
    failed: Arc<OnceLock<String>>,
    /// The cooperative matrices that the adapter offers.
    pub(super) matrices: Vec<String>,
    /// Who makes the GPU.
    pub(super) vendor: Option<String>,
}

struct Ticks {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    seconds: f64,
}

impl Host {
    /// A device of the adapter that the engine would take, and the engine on it.
    pub(super) fn open(info: &DeviceInfo) -> Result<(Self, Device)> {
        let adapter = adapter(info)?;
        let mut limits = required_limits().or_better_values_from(&adapter.limits());
        // On DX12 this one reserves memory; the default is plenty.
        limits.max_non_sampler_bindings = required_limits().max_non_sampler_bindings;
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: required_features() | adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
            required_limits: limits,
            ..Default::default()
        }))
        .map_err(failed)?;
        let failed = Arc::new(OnceLock::new());
        let report = failed.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = report.set(error.to_string());
        }));
        let engine = Device::from_wgpu(&adapter.get_info(), device.clone(), queue.clone())?;
        let hold = Kernel::multiply_add(&device, CHAINS[0], 16);
        let mut host = Self {
            device,
            queue,
            ticks: None,
            hold,
            held: 1,
            failed,
            matrices: matrices(&adapter),
            vendor: vendor(adapter.get_info().vendor),
        };
        host.held = host.workgroups_for(&host.hold, HELD)?;
        host.ticks = Ticks::new(&host.device, &host.queue);
        if host.time_of(|encoder| host.hold.record(encoder, host.held, None))? == 0.0 {
            // A clock that stands still.
            host.ticks = None;
        }
        Ok((host, engine))
    }

    pub(super) fn clock(&self) -> Clock {
        if self.ticks.is_some() { Clock::Gpu } else { Clock::Wall }
    }

    /// Seconds of what `work` submits: by the GPU's clock where it has one, else until the wait for it is over.
    pub(super) fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
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
    fn time_of(&self, record: impl Fn(&mut CommandEncoder)) -> Result<f64> {
        self.time(|| {
            self.submit(&record);
            Ok(())
        })
    }

    /// Waits for all that was submitted.
    pub(super) fn wait(&self) -> Result<()> {
        #[cfg(test)]
        if LOSE_NEXT.take() {
            self.device.destroy();
        }
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| Error::DeviceLost { reason: error.to_string() })?;
        self.failed.get().map_or(Ok(()), |message| Err(failed(message)))
    }

    fn submit(&self, record: impl FnOnce(&mut CommandEncoder)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }

    /// Reads a buffer that can be mapped, once all that was submitted is through.
    fn read(&self, staging: &wgpu::Buffer) -> Result<Vec<u8>> {
        staging.map_async(wgpu::MapMode::Read, .., |_| ());
        self.wait()?;
        let bytes = staging.get_mapped_range(..).map_err(failed)?.to_vec();
        staging.unmap();
        Ok(bytes)
    }

    /// A power of two of workgroups, as few as take `seconds`.
    fn workgroups_for(&self, kernel: &Kernel, seconds: f64) -> Result<usize> {
        let mut workgroups = 1;
        let time = |workgroups| self.time_of(|encoder| kernel.record(encoder, workgroups, None));
        time(1)?;
        while workgroups < MOST_WORKGROUPS && time(workgroups)? < seconds {
            workgroups *= 2;
        }
        Ok(workgroups)
    }

    pub(super) fn ceilings(&self, quick: bool) -> Result<Ceilings> {
        let (upload, readback) = self.transfers(quick)?;
        let (upload, readback, latency) = (Some(upload), Some(readback), Some(self.latency()?));
        Ok(Ceilings { flops: self.flops(quick)?, copy: self.copy(quick)?, upload, readback, latency })
    }

    fn flops(&self, quick: bool) -> Result<Summary> {
        let by = |chains| {
            let kernel = Kernel::multiply_add(&self.device, chains, TURNS);
            let workgroups = self.workgroups_for(&kernel, LONG)?;
            let run = || self.time_of(|encoder| kernel.record(encoder, workgroups, None));
            rates(workgroups as f64 * Kernel::flops(TURNS), &sample(patience(quick), run)?)
        };
        fastest(CHAINS.into_iter().map(by))
    }

    /// Bytes a second, those read and those written, by a kernel or the copy command, whichever is faster.
    fn copy(&self, quick: bool) -> Result<Summary> {
        let limits = self.device.limits();
        let bytes = if quick { COPIED / 4 } else { COPIED };
        let bytes = bytes.min(limits.max_storage_buffer_binding_size).min(limits.max_buffer_size);
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        let [from, to] = ["from", "to"].map(|label| buffer(&self.device, label, bytes, usage));
        let kernel = Kernel::copy(&self.device, &from, &to);
        let workgroups = (bytes / 16).div_ceil(WORKGROUP as u64) as usize;
        let by_kernel = || self.time_of(|encoder| kernel.record(encoder, workgroups, None));
        let by_command = || self.time_of(|encoder| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes));
        let kernel = rates(2.0 * bytes as f64, &sample(patience(quick), by_kernel)?);
        let command = rates(2.0 * bytes as f64, &sample(patience(quick), by_command)?);
        fastest([kernel, command])
    }

    /// Bytes a second to the GPU and back, from and to the host's memory, by its clock.
    fn transfers(&self, quick: bool) -> Result<(Summary, Summary)> {
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
        let upload = rates(bytes as f64, &sample(patience(quick), upload)?)?;
        let readback = || {
            wall(|| {
                self.submit(|encoder| encoder.copy_buffer_to_buffer(&there, 0, &staging, 0, bytes));
                self.read(&staging).map(drop)
            })
        };
        let readback = rates(bytes as f64, &sample(patience(quick), readback)?)?;
        Ok((upload, readback))
    }

    /// From the submission of next to nothing until its answer is on the host.
    fn latency(&self) -> Result<Summary> {
        let there = buffer(&self.device, "there", 16, Usage::COPY_SRC);
        let staging = buffer(&self.device, "staging", 16, Usage::MAP_READ | Usage::COPY_DST);
        let nothing = Kernel::multiply_add(&self.device, CHAINS[0], 0);
        let latency = || {
            wall(|| {
                self.submit(|encoder| {
                    nothing.record(encoder, 1, None);
                    encoder.copy_buffer_to_buffer(&there, 0, &staging, 0, 16);
                });
                self.read(&staging).map(drop)
            })
        };
        summary(&sample(LATENCIES, latency)?)
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
fn adapter(info: &DeviceInfo) -> Result<wgpu::Adapter> {
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
    found.ok_or_else(|| Error::DeviceLost { reason: format!("{} ({}) is gone", info.name, info.backend) })
}

fn failed(message: impl ToString) -> Error {
    Error::Validation { label: "ceilings".into(), message: message.to_string() }
}

/// The rates of the fastest way.
fn fastest(ways: impl IntoIterator<Item = Result<Summary>>) -> Result<Summary> {
    let ways = ways.into_iter().collect::<Result<Vec<_>>>()?;
    let best = ways.into_iter().max_by(|a, b| a.median.total_cmp(&b.median));
    best.ok_or_else(|| failed("nothing was measured"))
}

/// By its number in the PCI-SIG's list, or in Khronos's where it has none there.
fn vendor(number: u32) -> Option<String> {
    let name = match number {
        0x1002 => "AMD",
        0x106b => "Apple",
        0x10de => "NVIDIA",
        0x1010 => "Imagination",
        0x13b5 => "Arm",
        0x1ae0 => "Google",
        0x5143 => "Qualcomm",
        0x8086 => "Intel",
        0x10005 => "Mesa",
        _ => return None,
    };
    Some(name.into())
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
