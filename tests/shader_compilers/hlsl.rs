//! WGSL as wgpu has it translated for DX12.

use naga::back::hlsl::{BindTarget, BindingMap, Options, PipelineOptions, ShaderModel, Writer};
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{ResourceBinding, ShaderStage};
use rvc_gpu_index::device::{Binding, GpuKernel};

/// HLSL of one entry point, and the name that it has there.
pub fn translate(kernel: &GpuKernel, entry: &str, model: ShaderModel) -> Result<(String, String), String> {
    let module = naga::front::wgsl::parse_str(kernel.source).map_err(text)?;
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(text)?;
    let constants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let point = (ShaderStage::Compute, entry.to_string());
    let (module, info) = process_overrides(&module, &info, Some((point.0, entry)), &constants).map_err(text)?;
    let (options, pipeline) = (options(kernel, model), PipelineOptions { entry_point: Some(point) });
    let mut source = String::new();
    let written = Writer::new(&mut source, &options, &pipeline).write(&module, &info, None).map_err(text)?;
    let name = written.entry_point_names.into_iter().next().ok_or("no entry point was written")?.map_err(text)?;
    Ok((source, name))
}

/// Registers are counted as wgpu lays out a root signature: the bindings of each kind from 0 on, and behind the uniform
/// buffers the constants that tell a kernel its grid.
fn options(kernel: &GpuKernel, shader_model: ShaderModel) -> Options {
    let mut next = [0; 3];
    let mut binding_map = BindingMap::default();
    for (&kind, binding) in kernel.bindings.iter().zip(0..) {
        let register = &mut next[kind as usize];
        let target = BindTarget { register: *register, ..BindTarget::default() };
        binding_map.insert(ResourceBinding { group: 0, binding }, target);
        *register += 1;
    }
    let grid = BindTarget { register: next[Binding::Uniform as usize], ..BindTarget::default() };
    Options {
        shader_model,
        binding_map,
        fake_missing_bindings: false,
        special_constants_binding: Some(grid),
        zero_initialize_workgroup_memory: false,
        ..Options::default()
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
