//! Pipelines: a kernel compiled for a device, and its dispatches.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use super::Gpu;
use super::kernel::{Binding, GpuKernel};
use super::pipeline_cache::PipelineCache;
use crate::error::{Error, Result};

/// A kernel compiled for one device: a pipeline an entry point, all over one bind group layout.
#[derive(Debug)]
pub(super) struct Pipelines<const N: usize> {
    layout: wgpu::BindGroupLayout,
    entries: [wgpu::ComputePipeline; N],
}

impl<const N: usize> Pipelines<N> {
    /// A kernel that was refused before is not compiled again.
    pub fn new(gpu: &Gpu, kernel: &'static GpuKernel, entries: [&str; N]) -> Result<Self> {
        gpu.refusals.check(kernel)?;
        Self::compile(gpu, kernel, entries).inspect_err(|error| gpu.refusals.note(kernel, error))
    }

    fn compile(gpu: &Gpu, kernel: &GpuKernel, entries: [&str; N]) -> Result<Self> {
        let device = &gpu.device;
        let cache = gpu.pipelines.get_or_init(|| PipelineCache::open(gpu)).as_ref();
        let (layout, pipeline_layout, module) = gpu.guarded(kernel.name, || {
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
            (layout, pipeline_layout, module)
        })?;
        let pipeline = |entry: &str| {
            let descriptor = wgpu::ComputePipelineDescriptor {
                label: Some(kernel.name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: kernel.constants,
                    // Every kernel writes workgroup memory before it reads it, and FXC takes minutes over the zeros.
                    zero_initialize_workgroup_memory: false,
                },
                cache: cache.map(PipelineCache::driver),
            };
            gpu.guarded(&format!("{}::{entry}", kernel.name), || device.create_compute_pipeline(&descriptor))
        };
        let compiled = entries.into_iter().map(pipeline).collect::<Result<Vec<_>>>()?;
        gpu.check_lost()?; // of which no error scope tells
        let entries = compiled.try_into().unwrap_or_else(|_| unreachable!("a pipeline an entry point"));
        Ok(Self { layout, entries })
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

/// Kernels that the driver refused, and the error that each is answered with from then on.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Vec<Refusal>>);

#[derive(Clone, Debug)]
struct Refusal {
    kernel: &'static str,
    label: String,
    message: String,
}

impl Refusals {
    fn check(&self, kernel: &GpuKernel) -> Result<()> {
        let before = self.list().into_iter().find(|refusal| refusal.kernel == kernel.name);
        before.map_or(Ok(()), |Refusal { label, message, .. }| Err(Error::Validation { label, message }))
    }

    fn note(&self, kernel: &GpuKernel, error: &Error) {
        if let Error::Validation { label, message } = error {
            let refusal = Refusal { kernel: kernel.name, label: label.clone(), message: message.clone() };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(refusal);
        }
    }

    fn list(&self) -> Vec<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kernel, entry point and the driver's words, a line each.
    pub fn lines(&self) -> Vec<String> {
        let line = |Refusal { label, message, .. }: Refusal| {
            format!("{label}: {}", message.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        self.list().into_iter().map(line).collect()
    }
}

/// The first of a stage's variants that the driver does not refuse.
pub(super) fn first_taken<V, T>(
    first: V,
    others: impl IntoIterator<Item = V>,
    make: impl Fn(V) -> Result<T>,
) -> Result<T> {
    let mut others = others.into_iter();
    let mut made = make(first);
    while let Err(Error::Validation { .. }) = made {
        let Some(other) = others.next() else { break };
        made = make(other);
    }
    made
}

/// Nothing where what was tried is refused here or does not fit; what is wrong with the device itself stays an error.
pub(super) fn if_possible<T>(tried: Result<T>) -> Result<Option<T>> {
    match tried {
        Err(error @ (Error::OutOfMemory { .. } | Error::DeviceLost { .. })) => Err(error),
        other => Ok(other.ok()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Method, Shares, Tile};
    use crate::factory::Metric;

    /// What a device makes of a kernel that lacks an entry point.
    fn without(kernel: &'static str, entry: &'static str, run: impl FnOnce(&Device)) {
        let Ok(device) = Device::gpu("llvmpipe/vulkan") else {
            eprintln!("no llvmpipe here: no kernel was refused");
            return;
        };
        broken::SWAP.set(Some((kernel, entry, "another(")));
        run(&device);
        broken::SWAP.set(None);
        let refused = device.refused();
        let label = format!("{kernel}::{}: ", entry.trim_end_matches('('));
        assert!(refused.len() == 1 && refused[0].starts_with(&label), "{refused:?}");
    }

    fn some(rows: usize) -> Vec<f32> {
        (0..rows * 128).map(|i| ((i / 128 * 7 + i % 5 * 31) % 101) as f32).collect()
    }

    #[test]
    fn a_refused_tile_is_gone_on_without() {
        without("nearest_centroid_l2_128x128", "assign(", |device| {
            let table = device.centroid_table(&some(300), 128, Metric::L2).unwrap();
            let rows = device.upload(&some(200), 128).unwrap();
            let labels = |method| {
                let found = match method {
                    Some(method) => device.nearest_centroid_by(&rows, &table, method)?,
                    None => device.nearest_centroid(&rows, &table)?,
                };
                device.download(&found.labels)
            };
            let expected = labels(Some(Method::Tile(Tile::ALL[2]))).unwrap();
            assert_eq!(labels(None).unwrap(), expected);
            assert_eq!(labels(Some(Method::Sketches(Shares::Floats))).unwrap(), expected);
            assert!(device.tune().is_some_and(|tile| tile != Tile::ALL[0]));
            let asked_for = labels(Some(Method::Tile(Tile::ALL[0]))).unwrap_err().to_string();
            assert!(asked_for.contains("nearest_centroid_l2_128x128::assign"), "{asked_for}");
        });
    }

    #[test]
    fn refused_bounds_are_those_of_another_tile() {
        without("bounds_l2_i8_128x128", "reach(", |device| {
            let table = device.centroid_table(&some(300), 128, Metric::L2).unwrap();
            let rows = device.upload(&some(200), 128).unwrap();
            device.nearest_centroid_by(&rows, &table, Method::Sketches(Shares::Bytes)).unwrap();
        });
    }

    #[test]
    fn probes_are_found_by_the_other_tile() {
        let probes = |device: &Device| {
            let table = device.centroid_table(&some(40), 128, Metric::L2).unwrap();
            let rows = device.upload(&some(20), 128).unwrap();
            device.download(&device.nearest_probes(&rows, &table, 3).unwrap()).unwrap()
        };
        let expected = probes(&Device::cpu());
        without("nearest_probes_64x64", "score(", |device| assert_eq!(probes(device), expected));
    }

    #[test]
    fn the_only_kernel_of_a_stage_is_named() {
        without("l2_normalize", "normalize_rows(", |device| {
            let refused = || device.l2_normalize(&device.upload(&some(2), 128).unwrap()).unwrap_err().to_string();
            let first = refused();
            assert!(first.starts_with("device: refused l2_normalize::normalize_rows: "), "{first}");
            assert_eq!(refused(), first);
        });
    }

    #[test]
    fn only_a_refusal_is_gone_on_without() {
        let refused = || Error::Validation { label: "kernel::entry".into(), message: "no".into() };
        let lost = || Error::DeviceLost { reason: "unplugged".into() };
        let memory = || Error::OutOfMemory { label: "buffer".into() };
        assert_eq!(first_taken(1, [2], |tried| if tried == 1 { Err(refused()) } else { Ok(tried) }).unwrap(), 2);
        assert!(matches!(first_taken(1, [2], |_| Err::<(), _>(refused())), Err(Error::Validation { .. })));
        for fatal in [lost, memory] {
            let tried = std::cell::Cell::new(0);
            let outcome = first_taken(1, [2], |number| {
                tried.set(number);
                Err::<(), _>(fatal())
            });
            assert!(outcome.is_err() && tried.get() == 1);
            assert!(if_possible(Err::<(), _>(fatal())).is_err());
        }
        assert!(if_possible(Err::<(), _>(refused())).unwrap().is_none());
        assert_eq!(if_possible(Ok(3)).unwrap(), Some(3));
    }
}
