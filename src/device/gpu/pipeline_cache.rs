//! Compiled pipelines, kept on disk where the driver hands them out (Vulkan does): the next run need not compile them.

use std::hash::{DefaultHasher, Hasher};

use serde::{Deserialize, Serialize};

use super::Gpu;
use super::cache::{Cache, CacheKey};

const FILE: &str = "pipelines.bin";

/// A line of JSON before the driver's bytes.
#[derive(Serialize, Deserialize)]
struct Header {
    device: CacheKey,
    checksum: u64,
}

/// Pipelines of earlier runs, and those that are made now. Kept when it is dropped.
#[derive(Debug)]
pub(crate) struct PipelineCache {
    driver: wgpu::PipelineCache,
    cache: Cache,
    found: Option<u64>,
}

impl PipelineCache {
    /// None where the device was made without the feature for it, or where nothing is kept.
    pub fn open(gpu: &Gpu) -> Option<Self> {
        if !gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) || !gpu.cache.is_on() {
            return None;
        }
        let data = kept(&gpu.cache);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: data.as_deref(),
            fallback: true, // what another version of wgpu wrote counts as nothing
        };
        // SAFETY: the bytes are those that `get_data` gave for this adapter and driver: `kept` compares the header
        // that `drop` wrote before them, and their checksum.
        let driver = gpu.guarded("pipelines", || unsafe { gpu.device.create_pipeline_cache(&descriptor) }).ok()?;
        Some(Self { driver, cache: gpu.cache.clone(), found: data.as_deref().map(checksum) })
    }

    pub fn driver(&self) -> &wgpu::PipelineCache {
        &self.driver
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        let Some(data) = self.driver.get_data().filter(|data| Some(checksum(data)) != self.found) else { return };
        keep(&self.cache, &data);
    }
}

fn keep(cache: &Cache, data: &[u8]) {
    let header = Header { device: cache.key.clone(), checksum: checksum(data) };
    if let Ok(header) = serde_json::to_vec(&header) {
        cache.write(FILE, &[&header, &b"\n"[..], data].concat());
    }
}

fn kept(cache: &Cache) -> Option<Vec<u8>> {
    let mut file = cache.read(FILE)?;
    let end = file.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&file[..end]).ok()?;
    let data = file.split_off(end + 1);
    (header.device == cache.key && header.checksum == checksum(&data)).then_some(data)
}

fn checksum(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_kept_whole_for_this_driver_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |driver| Cache::of_test(folder.path(), driver);
        keep(&cache("1"), b"first\nsecond");
        assert_eq!(kept(&cache("1")).unwrap(), b"first\nsecond");
        assert_eq!(kept(&cache("2")), None);
        let whole = cache("1").read(FILE).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for damaged in [&damaged[..], &whole[..at]] {
                cache("1").write(FILE, damaged);
                assert_eq!(kept(&cache("1")), None, "byte {at}");
            }
        }
    }
}
