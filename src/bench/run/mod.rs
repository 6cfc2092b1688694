//! Measuring: what devices can do at all, how near stages come to that, and what indexes cost and find there.

mod cpu;
mod gpu;
mod host;
mod kernels;
mod live;
mod sample;
mod searches;
mod stages;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use crate::memory::free_memory;
pub use workload::Loaded;

use super::{BenchResult, Clock, DeviceResult, SCHEMA, Selftest, UtcTime};
use crate::device::{Device, DeviceInfo};
use crate::error::Result;
use crate::factory::Metric;
use crate::features::MemoryRows;
use crate::index::{GroundTruth, Index, Recipe, Searcher};
use crate::selftest;
use gpu::Host;

/// What a benchmark is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct BenchParams {
    /// Rougher figures in less time.
    pub quick: bool,
    /// Run the conformance cases first.
    pub selftest: bool,
}

/// How long the same is measured.
fn patience(quick: bool) -> Duration {
    Duration::from_millis(if quick { 100 } else { 2000 })
}

/// Measures devices one after the other. `command` is kept with the result; `say` is told what is done.
///
/// A device that fails, even in the middle, does not end the run: what was measured stays, with the reason.
///
/// # Errors
/// What the CPU engine reports where it looks for the exact neighbours.
pub fn bench(
    devices: &[Device],
    loaded: &Loaded,
    params: &BenchParams,
    command: String,
    mut say: impl FnMut(&str),
) -> Result<BenchResult> {
    let time = UtcTime::now();
    say("exact neighbours, on the CPU engine");
    let index = Index::flat(loaded.workload.d, Metric::L2, loaded.rows.clone())?;
    let exact = Searcher::new(index, &Device::cpu())?;
    let queries = MemoryRows::new(&loaded.queries, loaded.workload.d)?;
    let truth = GroundTruth::new(&exact, &queries, None, workload::K, None, |_| ())?;
    let mut results = Vec::new();
    for device in devices {
        let mut result = empty(device.info());
        let mut say = |what: &str| say(&format!("{}: {what}", device.info().selector));
        // A driver that panics is no reason to lose what others measured.
        let outcome = catch_unwind(AssertUnwindSafe(|| measure(device, loaded, &truth, params, &mut result, &mut say)));
        result.error = match outcome {
            Ok(outcome) => outcome.err().map(|error| error.to_string()),
            Err(_) => Some("its driver panicked".into()),
        };
        results.push(result);
    }
    Ok(BenchResult {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("RVC_GPU_INDEX_COMMIT").map(str::to_string),
        time,
        command,
        host: host::host_info(),
        workload: loaded.workload.clone(),
        quick: params.quick,
        devices: results,
    })
}

fn empty(info: &DeviceInfo) -> DeviceResult {
    DeviceResult {
        info: info.clone(),
        vendor: None,
        selftest: None,
        ceilings: None,
        cooperative_matrices: Vec::new(),
        stages: Vec::new(),
        builds: Vec::new(),
        live: Vec::new(),
        searches: Vec::new(),
        warnings: Vec::new(),
        error: None,
    }
}

/// A device, with the host's side of it where it is a GPU.
struct Machine {
    device: Device,
    host: Option<Host>,
}

impl Machine {
    fn open(device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(Self { device: device.clone(), host: None });
        }
        let (host, device) = Host::open(device.info())?;
        Ok(Self { device, host: Some(host) })
    }

    /// What stages are timed by that leave their results on the device.
    fn clock(&self) -> Clock {
        self.host.as_ref().map_or(Clock::Wall, Host::clock)
    }
}

fn measure(
    device: &Device,
    loaded: &Loaded,
    truth: &GroundTruth<'_>,
    params: &BenchParams,
    into: &mut DeviceResult,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    if params.selftest {
        say("selftest");
        into.selftest = Some(verdict(device));
    }
    if into.fails_selftest() {
        into.warnings.push("computes wrong: no figure of this device is to be trusted".into());
    }
    let machine = Machine::open(device)?;
    into.info = machine.device.info().clone();
    into.info.selector.clone_from(&device.info().selector);
    if let Some(host) = &machine.host {
        into.vendor.clone_from(&host.vendor);
        into.cooperative_matrices.clone_from(&host.matrices);
    }
    say("ceilings");
    let ceilings = match &machine.host {
        Some(host) => host.ceilings(params.quick)?,
        None => cpu::ceilings(params.quick)?,
    };
    into.ceilings = Some(ceilings);
    let (rows, d) = (loaded.workload.rows, loaded.workload.d);
    let (nlist, m) = (Recipe::Rvc.nlist(rows), if d.is_multiple_of(2) { d / 2 } else { d });
    let shape = stages::Shape { device: &machine.device, rows: &loaded.rows, dim: d, nlist, m };
    say("stages");
    for stage in shape.stages() {
        into.stages.push(stage.measure(&machine, &ceilings, params.quick)?);
    }
    for factory in [format!("IVF{nlist},Flat"), format!("PQ{m}x4fs,RFlat"), "Flat".into()] {
        searches::build_and_search(&machine, loaded, truth, &factory, params.quick, into, say)?;
    }
    Ok(())
}

fn verdict(device: &Device) -> Selftest {
    let stages = selftest::selftest(device, &selftest::cases(), |_| ());
    let count = |of: fn(&selftest::Verdict) -> usize| stages.iter().map(of).sum::<usize>() as u64;
    Selftest {
        passed: count(|stage| stage.passed),
        failed: count(|stage| stage.failed),
        first_failure: stages.into_iter().find_map(|stage| stage.first_failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_disappears_keeps_what_was_measured() {
        let Ok(device) = Device::gpu("llvmpipe/vulkan") else {
            eprintln!("no llvmpipe here: no device was lost");
            return;
        };
        let loaded = Loaded::new("tests/data/voice-sample", true, 1 << 30).unwrap();
        let lost = std::cell::Cell::new(false);
        let say = |what: &str| {
            if what.ends_with("stages") {
                // What a driver does when it is reset.
                gpu::lose_next(true);
                lost.set(true);
            }
        };
        let result =
            bench(&[device, Device::cpu()], &loaded, &BenchParams { quick: true, selftest: false }, "".into(), say);
        let [lost_one, other] = &result.unwrap().devices[..] else { panic!("two were asked for") };
        assert!(lost.get() && lost_one.error.is_some() && lost_one.ceilings.is_some(), "{lost_one:?}");
        assert!(lost_one.searches.is_empty());
        assert!(other.error.is_none() && other.searches.len() > 3, "{:?}", other.error);
    }
}
