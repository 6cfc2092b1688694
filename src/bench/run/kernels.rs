//! Kernels that do nothing but multiply and add, or copy.

use wgpu::util::DeviceExt;

/// Invocations a workgroup.
pub(super) const WORKGROUP: usize = 256;
/// Multiply-adds of four lanes a turn of the loop.
const A_TURN: usize = 32;

const COPY: &str = "
@group(0) @binding(0) var<storage, read_write> to_values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> from_values: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
  let i = id.y * workgroups.x * 256u + id.x;
  if i < arrayLength(&to_values) { to_values[i] = from_values[i]; }
}
";

/// Multiply-adds in `chains` that do not wait for each other. What they are is read from a buffer, and all lanes
/// begin with other values, so that no compiler can spare any.
fn multiply_add(chains: usize) -> String {
    let each = |line: &dyn Fn(usize) -> String| (0..chains).map(line).collect::<String>();
    let declare = each(&|i| format!("  var a{i} = start + vec4<f32>({i}.0 * 4.0);\n"));
    let turn = each(&|i| format!("    a{i} = fma(a{i}, factor, summand);\n")).repeat(A_TURN / chains);
    let sum = (0..chains).map(|i| format!("a{i}")).collect::<Vec<_>>().join(" + ");
    format!(
        "
struct Params {{ factor: f32, summand: f32, never: f32, turns: u32 }}
@group(0) @binding(0) var<storage, read_write> sink: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  let factor = vec4<f32>(params.factor);
  let summand = vec4<f32>(params.summand);
  let start = vec4<f32>(0.0, 1.0, 2.0, 3.0) + f32(id.x);
{declare}
  for (var turn = 0u; turn < params.turns; turn++) {{
{turn}
  }}
  let sum = {sum};
  if dot(sum, vec4<f32>(1.0)) == params.never {{ sink[0] = sum; }}
}}
"
    )
}

/// A kernel with the buffers that it was made for.
pub(super) struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl Kernel {
    pub(super) fn copy(device: &wgpu::Device, from: &wgpu::Buffer, to: &wgpu::Buffer) -> Self {
        Self::new(device, COPY, [to, from])
    }

    /// `turns` of the loop an invocation.
    pub(super) fn multiply_add(device: &wgpu::Device, chains: usize, turns: u32) -> Self {
        let (factor, summand, never) = (0.75f32, 0.25f32, -1e30f32);
        let words = [factor.to_bits(), summand.to_bits(), never.to_bits(), turns];
        let params = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("params"),
            contents: bytemuck::cast_slice(&words),
            usage: wgpu::BufferUsages::STORAGE,
        });
        let sink = buffer(device, "sink", 16, wgpu::BufferUsages::STORAGE);
        Self::new(device, &multiply_add(chains), [&sink, &params])
    }

    /// Floating-point operations of a workgroup of `turns`.
    pub(super) fn flops(turns: u32) -> f64 {
        (2 * 4 * A_TURN * WORKGROUP) as f64 * f64::from(turns)
    }

    fn new(device: &wgpu::Device, source: &str, buffers: [&wgpu::Buffer; 2]) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("ceiling"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("ceiling"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("ceiling"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[0, 1]
                .map(|i| wgpu::BindGroupEntry { binding: i as u32, resource: buffers[i].as_entire_binding() }),
        });
        Self { pipeline, bindings }
    }

    /// Records a pass of so many workgroups.
    pub(super) fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        workgroups: usize,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        const ROW: usize = 32_768;
        let descriptor = wgpu::ComputePassDescriptor { label: Some("ceiling"), timestamp_writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(workgroups.min(ROW) as u32, workgroups.div_ceil(ROW) as u32, 1);
    }
}

pub(super) fn buffer(device: &wgpu::Device, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
}
