//! `devices`: what there is to compute on.

use std::fmt::{self, Display};

use clap::Args;
use rvc_gpu_index::device::{self, Choice, DeviceInfo};
use serde::Serialize;

use super::report::{Bytes, line};

/// List the devices to compute on, and which of them is taken by default
#[derive(Args)]
pub struct DevicesArgs {
    /// Print the list as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
pub struct DevicesReport {
    devices: Vec<DeviceInfo>,
    auto: Choice,
}

pub fn run() -> DevicesReport {
    let (devices, auto) = device::list();
    DevicesReport { devices, auto }
}

impl Display for DevicesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for info in &self.devices {
            writeln!(f, "--device {}", info.selector)?;
            describe(f, info)?;
            writeln!(f)?;
        }
        writeln!(f, "auto takes {}: {}", self.auto.selector, self.auto.reason)
    }
}

pub fn describe(f: &mut fmt::Formatter<'_>, info: &DeviceInfo) -> fmt::Result {
    line(f, "  name", &info.name)?;
    line(f, "  kind", format_args!("{}, {}", info.device_type, info.backend))?;
    line(f, "  driver", &info.driver)?;
    if let (Some(buffer), Some(binding)) = (info.max_buffer_size, info.max_binding_size) {
        line(f, "  buffers", format_args!("up to {}, bound up to {}", Bytes(buffer), Bytes(binding)))?;
    }
    if let Some(buffers) = info.max_storage_buffers {
        line(f, "  kernels", format_args!("{buffers} storage buffers"))?;
    }
    if let (Some(size), Some(memory)) = (info.max_workgroup_size, info.max_workgroup_memory) {
        line(f, "  workgroups", format_args!("{size} invocations, {}", Bytes(memory.into())))?;
    }
    match info.subgroup_size {
        Some((least, most)) if least == most => line(f, "  subgroups", format_args!("of {least}"))?,
        Some((least, most)) => line(f, "  subgroups", format_args!("of {least} to {most}"))?,
        None => {}
    }
    if !info.features.is_empty() {
        line(f, "  features", info.features.join(", "))?;
    }
    if let Some(tile) = info.tile {
        line(f, "  tile", format_args!("{tile} rows x centroids, measured"))?;
    }
    Ok(())
}
