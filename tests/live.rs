//! A voice that stays on a GPU: searched and blended with whole, by calls of its own and in a host's commands.

#[path = "common/devices.rs"]
mod devices;
#[path = "common/random.rs"]
mod random;

use pollster::block_on;
use random::random;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::{Device, RowFormat, TopK, required_features, required_limits};
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::{FeatureSource, MemoryRows};
use rvc_gpu_index::index::{Index, IndexRows, InvertedLists, Searcher};
use rvc_gpu_index::retrieval::{BlendParams, Blender, LiveParams, LivePlan, LiveScan, LiveVoice};
use rvc_gpu_index::wgpu;

const DIM: usize = 18;
const ROWS: usize = 420;
const FRAMES: usize = 21;

const KINDS: [&str; 8] = [
    "Flat",
    "IVF6,Flat",
    "PQ9x4fs",
    "IVF6,PQ9x4fsr",
    "PQ9x4fs,RFlat",
    "IVF6,PQ9x4fs,RFlat",
    "L2norm,IVF6,Flat",
    "L2norm,PQ9x4fs,RFlat",
];

fn built(factory: &str, metric: Metric) -> Index {
    let (voice, device) = (random(ROWS * DIM, 1), Device::cpu());
    let rows = MemoryRows::new(&voice, DIM).unwrap();
    let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    index
}

fn gpus() -> Vec<Device> {
    let (devices, missing) = devices::devices();
    assert!(missing.is_empty() || std::env::var_os(devices::DEVICES).is_none(), "{missing:?}");
    devices.into_iter().filter(|device| !device.is_cpu()).collect()
}

/// What a host has.
struct Host {
    instance: wgpu::Instance,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The same device, lent.
    lent: Device,
}

/// Every adapter here, with a device made as a host would: with WebGPU's default limits.
fn hosts() -> Vec<Host> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapters = adapters.into_iter().filter(|adapter| adapter.get_info().backend != wgpu::Backend::Noop);
    let host = |adapter: wgpu::Adapter| {
        let request = wgpu::DeviceDescriptor {
            required_features: required_features(),
            required_limits: required_limits(),
            ..Default::default()
        };
        let (device, queue) = block_on(adapter.request_device(&request)).expect("WebGPU's default limits");
        let lent = Device::from_wgpu(&adapter.get_info(), device.clone(), queue.clone()).unwrap();
        Host { instance: instance.clone(), device, queue, lent }
    };
    adapters.map(host).collect()
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().copied().map(f64::from).collect()
}

fn unit(row: Vec<f64>) -> Vec<f64> {
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.into_iter().map(|x| x / norm).collect()
}

fn squared(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// What a search of all rows should find, and what RVC's formula makes of that, in float64.
struct Expected {
    /// Distances, nearest first.
    distances: Vec<f64>,
    blended: Vec<f64>,
}

fn expected(index: &Index, rows: &[f32], frame: &[f32], k: usize, rate: f64) -> Expected {
    let frame = wide(frame);
    let query = if index.l2norm() && index.refine().is_none() { unit(frame.clone()) } else { frame.clone() };
    let mut near: Vec<(f64, Vec<f64>)> = rows
        .chunks_exact(DIM)
        .map(|row| match index.metric() {
            Metric::L2 => (squared(&query, &wide(row)), wide(row)),
            Metric::InnerProduct => (-query.iter().zip(row).map(|(x, &r)| x * f64::from(r)).sum::<f64>(), wide(row)),
        })
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    near.truncate(k);
    let weights: Vec<f64> = near.iter().map(|(_, row)| squared(&frame, row).powi(-2)).collect();
    let sum: f64 = weights.iter().sum();
    let blended = (0..DIM).map(|i| {
        let drawn: f64 = near.iter().zip(&weights).map(|((_, row), weight)| weight / sum * row[i]).sum();
        rate * drawn + (1.0 - rate) * frame[i]
    });
    let sign = if index.metric() == Metric::L2 { 1.0 } else { -1.0 };
    Expected { blended: blended.collect(), distances: near.iter().map(|(key, _)| sign * key).collect() }
}

#[test]
fn every_kind_of_index_is_searched_whole_and_blended_as_rvc() {
    let frames = random(FRAMES * DIM, 2);
    for (factory, metric) in KINDS.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
        let index = built(factory, metric);
        let mut rows = vec![0.0; ROWS * DIM];
        IndexRows::new(index.clone()).read(0, &mut rows).unwrap();
        for device in gpus() {
            let what = format!("{} {factory} {metric}", device.info().selector);
            let voice = LiveVoice::new(index.clone(), &device, RowFormat::F32).unwrap();
            // 40 · 8 candidates of 420 rows, by codes for each pair of dimensions, miss none here.
            let scans = [LiveScan::Exact, LiveScan::FastScan { k_factor: Some(40.0) }];
            let codes = factory.ends_with("PQ9x4fs,RFlat") && !factory.contains("IVF");
            for scan in scans.into_iter().take(if codes { 2 } else { 1 }) {
                let plan = voice.plan(&LiveParams { scan, ..LiveParams::new(FRAMES) }).unwrap();
                let found = plan.search(&frames).unwrap();
                let blended = plan.blend(&frames).unwrap();
                assert_eq!((blended.passed_through, blended.without_neighbors), (0, 0), "{what}");
                for (i, frame) in frames.chunks_exact(DIM).enumerate() {
                    let expected = expected(&index, &rows, frame, 8, 0.75);
                    for (&x, expected) in found.distances[i * 8..].iter().zip(&expected.distances) {
                        assert!(
                            (f64::from(x) - expected).abs() <= 1e-5 * expected.abs().max(10.0),
                            "{what} {x} {expected}"
                        );
                    }
                    for (&x, expected) in blended.frames[i * DIM..].iter().zip(&expected.blended) {
                        assert!(
                            (f64::from(x) - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                            "{what} {x} {expected}"
                        );
                    }
                }
                assert_eq!(plan.candidates(), matches!(scan, LiveScan::FastScan { .. }).then_some(320));
            }
        }
    }
}

#[test]
fn blends_on_the_device_as_on_the_host() {
    let frames = [&random(FRAMES * DIM, 2)[..], &random(ROWS * DIM, 1)[..5 * DIM]].concat();
    for device in gpus() {
        let index = built("Flat", Metric::L2);
        let blender = Blender::new(Searcher::new(index.clone(), &Device::cpu()).unwrap());
        let voice = LiveVoice::new(index, &device, RowFormat::F32).unwrap();
        for (k, index_rate, power) in [(8, 0.75, 2.0), (1, 1.0, 2.0), (1024, 0.5, 1.5), (8, 0.0, 2.0)] {
            let params = BlendParams { k, index_rate, power, ..BlendParams::default() };
            let on_host = blender.blend(&frames, &params).unwrap();
            let plan = voice.plan(&LiveParams { k, ..LiveParams::new(FRAMES + 5) }).unwrap();
            plan.set_blend(index_rate, power).unwrap();
            let on_device = plan.blend(&frames).unwrap();
            for (x, y) in on_device.frames.iter().zip(&on_host.frames) {
                assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{} {k}: {x} {y}", device.info().selector);
            }
        }
    }
}

#[test]
fn frames_of_nan_pass_through_and_are_counted() {
    for device in gpus() {
        let kinds = ["Flat", "L2norm,Flat", "PQ9x4fs,RFlat", "L2norm,PQ9x4fs,RFlat"];
        for (kind, metric) in kinds.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
            let voice = LiveVoice::new(built(kind, metric), &device, RowFormat::F32).unwrap();
            let scan = if kind.ends_with("RFlat") { LiveScan::FastScan { k_factor: None } } else { LiveScan::Exact };
            let plan = voice.plan(&LiveParams { scan, ..LiveParams::new(5) }).unwrap();
            let mut frames = random(4 * DIM, 3);
            frames[..DIM].fill(f32::NAN);
            frames[2 * DIM] = f32::INFINITY;
            // Fewer frames than planned.
            let (found, blended) = (plan.search(&frames).unwrap(), plan.blend(&frames).unwrap());
            assert_eq!((found.queries(), found.incomplete()), (4, 2), "{kind}");
            assert_eq!((blended.frames.len(), blended.passed_through, blended.without_neighbors), (4 * DIM, 2, 0));
            let same = |frame: usize| {
                let bits = |all: &[f32]| all[frame * DIM..][..DIM].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                bits(&blended.frames) == bits(&frames)
            };
            assert_eq!([same(0), same(1), same(2), same(3)], [true, false, true, false], "{kind}");
        }
    }
}

#[test]
fn ids_are_those_of_the_index() {
    for Host { lent: device, .. } in hosts() {
        let lists = InvertedLists::from_parts(1, &[2, 1], vec![70, 5, 9], vec![7.0, 0.5, 0.9]).unwrap();
        let index = Index::ivf_flat(Metric::L2, vec![0.0, 1.0], 1, lists).unwrap();
        let plan = LiveVoice::new(index, &device, RowFormat::F16).unwrap().plan(&LiveParams::new(1)).unwrap();
        let found = plan.search(&[6.0]).unwrap();
        assert_eq!(found.ids, [70, 9, 5, -1, -1, -1, -1, -1]);
        let nothing = Index::flat(3, Metric::L2, Vec::new()).unwrap();
        let plan = LiveVoice::new(nothing, &device, RowFormat::F32).unwrap().plan(&LiveParams::new(2)).unwrap();
        let blended = plan.blend(&[1.0; 6]).unwrap();
        assert_eq!((blended.frames, blended.without_neighbors), (vec![1.0; 6], 2));
    }
}

/// More rows than one binding of WebGPU's default limits holds.
#[test]
fn rows_spread_over_buffers() {
    for Host { lent: device, .. } in hosts() {
        let (dim, rows) = (64, (128 << 20) / (64 * 4) + 1000);
        let voice = random(rows * dim, 5);
        let index = Index::flat(dim, Metric::L2, voice.clone()).unwrap();
        let plan = LiveVoice::new(index, &device, RowFormat::F32).unwrap().plan(&LiveParams::new(2)).unwrap();
        let numbers = [rows - 3, 17];
        let frames: Vec<f32> =
            numbers.iter().flat_map(|&row| voice[row * dim..][..dim].iter().map(|x| x + 1e-3)).collect();
        let (found, blended) = (plan.search(&frames).unwrap(), plan.blend(&frames).unwrap());
        for (i, &row) in numbers.iter().enumerate() {
            assert_eq!(found.ids[i * 8], row as i64);
            let mut near = blended.frames[i * dim..][..dim].iter().zip(&voice[row * dim..][..dim]);
            assert!(near.all(|(x, y)| (x - y).abs() < 0.01), "{row}");
        }
    }
}

struct HostBuffers {
    frames: wgpu::Buffer,
    rows: wgpu::Buffer,
    distances: wgpu::Buffer,
    blended: wgpu::Buffer,
}

fn buffer(device: &wgpu::Device, values: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let size = 4 * values as u64;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn host_buffers(device: &wgpu::Device, frames: usize, dim: usize, k: usize) -> HostBuffers {
    use wgpu::BufferUsages as Usage;
    HostBuffers {
        frames: buffer(device, frames * dim, Usage::COPY_SRC | Usage::COPY_DST),
        rows: buffer(device, frames * k, Usage::COPY_DST | Usage::MAP_READ),
        distances: buffer(device, frames * k, Usage::COPY_DST | Usage::MAP_READ),
        blended: buffer(device, frames * dim, Usage::COPY_DST | Usage::MAP_READ),
    }
}

fn read<T: bytemuck::Pod>(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Vec<T> {
    buffer.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let values = bytemuck::pod_collect_to_vec(&buffer.get_mapped_range(..).unwrap());
    buffer.unmap();
    values
}

fn encode(plan: &LivePlan, device: &wgpu::Device, queue: &wgpu::Queue, buffers: &HostBuffers) {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    plan.encode_search(&mut encoder, &buffers.frames, &buffers.rows, &buffers.distances).unwrap();
    plan.encode_blend(&mut encoder, &buffers.frames, &buffers.blended, None).unwrap();
    queue.submit([encoder.finish()]);
}

#[test]
fn a_hosts_commands_get_the_same_answers() {
    for Host { device, queue, lent, .. } in hosts() {
        let plan = LiveVoice::new(built("Flat", Metric::L2), &lent, RowFormat::F32)
            .unwrap()
            .plan(&LiveParams::new(4))
            .unwrap();
        let (frames, buffers) = (random(4 * DIM, 9), host_buffers(&device, 4, DIM, 8));
        queue.write_buffer(&buffers.frames, 0, bytemuck::cast_slice(&frames));
        encode(&plan, &device, &queue, &buffers);
        let found = plan.search(&frames).unwrap();
        let rows: Vec<u32> = read(&device, &buffers.rows);
        assert!(rows.iter().zip(&found.ids).all(|(&row, &id)| i64::from(row) == id && row != TopK::NONE));
        assert_eq!(read::<f32>(&device, &buffers.distances), found.distances);
        assert_eq!(read::<f32>(&device, &buffers.blended), plan.blend(&frames).unwrap().frames);
    }
}

#[test]
fn calls_leave_no_buffer_binding_or_pipeline() {
    for Host { instance, device, queue, lent } in hosts() {
        let plan = LiveVoice::new(built("PQ9x4fs,RFlat", Metric::L2), &lent, RowFormat::F16).unwrap();
        let plan = plan.plan(&LiveParams::new(4)).unwrap();
        let (frames, buffers) = (random(4 * DIM, 9), host_buffers(&device, 4, DIM, 8));
        let made = || {
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let report = instance.generate_report().unwrap();
            let hub = report.hub_report();
            [&hub.buffers, &hub.bind_groups, &hub.compute_pipelines].map(|registry| registry.num_allocated)
        };
        let mut counts = Vec::new();
        for _ in 0..20 {
            queue.write_buffer(&buffers.frames, 0, bytemuck::cast_slice(&frames));
            encode(&plan, &device, &queue, &buffers);
            plan.search(&frames).unwrap();
            plan.blend(&frames).unwrap();
            counts.push(made());
        }
        assert!(counts[1..].iter().all(|count| *count == counts[1]), "{counts:?}");
    }
}

#[test]
fn several_threads_share_a_plan() {
    for device in gpus() {
        let voice = LiveVoice::new(built("Flat", Metric::L2), &device, RowFormat::F32).unwrap();
        let plan = voice.plan(&LiveParams { k: 1, index_rate: 1.0, ..LiveParams::new(1) }).unwrap();
        let rows = random(ROWS * DIM, 1);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (plan, rows) = (&plan, &rows);
                scope.spawn(move || {
                    for number in thread * 100..thread * 100 + 10 {
                        let row = &rows[number * DIM..][..DIM];
                        assert_eq!(plan.search(row).unwrap().ids, [number as i64]);
                        assert_eq!(plan.blend(row).unwrap().frames, row);
                    }
                });
            }
        });
    }
}

#[test]
fn what_cannot_be_planned_or_recorded() {
    let refused = LiveVoice::new(built("Flat", Metric::L2), &Device::cpu(), RowFormat::F32).unwrap_err();
    assert!(refused.is_usage() && refused.to_string().contains("Searcher"), "{refused}");
    for Host { device, lent, .. } in hosts() {
        let untrained = Index::new(&"PQ9x4fs".parse::<IndexSpec>().unwrap(), Metric::L2, DIM).unwrap();
        assert!(LiveVoice::new(untrained, &lent, RowFormat::F32).unwrap_err().is_usage());
        let voice = LiveVoice::new(built("PQ9x4fs,RFlat", Metric::L2), &lent, RowFormat::F32).unwrap();
        let good = LiveParams::new(4);
        for (params, said) in [
            (LiveParams { frames: 0, ..good }, "frames: 0"),
            (LiveParams { frames: 4097, ..good }, "frames: 4097"),
            (LiveParams { k: 0, ..good }, "k: 0"),
            (LiveParams { k: 1025, ..good }, "k: 1025"),
            (LiveParams { index_rate: 1.5, ..good }, "index_rate: 1.5"),
            (LiveParams { power: f32::NAN, ..good }, "power: NaN"),
            (LiveParams { scan: LiveScan::FastScan { k_factor: Some(0.5) }, ..good }, "k_factor: 0.5"),
            (LiveParams { scan: LiveScan::FastScan { k_factor: Some(200.0) }, ..good }, "k_factor: 200"),
        ] {
            let error = voice.plan(&params).unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with(said), "{error}");
        }
        let flat = LiveVoice::new(built("Flat", Metric::L2), &lent, RowFormat::F32).unwrap();
        let scan = LiveScan::FastScan { k_factor: None };
        assert!(flat.plan(&LiveParams { scan, ..good }).unwrap_err().to_string().contains("PQMx4fs,RFlat"));

        let plan = flat.plan(&good).unwrap();
        assert!(plan.set_blend(-0.5, 2.0).unwrap_err().is_usage());
        for frames in [&[0.0; DIM + 1][..], &[0.0; 5 * DIM]] {
            assert!(plan.search(frames).unwrap_err().is_usage() && plan.blend(frames).unwrap_err().is_usage());
        }
        let there = host_buffers(&device, 4, DIM, 8);
        let small = host_buffers(&device, 3, DIM, 7);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (frames, blended, said) in [
            (&small.frames, &there.blended, "frames: a buffer of 216 bytes; make it of 288"),
            (&there.frames, &small.blended, "blended: a buffer of 216 bytes"),
            (&there.blended, &there.blended, "frames: a buffer with the usage"),
            (&there.frames, &there.frames, ""),
        ] {
            match plan.encode_blend(&mut encoder, frames, blended, None) {
                Err(error) => assert!(!said.is_empty() && error.to_string().starts_with(said), "{error}"),
                Ok(()) => assert!(said.is_empty(), "{said}"),
            }
        }
        let short = plan.encode_search(&mut encoder, &there.frames, &small.rows, &there.distances).unwrap_err();
        assert!(short.to_string().starts_with("rows: a buffer of 84 bytes; make it of 128"), "{short}");
        let small = plan.encode_blend(&mut encoder, &there.frames, &there.blended, Some(&small.rows));
        assert!(small.is_ok(), "one word a frame is enough");
    }
}
