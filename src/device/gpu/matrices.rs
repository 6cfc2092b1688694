//! Matrix units, which wgpu calls cooperative matrices: those that `shaders/shared/matrix_tile.wgsl` multiplies by. The
//! feature is experimental there, so nothing needs it, and no method with it is taken before its answers were held against
//! those of all products.

use std::env;

use pollster::block_on;
use wgpu::CooperativeScalarType::{F16, F32};
use wgpu::Features;

use crate::error::Error;

/// Matrices of 16-bit floats whose products add up in 32 bits, by their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrices {
    /// 8 × 8: Apple's GPUs.
    Eight,
    /// 16 × 16: NVIDIA's, and AMD's from RDNA 3 on.
    Sixteen,
}

/// `off` leaves matrix units alone, for a driver that fails with them.
const SWITCH: &str = "RVC_GPU_INDEX_MATRICES";

const FEATURES: Features =
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

impl Matrices {
    /// The larger that an adapter has.
    fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        if !adapter.features().contains(FEATURES) || env::var_os(SWITCH).is_some_and(|value| value == "off") {
            return None;
        }
        let there = adapter.cooperative_matrix_properties();
        let fits = |size: u32| {
            let is = move |p: &wgpu::CooperativeMatrixProperties| {
                [p.m_size, p.n_size, p.k_size] == [size; 3] && (p.ab_type, p.cr_type) == (F16, F32)
            };
            there.iter().any(is)
        };
        [(16, Self::Sixteen), (8, Self::Eight)].into_iter().find(|(size, _)| fits(*size)).map(|(_, matrices)| matrices)
    }

    /// What to say where there are none.
    pub fn missing() -> Error {
        Error::parameter("method", "sketches of halves", "this device has no matrix units for them: see Device::shares")
    }
}

/// A device as wanted that has matrices, too; none where there are none, or where it cannot be made.
pub(in crate::device) fn request_device(
    adapter: &wgpu::Adapter,
    wanted: &wgpu::DeviceDescriptor<'_>,
) -> Option<(wgpu::Device, wgpu::Queue, Matrices)> {
    let matrices = Matrices::of(adapter)?;
    let wanted = wgpu::DeviceDescriptor {
        required_features: wanted.required_features | FEATURES,
        // SAFETY: what may go wrong is in wgpu's translation and in drivers. Kernels here keep within their buffers,
        // which are padded to whole matrices, and in uniform control flow.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..wanted.clone()
    };
    let (device, queue) = block_on(adapter.request_device(&wanted)).ok()?;
    Some((device, queue, matrices))
}
