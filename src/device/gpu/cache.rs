//! What is kept of a device between runs: a file a device and purpose, in the user's cache folder. Whatever is wrong
//! with a file or its folder, the engine only does its work again.

use std::env;
use std::fs;
use std::path::PathBuf;

use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use crate::output::{Existing, write_bytes};

/// Names the folder; `off`, or nothing at all, keeps nothing.
const FOLDER: &str = "RVC_GPU_INDEX_CACHE";

/// What must be the same for a file to be used: the device, its driver, and this crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheKey {
    name: String,
    vendor: u32,
    device: u32,
    backend: String,
    driver: String,
    driver_info: String,
    version: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub key: CacheKey,
    folder: Option<PathBuf>,
}

impl Cache {
    /// The cache of a device, where the environment or the system has it.
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        let folder = match env::var_os(FOLDER) {
            Some(named) if named.is_empty() || named == "off" => None,
            Some(named) => Some(named.into()),
            None => ProjectDirs::from("", "", env!("CARGO_PKG_NAME")).map(|folders| folders.cache_dir().into()),
        };
        Self::at(folder, info)
    }

    fn at(folder: Option<PathBuf>, info: &wgpu::AdapterInfo) -> Self {
        let key = CacheKey {
            name: info.name.clone(),
            vendor: info.vendor,
            device: info.device,
            backend: info.backend.to_string(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Self { key, folder }
    }

    /// A purpose's file: a new driver or version of this crate replaces it.
    fn file(&self, purpose: &str) -> Option<PathBuf> {
        let CacheKey { backend, vendor, device, .. } = &self.key;
        Some(self.folder.as_ref()?.join(format!("{backend}-{vendor:04x}-{device:04x}-{purpose}")))
    }

    pub fn is_on(&self) -> bool {
        self.folder.is_some()
    }

    pub fn read(&self, purpose: &str) -> Option<Vec<u8>> {
        fs::read(self.file(purpose)?).ok()
    }

    pub fn write(&self, purpose: &str, bytes: &[u8]) {
        if let (Some(folder), Some(file)) = (&self.folder, self.file(purpose)) {
            // What cannot be kept is found again by the next run.
            let _ = fs::create_dir_all(folder).map(|()| write_bytes(file, bytes, Existing::Replace));
        }
    }

    /// The cache of a device with a driver of this name, in a folder that is not there yet.
    #[cfg(test)]
    pub fn of_test(folder: &std::path::Path, driver: &str) -> Self {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Vulkan);
        info.driver = driver.into();
        Self::at(Some(folder.join("new")), &info)
    }
}
