//! The devices that tests run on.

use rvc_gpu_index::device::{self, Device};

/// Names the devices that must be tested (comma-separated selectors); without it every device found is.
pub const DEVICES: &str = "CONFORMANCE_DEVICES";

/// The devices to test, and the error for each that is named and is not here.
pub fn devices() -> (Vec<Device>, Vec<String>) {
    let selectors: Vec<String> = match std::env::var(DEVICES) {
        Ok(named) => named.split(',').map(|selector| selector.trim().to_string()).collect(),
        Err(_) => device::list().0.into_iter().map(|info| info.selector).collect(),
    };
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    for selector in selectors {
        match Device::select(&selector) {
            Ok(device) => devices.push(device),
            Err(error) => missing.push(format!("{selector}: {error}").replace('\n', " ")),
        }
    }
    (devices, missing)
}
