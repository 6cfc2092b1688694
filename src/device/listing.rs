//! Which devices are here, how a selector names one, and what `auto` takes.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::adapter_order::place;
use super::{Device, DeviceType, Engine, Tile, cpu, gpu};
use crate::error::{Error, Result};

/// What is known of a device without using it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// A selector that means this device alone.
    pub selector: String,
    /// Name as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl`, or `cpu`.
    pub backend: Cow<'static, str>,
    /// Driver and its version.
    pub driver: String,
    /// Kind of hardware.
    #[serde(rename = "type")]
    pub device_type: DeviceType,
    /// Largest buffer in bytes; none for the CPU engine.
    pub max_buffer_size: Option<u64>,
    /// Largest part of a buffer that a kernel can use, in bytes.
    pub max_binding_size: Option<u64>,
    /// Storage buffers a kernel can use.
    pub max_storage_buffers: Option<u32>,
    /// Workgroup memory in bytes.
    pub max_workgroup_memory: Option<u32>,
    /// Invocations a workgroup.
    pub max_workgroup_size: Option<u32>,
    /// Least and greatest subgroup size, where subgroups can be used.
    pub subgroup_size: Option<(u32, u32)>,
    /// Optional features of use to an index: `subgroups`, `f16`, `timestamps`, `cooperative-matrix`.
    pub features: Vec<Cow<'static, str>>,
    /// The tile by which this GPU assigns rows fastest, where [`Device::tune`] or a large build has measured it before.
    pub tile: Option<Tile>,
}

impl DeviceInfo {
    pub(super) fn cpu() -> Self {
        Self {
            selector: "cpu".into(),
            name: cpu::describe(),
            backend: "cpu".into(),
            driver: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            device_type: DeviceType::Cpu,
            max_buffer_size: None,
            max_binding_size: None,
            max_storage_buffers: None,
            max_workgroup_memory: None,
            max_workgroup_size: None,
            subgroup_size: None,
            features: Vec::new(),
            tile: None,
        }
    }

    pub(super) fn gpu(info: &wgpu::AdapterInfo, limits: &wgpu::Limits, features: wgpu::Features) -> Self {
        let useful = [
            ("subgroups", wgpu::Features::SUBGROUP),
            ("f16", wgpu::Features::SHADER_F16),
            ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
            ("cooperative-matrix", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        ];
        let backend = match info.backend {
            wgpu::Backend::Vulkan => "vulkan",
            wgpu::Backend::Metal => "metal",
            wgpu::Backend::Dx12 => "dx12",
            wgpu::Backend::Gl => "gl",
            wgpu::Backend::BrowserWebGpu => "webgpu",
            wgpu::Backend::Noop => "noop",
        };
        Self {
            selector: format!("{}/{backend}", info.name.to_lowercase()),
            name: info.name.clone(),
            backend: backend.into(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            device_type: DeviceType::of(info),
            max_buffer_size: Some(limits.max_buffer_size),
            max_binding_size: Some(limits.max_storage_buffer_binding_size),
            max_storage_buffers: Some(limits.max_storage_buffers_per_shader_stage),
            max_workgroup_memory: Some(limits.max_compute_workgroup_storage_size),
            max_workgroup_size: Some(limits.max_compute_invocations_per_workgroup),
            subgroup_size: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            features: useful
                .iter()
                .filter(|(_, flag)| features.contains(*flag))
                .map(|(name, _)| (*name).into())
                .collect(),
            tile: gpu::Tuned::of(info).get(),
        }
    }

    /// True where a selector's text is part of `name/backend`, and for a software driver has a whole word of its name.
    fn answers_to(&self, text: &str) -> bool {
        let name = self.name.to_lowercase();
        let is_named = |word: &str| name_words(&name).any(|other| other == word);
        let found = format!("{name}/{}", self.backend).contains(text)
            || format!("{}/{}", self.short_name(), self.backend).contains(text);
        found && (self.is_hardware() || text.split(|c: char| !c.is_alphanumeric()).any(is_named))
    }

    fn is_hardware(&self) -> bool {
        self.device_type < DeviceType::SoftwareGpu
    }

    /// The first word of the name: `llvmpipe`, `nvidia`.
    fn short_name(&self) -> String {
        let name = self.name.to_lowercase();
        name.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).unwrap_or("gpu").to_string()
    }
}

/// The words of a name that are no numbers or versions: `llvmpipe`, `swiftshader`.
fn name_words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1 && word.chars().all(char::is_alphabetic))
}

/// A GPU that is here.
struct Found {
    adapter: wgpu::Adapter,
    info: DeviceInfo,
}

/// Where GPUs are looked for first: looking for OpenGL loads the window system's libraries, too.
const PRIMARY: wgpu::Backends = wgpu::Backends::PRIMARY;

/// DXC compiles for DX12 where a `dxcompiler.dll` is found, as beside the program; FXC, which every Windows has, else.
/// `WGPU_DX12_COMPILER` (`fxc`, `dxc`) decides otherwise.
fn dx12() -> wgpu::Dx12BackendOptions {
    wgpu::Dx12BackendOptions { shader_compiler: wgpu::Dx12Compiler::Auto.with_env(), ..Default::default() }
}

/// The GPUs of some backends, in the order in which `gpu:N` counts them: OpenGL last, by type, Vulkan before DX12, else as
/// the system lists them.
fn gpus(backends: wgpu::Backends) -> Vec<Found> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        backend_options: wgpu::BackendOptions { dx12: dx12(), ..Default::default() },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let mut adapters: Vec<_> = adapters.into_iter().map(|adapter| (adapter.get_info(), adapter)).collect();
    adapters.retain(|(info, _)| info.backend != wgpu::Backend::Noop);
    let infos: Vec<_> = adapters.iter().map(|(info, _)| info.clone()).collect();
    adapters.sort_by_key(|(info, _)| place(info, &infos));
    let found = adapters.into_iter().map(|(info, adapter)| {
        let info = DeviceInfo::gpu(&info, &adapter.limits(), adapter.features());
        Found { adapter, info }
    });
    let mut found: Vec<_> = found.collect();
    let infos: Vec<_> = found.iter().map(|gpu| gpu.info.clone()).collect();
    for (number, gpu) in found.iter_mut().enumerate() {
        gpu.info.selector = unique_selector(&infos, number);
    }
    found
}

/// A selector that means this device alone, whatever other backends have.
fn unique_selector(gpus: &[DeviceInfo], number: usize) -> String {
    let selector = format!("{}/{}", gpus[number].short_name(), gpus[number].backend);
    let before = |is_like: &dyn Fn(&DeviceInfo) -> bool| gpus[..number].iter().filter(|other| is_like(other)).count();
    match gpus.iter().filter(|other| other.answers_to(&selector)).count() {
        1 => selector,
        _ if gpus[number].is_hardware() => format!("gpu:{}", before(&DeviceInfo::is_hardware)),
        _ => format!("{selector}:{}", before(&|other| other.answers_to(&selector))),
    }
}

/// The GPU that a selector means: the first that answers to it, or with `:N` behind it the Nth from 0 on. A bare N is
/// `gpu:N`, which counts no software drivers.
fn find(gpus: &[DeviceInfo], selector: &str) -> Option<usize> {
    let text = selector.trim().to_lowercase();
    let numbered = |(text, number): (_, &str)| number.parse().ok().map(|number: usize| (text, number));
    let (text, number) = match text.rsplit_once(':').or((!text.is_empty()).then_some(("gpu", &text))) {
        Some(split) => numbered(split).unwrap_or((&text, 0)),
        None => return None,
    };
    let answers = |gpu: &DeviceInfo| if text == "gpu" { gpu.is_hardware() } else { gpu.answers_to(text) };
    let mut found = gpus.iter().enumerate().filter(|(_, gpu)| answers(gpu));
    found.nth(number).map(|(place, _)| place)
}

fn open(gpu: &Found) -> Result<Device> {
    let least = gpu::required_limits();
    let mut limits = gpu.adapter.limits();
    // On DX12 this one reserves memory up front; the default is plenty.
    limits.max_non_sampler_bindings = least.max_non_sampler_bindings.min(limits.max_non_sampler_bindings);
    let wanted = wgpu::DeviceDescriptor {
        label: Some("rvc-gpu-index"),
        required_features: gpu::required_features() | gpu.adapter.features() & gpu::useful_features(),
        required_limits: limits,
        ..Default::default()
    };
    let refused = |error: wgpu::RequestDeviceError| Error::refused(&gpu.info.selector, error);
    let (device, queue, matrices) = match gpu::matrices::request_device(&gpu.adapter, &wanted) {
        Some((device, queue, matrices)) => (device, queue, Some(matrices)),
        None => {
            let (device, queue) = pollster::block_on(gpu.adapter.request_device(&wanted)).map_err(refused)?;
            (device, queue, None)
        }
    };
    let gpu_engine = gpu::Gpu::new(device, queue, matrices)?;
    gpu_engine.watch();
    let engine = Engine::Gpu(Arc::new(gpu_engine));
    Ok(Device { engine, info: Arc::new(gpu.info.clone()) })
}

/// What `auto` takes and why.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The device's selector.
    pub selector: String,
    /// Why this one.
    pub reason: String,
}

/// All devices here, the CPU engine last, and the one that `auto` takes.
pub fn list() -> (Vec<DeviceInfo>, Choice) {
    let gpus = gpus(wgpu::Backends::all());
    let (_, choice) = best_of(&gpus);
    let mut infos: Vec<_> = gpus.into_iter().map(|gpu| gpu.info).collect();
    infos.push(DeviceInfo::cpu());
    (infos, choice)
}

pub(super) fn auto() -> Device {
    best_of(&gpus(PRIMARY)).0
}

fn best_of(gpus: &[Found]) -> (Device, Choice) {
    let hardware = |gpu: &&Found| gpu.info.device_type <= DeviceType::IntegratedGpu && gpu.info.backend != "gl";
    let mut refused = String::new();
    for gpu in gpus.iter().filter(hardware) {
        match open(gpu) {
            Ok(device) => {
                let kind = if gpu.info.device_type == DeviceType::DiscreteGpu { "discrete" } else { "integrated" };
                let reason = format!("the first {kind} GPU{refused}");
                return (device, Choice { selector: gpu.info.selector.clone(), reason });
            }
            Err(error) => refused.push_str(&format!("; {} failed: {error}", gpu.info.selector)),
        }
    }
    let reason = if !refused.is_empty() {
        format!("no GPU could be used{refused}")
    } else if gpus.is_empty() {
        "no GPU driver was found".into()
    } else {
        "no discrete or integrated GPU was found; software drivers and OpenGL are used only when named".into()
    };
    (Device::cpu(), Choice { selector: "cpu".into(), reason })
}

pub(super) fn gpu(selector: &str) -> Result<Device> {
    let mut infos = Vec::new();
    for backends in [PRIMARY, wgpu::Backends::all()] {
        let gpus = gpus(backends);
        infos = gpus.iter().map(|gpu| gpu.info.clone()).collect();
        if let Some(number) = find(&infos, selector) {
            return open(&gpus[number]);
        }
    }
    Err(Error::NoDevice { selector: selector.into(), available: available(&infos) })
}

fn available(gpus: &[DeviceInfo]) -> String {
    let mut lines = vec!["  auto  the best GPU, else the CPU engine".to_string(), "  cpu  the CPU engine".into()];
    lines.extend(gpus.iter().map(|gpu| format!("  {}  {} ({})", gpu.selector, gpu.name, gpu.backend)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, backend: &'static str, device_type: DeviceType) -> DeviceInfo {
        DeviceInfo { name: name.into(), backend: backend.into(), device_type, ..DeviceInfo::cpu() }
    }

    fn machine() -> Vec<DeviceInfo> {
        use DeviceType::*;
        vec![
            device("NVIDIA GeForce RTX 4090", "vulkan", DiscreteGpu),
            device("NVIDIA GeForce RTX 4090", "vulkan", DiscreteGpu),
            device("AMD Radeon Graphics (RADV RAPHAEL)", "vulkan", IntegratedGpu),
            device("llvmpipe (LLVM 15.0.6, 256 bits)", "vulkan", SoftwareGpu),
            device("llvmpipe (LLVM 15.0.6, 256 bits)", "gl", SoftwareGpu),
        ]
    }

    #[test]
    fn a_printed_selector_means_its_device_alone() {
        let gpus = machine();
        let selectors: Vec<_> = (0..gpus.len()).map(|number| unique_selector(&gpus, number)).collect();
        assert_eq!(selectors, ["gpu:0", "gpu:1", "amd/vulkan", "llvmpipe/vulkan", "llvmpipe/gl"]);
        for (number, selector) in selectors.iter().enumerate() {
            assert_eq!(find(&gpus, selector), Some(number), "{selector}");
        }
    }

    #[test]
    fn selectors_find_by_kind_number_name_and_backend() {
        let gpus = machine();
        for (selector, expected) in [
            ("gpu", Some(0)),
            ("gpu:2", Some(2)),
            ("gpu:3", None),
            ("1", Some(1)),
            ("3", None),
            ("15", None),
            ("256", None),
            ("15.0.6", None),
            ("99999999999999999999999", None),
            ("vulkan", Some(0)),
            ("rtx:1", Some(1)),
            ("llvmpipe:1", Some(4)),
            ("llvmpipe:2", None),
            ("gpu:x", None),
            ("gpu:-1", None),
            ("RTX", Some(0)),
            (" radv ", Some(2)),
            ("GL", None),
            ("llvm", Some(3)),
            ("pipe", None),
            ("llvmpipe", Some(3)),
            ("", None),
            ("metal", None),
        ] {
            assert_eq!(find(&gpus, selector), expected, "{selector:?}");
        }
        // A software driver is no answer to a request for a GPU, or for anything that is not its name.
        for selector in ["gpu", "gpu:0", "0", "1", "5", "256", "vulkan", "gl", "l", "(", "/"] {
            assert_eq!(find(&gpus[3..], selector), None, "{selector}");
        }
        let twice = [gpus[3].clone(), gpus[3].clone()];
        for number in 0..2 {
            let selector = unique_selector(&twice, number);
            assert_eq!((find(&twice, &selector), selector), (Some(number), format!("llvmpipe/vulkan:{number}")));
        }
    }
}
