//! Pipelines: a kernel compiled for a device, and its dispatches.

use std::borrow::Cow;

use super::Gpu;
use super::kernel::{Binding, GpuKernel};
use super::pipeline_cache::PipelineCache;
use crate::error::Result;

/// A kernel compiled for one device: a pipeline an entry point, all over one bind group layout.
#[derive(Debug)]
pub(super) struct Pipelines<const N: usize> {
    layout: wgpu::BindGroupLayout,
    entries: [wgpu::ComputePipeline; N],
}

impl<const N: usize> Pipelines<N> {
    pub fn new(gpu: &Gpu, kernel: &GpuKernel, entries: [&str; N]) -> Result<Self> {
        let device = &gpu.device;
        let cache = gpu.pipelines.get_or_init(|| PipelineCache::open(gpu)).as_ref();
        gpu.guarded(kernel.name, || {
            let layout = bind_group_layout(device, kernel);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel.name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(source_of(kernel)),
            });
            let entries = entries.map(|entry| {
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(kernel.name),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: kernel.constants,
                        // Every kernel writes workgroup memory before it reads it.
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: cache.map(PipelineCache::driver),
                })
            });
            Self { layout, entries }
        })
    }

    /// A dispatch of entry point number `entry`, to be recorded as often as wanted.
    pub fn step(&self, entry: usize, bindings: &wgpu::BindGroup, grid: [u32; 3]) -> Step {
        Step { pipeline: self.entries[entry].clone(), bindings: bindings.clone(), grid }
    }

    /// Binds buffers in the order of the kernel's bindings.
    pub fn bind(&self, gpu: &Gpu, buffers: &[&wgpu::Buffer]) -> Result<wgpu::BindGroup> {
        let entries: Vec<_> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        gpu.guarded("bind", || {
            gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &self.layout,
                entries: &entries,
            })
        })
    }
}

/// One dispatch with its buffers bound.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Step {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
    }
}

#[cfg(not(test))]
fn source_of(kernel: &GpuKernel) -> Cow<'static, str> {
    kernel.source.into()
}

/// As it is, or broken on purpose.
#[cfg(test)]
fn source_of(kernel: &GpuKernel) -> Cow<'static, str> {
    match broken::SWAP.get() {
        Some((name, from, to)) if name == kernel.name => kernel.source.replace(from, to).into(),
        _ => kernel.source.into(),
    }
}

fn bind_group_layout(device: &wgpu::Device, kernel: &GpuKernel) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = kernel
        .bindings
        .iter()
        .zip(0..)
        .map(|(kind, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match kind {
                    Binding::Uniform => wgpu::BufferBindingType::Uniform,
                    Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Binding::Write => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries })
}

/// Kernels that compute wrong, to see that it is found out.
#[cfg(test)]
pub(crate) mod broken {
    use std::cell::Cell;

    thread_local! {
        /// The kernel that this thread compiles with one text in the place of another.
        pub(crate) static SWAP: Cell<Option<(&'static str, &'static str, &'static str)>> = const { Cell::new(None) };
    }
}
