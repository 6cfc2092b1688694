//! Every kernel runs wherever WebGPU does: no optional feature, default limits, and a translation for Metal and DX12. Those
//! that multiply cooperative matrices need these and what belongs to them, and DX12 has none.

use naga::back::pipeline_constants::process_overrides;
use naga::back::{hlsl, msl};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module};
use rvc_gpu_index::device::{GpuKernel, gpu_kernels};

use super::{assert_none, sources, words};

/// One entry point by itself, overrides resolved.
struct Entry {
    name: String,
    module: Module,
    info: ModuleInfo,
}

/// What cooperative matrices of 16-bit floats need.
const MATRICES: Capabilities =
    Capabilities::COOPERATIVE_MATRIX.union(Capabilities::SHADER_FLOAT16).union(Capabilities::SUBGROUP);

/// Parses and validates with no optional capability, but those of matrices where a kernel says that it has them.
/// `unpack2x16float` is part of WGSL; naga asks for it because some OpenGL drivers below WebGPU's level lack it.
fn entries(kernel: &GpuKernel) -> Vec<Entry> {
    let module = naga::front::wgsl::parse_str(kernel.source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(kernel.source, kernel.name)));
    let optional = if kernel.matrices.is_some() { MATRICES } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32 | optional)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(kernel.source, kernel.name)));
    let constants = kernel.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let alone = |entry: &naga::EntryPoint| {
        let name = format!("{}::{}", kernel.name, entry.name);
        let (module, info) = process_overrides(&module, &info, Some((entry.stage, &entry.name)), &constants)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Entry { name, module: module.into_owned(), info: info.into_owned() }
    };
    module.entry_points.iter().map(alone).collect()
}

#[test]
fn kernels_translate_to_metal() {
    // The first version with matrices.
    let options = msl::Options { lang_version: (2, 3), ..Default::default() };
    for Entry { name, module, info } in gpu_kernels().into_iter().flat_map(entries) {
        let (_, written) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
    }
}

#[test]
fn kernels_translate_to_dx12() {
    let portable = gpu_kernels().into_iter().filter(|kernel| kernel.matrices.is_none());
    for Entry { name, module, info } in portable.flat_map(entries) {
        let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
        let written = hlsl::Writer::new(&mut String::new(), &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
    }
}

#[test]
fn kernels_keep_to_the_default_limits() {
    let limits = wgpu::Limits::defaults();
    let mut breaches = Vec::new();
    let mut check = |name: &str, what: &str, need: u32, have: u32| {
        if need > have {
            breaches.push(format!("{name}: {what}: {need}, WebGPU promises {have}"));
        }
    };
    for kernel in gpu_kernels() {
        for Entry { name, module, info } in entries(kernel) {
            let invocations = module.entry_points[0].workgroup_size.iter().product();
            check(&name, "invocations", invocations, limits.max_compute_invocations_per_workgroup);
            let memory = workgroup_memory(&module, &info);
            check(&name, "bytes of workgroup memory", memory, limits.max_compute_workgroup_storage_size);
        }
        // All entry points of a kernel share one bind group layout, so its bindings count together.
        let module = naga::front::wgsl::parse_str(kernel.source).expect("was parsed above");
        let is_storage = |space: &AddressSpace| matches!(space, AddressSpace::Storage { .. });
        let storage = module.global_variables.iter().filter(|(_, global)| is_storage(&global.space)).count() as u32;
        check(kernel.name, "storage buffers", storage, limits.max_storage_buffers_per_shader_stage);
    }
    assert_none(&breaches);
}

/// Bytes of workgroup memory that the only entry point uses, counted as WebGPU does: each variable in whole 16 bytes.
fn workgroup_memory(module: &Module, info: &ModuleInfo) -> u32 {
    let used = info.get_entry_point(0);
    let globals = module.global_variables.iter();
    globals
        .filter(|(handle, global)| global.space == AddressSpace::WorkGroup && !used[*handle].is_empty())
        .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()).next_multiple_of(16))
        .sum()
}

#[test]
fn shader_files_are_all_used() {
    let mut breaches = Vec::new();
    for file in sources("shaders", "wgsl") {
        let shared = file.path.starts_with("shaders/shared/");
        // WGSL has `enable` stand before all else.
        let first = !shared || file.code().any(|(_, code)| code.starts_with("enable "));
        let used = gpu_kernels().iter().any(|kernel| match kernel.source.split_once(&file.text) {
            Some((before, _)) => before.is_empty() == first,
            None => false,
        });
        if !used {
            breaches.push(format!("{}: in no kernel, or not where its folder says", file.path));
        }
        let has_entry = file.code().any(|(_, code)| words(&code).any(|word| word == "compute"));
        if has_entry == shared {
            breaches.push(format!("{}: stages have entry points, shared parts have none", file.path));
        }
    }
    assert_none(&breaches);
}
