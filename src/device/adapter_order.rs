//! In which order the GPUs of this machine are listed; `auto` takes the first that can be used.

use wgpu::{AdapterInfo, Backend};

use super::DeviceType;

/// Where an adapter comes among `all`, the lesser the earlier; the system's order holds between equals. OpenGL comes
/// last. A GPU that several backends list goes by its best type, and DX12's entry for a GPU that Vulkan lists, too, comes
/// behind all others of that type: on DX12 kernels are compiled anew by every process, slowly where that is FXC's work.
pub(super) fn place(adapter: &AdapterInfo, all: &[AdapterInfo]) -> (bool, DeviceType, bool) {
    let entries = || all.iter().filter(|other| is_same_gpu(adapter, other));
    let own = DeviceType::of(adapter);
    let best = entries().map(DeviceType::of).fold(own, DeviceType::min);
    let by_vulkan = adapter.backend == Backend::Dx12 && entries().any(|other| other.backend == Backend::Vulkan);
    (adapter.backend == Backend::Gl, best, by_vulkan)
}

/// By their PCI ids. Drivers without such give a device id of 0.
fn is_same_gpu(a: &AdapterInfo, b: &AdapterInfo) -> bool {
    a.device != 0 && (a.vendor, a.device) == (b.vendor, b.device)
}

#[cfg(test)]
mod tests {
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other};

    use super::*;

    fn adapter(name: &str, device: u32, device_type: wgpu::DeviceType, backend: Backend) -> AdapterInfo {
        AdapterInfo { name: name.into(), vendor: 0x10de, device, ..AdapterInfo::new(device_type, backend) }
    }

    fn ordered(mut adapters: Vec<AdapterInfo>) -> Vec<String> {
        let all = adapters.clone();
        adapters.sort_by_key(|adapter| place(adapter, &all));
        adapters.into_iter().map(|adapter| format!("{}/{:?}", adapter.name, adapter.backend)).collect()
    }

    #[test]
    fn vulkan_comes_before_dx12_for_the_same_gpu() {
        let machine = vec![
            adapter("integrated", 2, IntegratedGpu, Backend::Dx12),
            adapter("card", 1, DiscreteGpu, Backend::Dx12),
            adapter("WARP", 3, Cpu, Backend::Dx12),
            adapter("card", 0, DiscreteGpu, Backend::Gl),
            adapter("integrated", 2, IntegratedGpu, Backend::Vulkan),
            adapter("card", 1, DiscreteGpu, Backend::Vulkan),
        ];
        let expected = ["card/Vulkan", "card/Dx12", "integrated/Vulkan", "integrated/Dx12", "WARP/Dx12", "card/Gl"];
        assert_eq!(ordered(machine), expected);
    }

    #[test]
    fn a_gpu_goes_by_its_best_type() {
        // A translation layer does not say what the card is.
        let machine = vec![
            adapter("card", 1, DiscreteGpu, Backend::Dx12),
            adapter("integrated", 2, IntegratedGpu, Backend::Vulkan),
            adapter("card", 1, Other, Backend::Vulkan),
        ];
        assert_eq!(ordered(machine), ["card/Vulkan", "card/Dx12", "integrated/Vulkan"]);
    }

    #[test]
    fn a_card_without_vulkan_is_not_behind_another() {
        let machine = vec![
            adapter("first", 1, DiscreteGpu, Backend::Dx12),
            adapter("second", 2, DiscreteGpu, Backend::Vulkan),
            adapter("second", 2, DiscreteGpu, Backend::Dx12),
        ];
        assert_eq!(ordered(machine), ["first/Dx12", "second/Vulkan", "second/Dx12"]);
        let software = |name, backend| adapter(name, 0, Cpu, backend);
        let drivers = vec![software("llvmpipe", Backend::Vulkan), software("WARP", Backend::Dx12)];
        assert_eq!(ordered(drivers), ["llvmpipe/Vulkan", "WARP/Dx12"]);
    }
}
