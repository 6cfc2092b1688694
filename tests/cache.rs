//! What is kept of a GPU between runs: found again, and never in the way.
#![cfg(feature = "cli")]

mod common;
#[path = "common/devices.rs"]
mod devices;

use std::fs;
use std::path::PathBuf;

use common::{Folder, npy_f32, some_rows, text};
use serde_json::{Value, json};

/// Runs the command with a cache in the folder.
fn run(folder: &Folder, line: &str) -> Vec<u8> {
    let mut command = folder.command(line.split(' '));
    let output = command.env("RVC_GPU_INDEX_CACHE", folder.at("cache")).output().unwrap();
    assert!(output.status.success(), "{line}\n{}", text(&output.stderr));
    output.stdout
}

/// The files that are in the cache.
fn kept(folder: &Folder) -> Vec<PathBuf> {
    let cache = folder.at("cache");
    folder.content().into_keys().filter(|path| path.parent() == Some(&cache)).collect()
}

#[test]
fn a_cache_is_found_again_and_a_damaged_one_is_written_anew() {
    for device in devices::devices().0.iter().filter(|device| device.info().backend == "vulkan") {
        let folder = Folder::new();
        folder.put("voice/3_feature256/0_0.npy", &npy_f32(256, &some_rows(300, 256)));
        let selector = &device.info().selector;
        let build = format!("build voice --nlist 5 --device {selector} --output o.index --force");
        assert!(folder.run(&build).status.success());
        let built = folder.bytes("o.index");
        assert!(kept(&folder).is_empty());
        run(&folder, &build);
        let kept = match &kept(&folder)[..] {
            [file] => file.clone(),
            files => panic!("{selector}: {files:?}"),
        };
        for damaged in [&b""[..], b"no header", b"{}\nno data"] {
            fs::write(&kept, damaged).unwrap();
            run(&folder, &build);
            assert!(fs::read(&kept).unwrap().starts_with(b"{\"device\""), "{selector}");
            assert!(folder.bytes("o.index") == built, "{selector}: another index");
        }

        // A tile as an earlier run would have kept it.
        let pipelines = fs::read(&kept).unwrap();
        let header: Value = serde_json::from_slice(pipelines.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
        let tile = json!({ "rows": 64, "centroids": 128 });
        let name = kept.to_str().unwrap().replace("pipelines.bin", "tile.json");
        fs::write(name, json!({ "device": header["device"], "tile": tile }).to_string()).unwrap();
        let listed: Value = serde_json::from_slice(&run(&folder, "devices --json")).unwrap();
        let listed = listed["devices"].as_array().unwrap().iter().find(|info| info["selector"] == **selector).unwrap();
        assert_eq!(listed["tile"], tile, "{selector}");
        run(&folder, &build);
        assert!(folder.bytes("o.index") == built, "{selector}: another index by another tile");
    }
}
