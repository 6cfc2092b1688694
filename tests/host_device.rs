//! A host that made its own wgpu device lends it to the engine.

use pollster::block_on;
use rvc_gpu_index::device::{Device, required_features, required_limits};
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::index::{Index, SearchParams, Searcher};
use rvc_gpu_index::{Error, wgpu};

/// The first adapter here, with a device made the way a host would; none on a machine without any driver.
fn host(limits: wgpu::Limits) -> Option<(wgpu::AdapterInfo, wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters.into_iter().find(|adapter| adapter.get_info().backend != wgpu::Backend::Noop)?;
    let request = wgpu::DeviceDescriptor {
        required_features: required_features(),
        required_limits: limits,
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&request)).expect("WebGPU's default limits");
    Some((adapter.get_info(), device, queue))
}

#[test]
fn searches_on_the_device_of_a_host() {
    let Some((info, device, queue)) = host(required_limits()) else { return };
    let device = Device::from_wgpu(&info, device, queue).unwrap();
    let rows: Vec<f32> = (0..100).flat_map(|i| [i as f32, 0.0, 1.0]).collect();
    let searcher = Searcher::new(Index::flat(3, Metric::L2, rows).unwrap(), &device).unwrap();
    let found = searcher.search(&[41.9, 0.0, 1.0], 2, &SearchParams::default()).unwrap();
    assert_eq!(found.ids, [42, 41]);
}

#[test]
fn several_threads_share_a_searcher() {
    let Some((info, device, queue)) = host(required_limits()) else { return };
    let device = Device::from_wgpu(&info, device, queue).unwrap();
    let rows: Vec<f32> = (0..500).map(|i| i as f32).collect();
    let searcher = Searcher::new(Index::flat(1, Metric::L2, rows).unwrap(), &device).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let searcher = &searcher;
            scope.spawn(move || {
                for i in 0..20 {
                    let id = thread * 100 + i;
                    assert_eq!(searcher.search(&[id as f32], 1, &SearchParams::default()).unwrap().ids, [id]);
                }
            });
        }
    });
}

#[test]
fn a_device_with_too_small_limits_is_refused() {
    let Some((info, device, queue)) = host(wgpu::Limits::downlevel_webgl2_defaults()) else { return };
    let refused = Device::from_wgpu(&info, device, queue).unwrap_err();
    assert!(matches!(refused, Error::LimitTooSmall { .. }), "{refused}");
}

#[test]
fn buffers_of_another_device_are_refused() {
    let Some((info, device, queue)) = host(required_limits()) else { return };
    let gpu = Device::from_wgpu(&info, device, queue).unwrap();
    let Some((info, device, queue)) = host(required_limits()) else { return };
    let other_gpu = Device::from_wgpu(&info, device, queue).unwrap();
    for other in [Device::cpu(), other_gpu] {
        let table = other.centroid_table(&[1.0, 2.0], 1, Metric::L2).unwrap();
        let refused = gpu.nearest_centroid(&gpu.upload(&[1.0], 1).unwrap(), &table).unwrap_err();
        assert!(matches!(refused, Error::ForeignBuffer { .. }), "{refused}");
    }
}
