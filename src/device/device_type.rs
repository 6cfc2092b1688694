//! Kinds of hardware.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of hardware a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceType {
    /// A graphics card with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the CPU's memory.
    IntegratedGpu,
    /// A GPU behind a virtual machine's interface.
    VirtualGpu,
    /// The driver does not say.
    Other,
    /// A graphics driver that computes on the CPU.
    SoftwareGpu,
    /// This crate's CPU engine.
    Cpu,
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceType::DiscreteGpu => "discrete GPU",
            DeviceType::IntegratedGpu => "integrated GPU",
            DeviceType::VirtualGpu => "virtual GPU",
            DeviceType::Other => "GPU of an unknown kind",
            DeviceType::SoftwareGpu => "software driver",
            DeviceType::Cpu => "CPU engine",
        })
    }
}

impl DeviceType {
    /// What an adapter is, by what its driver says and by its name.
    pub(super) fn of(info: &wgpu::AdapterInfo) -> Self {
        // Through OpenGL a software driver does not always say what it is.
        let name = info.name.to_lowercase();
        if ["llvmpipe", "softpipe", "swiftshader", "lavapipe"].iter().any(|software| name.contains(software)) {
            return DeviceType::SoftwareGpu;
        }
        match info.device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceType::DiscreteGpu,
            wgpu::DeviceType::IntegratedGpu => DeviceType::IntegratedGpu,
            wgpu::DeviceType::VirtualGpu => DeviceType::VirtualGpu,
            wgpu::DeviceType::Cpu => DeviceType::SoftwareGpu,
            wgpu::DeviceType::Other => DeviceType::Other,
        }
    }
}
