//! A small inference host: it owns the GPU, computes frames there, has them blended with a voice and computes on with
//! the blends, all in one submission and without a copy to the CPU in between.
//!
//! ```text
//! cargo run --release --example gpu_host [PART OF AN ADAPTER'S NAME]
//! ```
//!
//! It runs on every adapter that is there, or on those that are named, and checks each result against the CPU engine.

use std::error::Error;
use std::process::ExitCode;

use pollster::block_on;
use rvc_gpu_index::device::{Device, RowFormat, required_features, required_limits};
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::index::{Index, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender, LiveParams, LiveVoice};
use rvc_gpu_index::wgpu;
use wgpu::util::DeviceExt;

const DIM: usize = 256;
const ROWS: usize = 3000;
/// Frames of one block of sound.
const FRAMES: usize = 16;
const GAIN: f32 = 0.5;

/// The host's own kernels, standing for the networks before and after retrieval: `encode` makes frames of what came in,
/// `decode` one value of each blended frame.
const KERNELS: &str = "
@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> target_values: array<f32>;

@compute @workgroup_size(64)
fn encode(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x < arrayLength(&target_values) { target_values[id.x] = 0.5 * source[id.x]; }
}

@compute @workgroup_size(64)
fn decode(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x >= arrayLength(&target_values) { return; }
  var sum = 0.0;
  for (var i = 0u; i < 256u; i++) { sum += source[id.x * 256u + i]; }
  target_values[id.x] = sum;
}
";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default().to_lowercase();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let named = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        info.backend != wgpu::Backend::Noop && info.name.to_lowercase().contains(&wanted)
    };
    let adapters: Vec<_> = adapters.into_iter().filter(named).collect();
    let mut failed = adapters.is_empty();
    if failed {
        eprintln!("no adapter here has {wanted:?} in its name");
    }
    for adapter in adapters {
        let info = adapter.get_info();
        let outcome = run(&adapter);
        failed |= outcome.is_err();
        match outcome {
            Ok(worst) => println!("{} ({}): right to {worst:.1e}", info.name, info.backend),
            Err(error) => eprintln!("{} ({}): {error}", info.name, info.backend),
        }
    }
    ExitCode::from(u8::from(failed))
}

/// One block of sound on one adapter: the greatest relative error against the CPU engine.
fn run(adapter: &wgpu::Adapter) -> Outcome<f32> {
    // The host makes the device, with what it needs itself and what the engine asks for.
    let request = wgpu::DeviceDescriptor {
        required_features: required_features(),
        required_limits: required_limits().or_better_values_from(&adapter.limits()),
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&request))?;

    // It lends the device, and puts a voice there once.
    let lent = Device::from_wgpu(&adapter.get_info(), device.clone(), queue.clone())?;
    let index = Index::flat(DIM, Metric::L2, voice())?;
    let plan = LiveVoice::new(index.clone(), &lent, RowFormat::F32)?.plan(&LiveParams::new(FRAMES))?;

    // Its own buffers and passes. The engine copies from `frames` and to `blended`.
    let input = input();
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let source = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("input"),
        contents: bytemuck::cast_slice(&input),
        usage: storage,
    });
    let buffer = |label, values: usize, usage| {
        let (label, size) = (Some(label), 4 * values as u64);
        device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    };
    let (frames, blended) = (buffer("frames", FRAMES * DIM, storage), buffer("blended", FRAMES * DIM, storage));
    let output = buffer("output", FRAMES, storage);
    let answer = buffer("answer", FRAMES, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let before = pass(&device, "encode", &source, &frames);
    let after = pass(&device, "decode", &blended, &output);

    // A call: everything goes into one encoder and one submission.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    record(&mut encoder, &before, FRAMES * DIM);
    plan.encode_blend(&mut encoder, &frames, &blended, None)?;
    record(&mut encoder, &after, FRAMES);
    encoder.copy_buffer_to_buffer(&output, 0, &answer, 0, answer.size());
    queue.submit([encoder.finish()]);

    answer.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let found: Vec<f32> = bytemuck::pod_collect_to_vec(&answer.get_mapped_range(..)?);
    check(&found, &index, &input)
}

type Pass = (wgpu::ComputePipeline, wgpu::BindGroup);

fn pass(device: &wgpu::Device, entry: &str, from: &wgpu::Buffer, to: &wgpu::Buffer) -> Pass {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(entry),
        source: wgpu::ShaderSource::Wgsl(KERNELS.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: None,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
        ],
    });
    (pipeline, bindings)
}

fn record(encoder: &mut wgpu::CommandEncoder, (pipeline, bindings): &Pass, values: usize) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, bindings, &[]);
    pass.dispatch_workgroups(values.div_ceil(64) as u32, 1, 1);
}

/// The same by the CPU engine, and how far the two are apart.
fn check(found: &[f32], index: &Index, input: &[f32]) -> Outcome<f32> {
    let frames: Vec<f32> = input.iter().map(|x| GAIN * x).collect();
    let blender = Blender::new(Searcher::new(index.clone(), &Device::cpu())?);
    let blended = blender.blend(&frames, &BlendParams::default())?;
    let mut worst: f32 = 0.0;
    for (found, frame) in found.iter().zip(blended.frames.chunks_exact(DIM)) {
        let (expected, size) = (frame.iter().sum::<f32>(), frame.iter().map(|x| x.abs()).sum::<f32>());
        worst = worst.max((found - expected).abs() / size);
    }
    if worst > 1e-5 || found.len() != FRAMES {
        return Err(format!("off by {worst:.1e}").into());
    }
    Ok(worst)
}

/// Rows that stand for a voice: a few slow waves, each with its own phase in each dimension.
fn voice() -> Vec<f32> {
    (0..ROWS * DIM).map(|i| wave((i / DIM) as f32, i % DIM)).collect()
}

/// What the host is given: frames of another speaker, before its gain.
fn input() -> Vec<f32> {
    (0..FRAMES * DIM).map(|i| (wave(17.3 * (i / DIM) as f32 + 5.5, i % DIM) + 0.1) / GAIN).collect()
}

fn wave(time: f32, dimension: usize) -> f32 {
    let phase = (dimension * 37 % 101) as f32;
    (0.11 * time + phase).sin() + 0.5 * (0.037 * time * (1 + dimension % 5) as f32 + 2.0 * phase).sin()
}
