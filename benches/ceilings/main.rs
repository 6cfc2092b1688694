//! How near each stage is to what its device can do at all.
//!
//! `cargo bench --bench ceilings -- [DEVICE] [--json FILE] [--quick]` measures the device's ceilings and then every stage
//! at a voice's size. A stage's share is the least time that its ceilings leave for its arithmetic and its bytes, over
//! the time that it takes. The rows have no pattern: on the CPU engine real voices leave more comparisons out.

mod cpu;
mod gpu;
mod kernels;
mod report;
mod sample;
mod stages;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use rvc_gpu_index::device::Device;
use rvc_gpu_index::{Existing, check_free, write_bytes};

use gpu::Host;
use report::Report;
use sample::Clock;

const USAGE: &str = "usage: ceilings [DEVICE] [--json FILE] [--quick]";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is asked for.
struct Asked {
    selector: String,
    json: Option<PathBuf>,
    quick: bool,
}

impl Asked {
    fn new(mut arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let (mut selector, mut json, mut quick) = (None, None, false);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => quick = true,
                "--json" => json = Some(arguments.next().ok_or("--json: name a file behind it")?.into()),
                name if selector.is_none() && !name.starts_with('-') => selector = Some(argument),
                other => return Err(format!("{other} is not known\n{USAGE}").into()),
            }
        }
        Ok(Self { selector: selector.unwrap_or_else(|| "cpu".into()), json, quick })
    }
}

/// A device, with the host's side of it where it is a GPU.
pub struct Machine {
    pub device: Device,
    pub host: Option<Host>,
}

impl Machine {
    fn select(selector: &str) -> Outcome<Self> {
        let device = Device::select(selector)?;
        if device.is_cpu() {
            return Ok(Self { device, host: None });
        }
        let (host, device) = Host::open(device.info())?;
        Ok(Self { device, host: Some(host) })
    }

    /// What stages are timed by that leave their results on the device.
    fn clock(&self) -> Clock {
        self.host.as_ref().map_or(Clock::Wall, Host::clock)
    }
}

fn run() -> Outcome<()> {
    // Cargo adds --bench.
    let asked = Asked::new(std::env::args().skip(1).filter(|argument| argument != "--bench"))?;
    if let Some(path) = &asked.json {
        check_free(path, Existing::Replace)?;
    }
    let machine = Machine::select(&asked.selector)?;
    let ceilings = match &machine.host {
        Some(host) => host.ceilings(asked.quick)?,
        None => cpu::ceilings(asked.quick)?,
    };
    let mut report = Report::new(&machine, ceilings, asked.quick);
    print!("{report}");
    for stage in stages::all(&machine.device) {
        let measured = stage.measure(&machine, &report.ceilings, asked.quick)?;
        println!("{measured}");
        report.stages.push(measured);
    }
    println!("{}", report::FORMULAS);
    if let Some(path) = &asked.json {
        write_bytes(path, &serde_json::to_vec_pretty(&report)?, Existing::Replace)?;
    }
    Ok(())
}
