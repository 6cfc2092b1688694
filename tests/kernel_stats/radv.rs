//! RADV's null device: WGSL in, the compiler's statistics out. It can compile, and nothing else.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use ash::ext::robustness2;
use ash::khr::{cooperative_matrix, pipeline_executable_properties};
use ash::vk;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module};
use rvc_gpu_index::device::GpuKernel;

use super::isa::Turn;
use super::{COLUMNS, Row};

type Figures = [u64; COLUMNS.len()];
type Result<T> = std::result::Result<T, String>;

/// Prefixes of the machine instructions that are counted.
const COUNTED: [&[&str]; 4] = [
    &["v_fma", "v_fmac", "v_pk_fma", "v_dual_fmac", "v_mac", "v_mad", "v_dot", "v_wmma"],
    &["ds_"],
    &["buffer_", "global_"],
    &["s_cbranch", "s_branch"],
];

/// The driver, loaded for one chip. It is used once and lives as long as its process, so nothing is destroyed.
pub struct Compiler {
    _entry: ash::Entry,
    device: ash::Device,
    properties: pipeline_executable_properties::Device,
    /// Sizes of its cooperative matrices of 16-bit floats with sums of 32 bits.
    matrices: Vec<u32>,
}

impl Compiler {
    pub fn new() -> Result<Self> {
        // SAFETY: plain Vulkan calls in the order that the specification asks for; all handles live as long as the process.
        unsafe {
            let entry = ash::Entry::load().map_err(text)?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&app);
            let instance = entry.create_instance(&info, None).map_err(text)?;
            let physical = *instance.enumerate_physical_devices().map_err(text)?.first().ok_or("no RADV device")?;
            let matrices = matrices(&entry, &instance, physical)?;
            let has_matrices = !matrices.is_empty();
            let mut extensions = vec![pipeline_executable_properties::NAME, robustness2::NAME];
            extensions.extend(has_matrices.then_some(cooperative_matrix::NAME));
            let extensions: Vec<_> = extensions.into_iter().map(CStr::as_ptr).collect();
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut memory_model = vk::PhysicalDeviceVulkan12Features::default()
                .vulkan_memory_model(true)
                .vulkan_memory_model_device_scope(true)
                .shader_float16(has_matrices);
            let mut halves =
                vk::PhysicalDevice16BitStorageFeatures::default().storage_buffer16_bit_access(has_matrices);
            let mut multiplied = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let features = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&features)
                .push_next(&mut executable)
                .push_next(&mut memory_model)
                .push_next(&mut robustness)
                .push_next(&mut halves);
            if has_matrices {
                info = info.push_next(&mut multiplied);
            }
            let device = instance.create_device(physical, &info, None).map_err(text)?;
            let properties = pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Self { _entry: entry, device, properties, matrices })
        }
    }

    /// True where the chip, and the driver, have the matrices that a kernel multiplies.
    pub fn can_compile(&self, kernel: &GpuKernel) -> bool {
        kernel.matrices.is_none_or(|size| self.matrices.contains(&size))
    }

    /// Compiles every entry point of a kernel.
    pub fn rows(&self, kernel: &GpuKernel) -> Result<Vec<Row>> {
        let module = naga::front::wgsl::parse_str(kernel.source).map_err(text)?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).map_err(text)?;
        let constants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants).map_err(text)?;
        let layout = self.layout(&module)?;
        let row = |point: &naga::EntryPoint| {
            let figures = self.figures(&module, &info, &point.name, layout)?;
            Ok(Row { kernel: kernel.name.into(), entry: point.name.clone(), figures })
        };
        module.entry_points.iter().map(row).collect()
    }

    fn figures(&self, module: &Module, info: &ModuleInfo, entry: &str, layout: vk::PipelineLayout) -> Result<Figures> {
        let spirv = spirv(module, info, entry)?;
        let name = CString::new(entry).map_err(text)?;
        // SAFETY: the device lives, and what is handed over outlives the calls.
        let (statistics, code) = unsafe {
            let shader = vk::ShaderModuleCreateInfo::default().code(&spirv);
            let shader = self.device.create_shader_module(&shader, None).map_err(text)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shader)
                .name(&name);
            let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout);
            let pipelines = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let pipeline =
                vk::PipelineExecutableInfoKHR::default().pipeline(pipelines.map_err(|(_, error)| text(error))?[0]);
            let mut statistics = BTreeMap::new();
            for statistic in self.properties.get_pipeline_executable_statistics(&pipeline).map_err(text)? {
                let name = CStr::from_ptr(statistic.name.as_ptr()).to_string_lossy().into_owned();
                statistics.insert(name, statistic.value.u64);
            }
            (statistics, self.machine_code(&pipeline)?)
        };
        let of = |name: &str| statistics.get(name).copied().unwrap_or_default();
        let count = |prefixes: &[&str]| {
            let counts = |line: &&str| prefixes.iter().any(|prefix| line.trim_start().starts_with(prefix));
            code.lines().filter(counts).count() as u64
        };
        let [fma, lds, vmem, branch] = COUNTED.map(count);
        let share = Turn::of_product(&code).percent();
        let spilled = of("Spilled VGPRs") + of("Spilled SGPRs");
        let (registers, waves) = (of("VGPRs"), of("Subgroups per SIMD"));
        Ok([registers, waves, spilled, of("LDS size"), of("Inverse Throughput"), fma, lds, vmem, branch, share])
    }

    fn layout(&self, module: &Module) -> Result<vk::PipelineLayout> {
        let bindings: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| Some((variable.binding.as_ref()?.binding, variable.space)))
            .map(|(binding, space)| {
                let kind = match space {
                    AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                    _ => vk::DescriptorType::STORAGE_BUFFER,
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the device lives, and what is handed over outlives the calls.
        unsafe {
            let sets = [self.device.create_descriptor_set_layout(&set, None).map_err(text)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            self.device.create_pipeline_layout(&layout, None).map_err(text)
        }
    }

    /// The driver's disassembly: the last representation that it hands out.
    unsafe fn machine_code(&self, pipeline: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String> {
        let read = self.properties.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.properties.device();
        let mut count = 0;
        // SAFETY: asked twice as the extension wants it, for sizes first, then with buffers of these sizes.
        unsafe {
            read(device, pipeline, &mut count, std::ptr::null_mut()).result().map_err(text)?;
            let mut found = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            read(device, pipeline, &mut count, found.as_mut_ptr()).result().map_err(text)?;
            let mut texts: Vec<Vec<u8>> = found.iter().map(|one| vec![0; one.data_size]).collect();
            for (one, text) in found.iter_mut().zip(&mut texts) {
                one.p_data = text.as_mut_ptr().cast();
            }
            read(device, pipeline, &mut count, found.as_mut_ptr()).result().map_err(text)?;
            Ok(texts.pop().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default())
        }
    }
}

/// What [`Compiler::matrices`] holds.
unsafe fn matrices(entry: &ash::Entry, instance: &ash::Instance, chip: vk::PhysicalDevice) -> Result<Vec<u32>> {
    // SAFETY: the handles live.
    let there = unsafe { instance.enumerate_device_extension_properties(chip).map_err(text)? };
    if !there.iter().any(|one| one.extension_name_as_c_str() == Ok(cooperative_matrix::NAME)) {
        return Ok(Vec::new());
    }
    let asked = cooperative_matrix::Instance::new(entry, instance);
    // SAFETY: the handles live, and the extension is there.
    let found = unsafe { asked.get_physical_device_cooperative_matrix_properties(chip).map_err(text)? };
    let (half, float) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
    let of_halves = found.iter().filter(|one| {
        [one.m_size, one.n_size] == [one.k_size; 2]
            && [one.a_type, one.b_type, one.c_type, one.result_type] == [half, half, float, float]
    });
    Ok(of_halves.map(|one| one.k_size).collect())
}

/// As wgpu has it translated for a driver that checks buffers' bounds itself: other indices are clamped, loops bounded.
fn spirv(module: &Module, info: &ModuleInfo, entry: &str) -> Result<Vec<u32>> {
    let options = spv::Options {
        lang_version: (1, 6),
        force_loop_bounding: true,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            ..BoundsCheckPolicies::default()
        },
        ..Default::default()
    };
    let point = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.into() };
    spv::write_vec(module, info, &options, Some(&point)).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
