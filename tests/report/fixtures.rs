//! Result files of machines that do not exist: round figures in plausible proportions, measured nowhere.

use serde_json::{Value, json};

/// A figure with quartiles 3 % off.
pub fn summary(median: f64) -> Value {
    let [q1, q3, min, max] = [0.97, 1.03, 0.95, 1.08].map(|factor| factor * median);
    json!({ "median": median, "q1": q1, "q3": q3, "min": min, "max": max, "repeats": 9 })
}

/// The same where it was `times` as much.
pub fn scale(summary: &mut Value, times: f64) {
    for name in ["median", "q1", "q3", "min", "max"] {
        summary[name] = (times * summary[name].as_f64().unwrap()).into();
    }
}

fn info(selector: &str, name: &str, backend: &str, kind: &str) -> Value {
    let gpu = kind != "cpu";
    let of_gpu = |value: Value| if gpu { value } else { Value::Null };
    json!({
        "selector": selector, "name": name, "backend": backend, "driver": format!("{backend} driver 1.2"), "type": kind,
        "max_buffer_size": of_gpu(json!(2_147_483_648_u64)), "max_binding_size": of_gpu(json!(134_217_728)),
        "max_storage_buffers": of_gpu(json!(16)), "max_workgroup_memory": of_gpu(json!(32_768)),
        "max_workgroup_size": of_gpu(json!(1024)), "subgroup_size": of_gpu(json!([8, 64])),
        "features": if gpu { json!(["subgroups", "timestamps"]) } else { json!([]) },
        "tile": of_gpu(json!({ "rows": 128, "centroids": 128 })),
    })
}

/// A device that is `speed` times as fast as two cores.
pub fn device(selector: &str, name: &str, backend: &str, kind: &str, speed: f64) -> Value {
    let gpu = kind != "cpu";
    let ceiling = |value: f64| if gpu { summary(value) } else { Value::Null };
    json!({
        "info": info(selector, name, backend, kind),
        "vendor": if gpu { json!("A vendor") } else { Value::Null },
        "selftest": { "passed": 1234, "failed": 0, "first_failure": null },
        "ceilings": {
            "flops": summary(2e11 * speed), "copy": summary(2e10 * speed), "upload": ceiling(5e9),
            "readback": ceiling(3e9), "latency": ceiling(8e-5),
        },
        "stages": stages(gpu, speed),
        "builds": [
            build("IVF1024,Flat", json!(1024), &[("train", 1.5), ("add", 0.3), ("write", 0.125)], speed),
            build("PQ384x4fs,RFlat", Value::Null, &[("train", 0.25), ("add", 0.375), ("write", 0.25)], speed),
        ],
        "live": ([16, 28, 78].map(|frames| live("PQ384x4fs,RFlat", frames, speed))),
        "searches": searches(speed),
        "cooperative_matrices": [],
        "warnings": [],
        "error": null,
    })
}

fn stages(gpu: bool, speed: f64) -> Value {
    let stage = |name: &str, variant: Option<&str>, seconds: f64, flops: f64, bytes: f64, bound: &str, share: f64| {
        json!({
            "stage": name, "variant": variant, "shape": "768, 1024 lists", "rows": 30_000,
            "clock": if gpu { "gpu" } else { "wall" }, "seconds": summary(seconds / speed),
            "flops": flops, "bytes": bytes, "uploaded": if bound == "upload" { bytes } else { 0.0 },
            "bound": bound, "share": share,
        })
    };
    let mut stages = vec![
        stage("nearest_centroid", None, 0.31, 4.7e10, 9.5e7, "flops", 0.76),
        stage("centroid_update", None, 0.0125, 2.3e7, 9.8e7, "copy", 0.39),
        stage("exact_topk", None, 0.015, 1.1e9, 9.2e7, "copy", 0.31),
        stage("pq_encode", None, 0.021, 1.1e9, 9.8e7, "flops", 0.26),
        stage("lookup_tables", None, 0.004, 7.5e7, 1.9e7, "copy", 0.24),
        stage("fast_scan", None, 0.0004, 0.0, 5.8e6, "copy", 0.72),
        stage("select_topk", None, 0.0006, 0.0, 3.8e6, if gpu { "upload" } else { "copy" }, 0.32),
    ];
    if gpu {
        stages.insert(1, stage("nearest_centroid", Some("tile 64x128"), 0.33, 4.7e10, 9.5e7, "flops", 0.71));
        stages.insert(2, stage("nearest_centroid", Some("tile 64x64"), 0.37, 4.7e10, 9.5e7, "flops", 0.64));
    }
    stages.into()
}

fn build(factory: &str, nlist: Value, phases: &[(&str, f64)], speed: f64) -> Value {
    let total: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let phase = |(phase, seconds): &(&str, f64)| json!({ "phase": phase, "seconds": summary(seconds / speed) });
    json!({
        "factory": factory, "nlist": nlist, "phases": phases.iter().map(phase).collect::<Vec<_>>(),
        "seconds": summary(total / speed), "objective": 638.25,
    })
}

fn live(factory: &str, frames: u32, speed: f64) -> Value {
    let median = f64::from(frames) * 8e-5 / speed;
    // A tail as calls have it: slow first, then fast.
    let percentiles: Vec<f64> =
        (0..=100).map(|percent| median * (0.9 + 0.1 * (f64::from(percent) / 50.0).powi(5))).collect();
    let quantiles = [0, 25, 50, 75, 100].map(|percent| percentiles[percent]);
    let [min, q1, median, q3, max] = quantiles;
    json!({
        "factory": factory, "nprobe": null, "k_factor": 4.0, "k": 8, "frames": frames,
        "seconds": { "median": median, "q1": q1, "q3": q3, "min": min, "max": max, "repeats": 1000 },
        "percentiles": percentiles,
    })
}

fn searches(speed: f64) -> Value {
    let search = |factory: &str, nprobe: Option<u32>, k_factor: Option<f64>, recall: f64, speed: f64| {
        json!({
            "factory": factory, "nprobe": nprobe, "k_factor": k_factor, "k": 8, "recall": recall,
            "queries_per_second": summary(speed),
        })
    };
    let lists = (0..9).map(|power| {
        let nprobe = f64::from(1 << power);
        let recall = 1.0 - 0.65 / nprobe.powf(1.1);
        search("IVF1024,Flat", Some(1 << power), None, recall, speed * 60_000.0 / (1.0 + 0.06 * nprobe))
    });
    let codes = [1.0, 4.0, 8.0, 16.0].map(|factor: f64| {
        let recall = 1.0 - 0.23 / factor.powi(3);
        search("PQ384x4fs,RFlat", None, Some(factor), recall, speed * 7500.0 / (1.0 + 0.02 * factor))
    });
    lists.chain(codes).collect()
}

pub fn result(time: &str, cpu: &str, devices: Vec<Value>) -> Value {
    json!({
        "schema": 1, "version": "0.1.0", "commit": "0123abc", "time": time,
        "command": "rvc-gpu-index bench --device all --workload voice-10min",
        "host": {
            "os": "linux", "os_version": "Debian GNU/Linux 12", "cpu": cpu, "threads": 2, "memory": 17_179_869_184_u64,
        },
        "workload": { "name": "voice-10min", "rows": 30_000, "d": 768, "queries": 2000, "seed": 7, "path": null },
        "quick": false,
        "devices": devices,
    })
}

const SERVER: &str = "AMD EPYC 9B14";

/// A server, a laptop whose GPU computes wrong, and the server again, three weeks later.
pub fn results() -> [(&'static str, Value); 3] {
    let cpu = || device("cpu", "CPU engine (x86_64 with AVX-512, 2 threads)", "cpu", "cpu", 1.0);
    let software = || device("llvmpipe/vulkan", "llvmpipe (LLVM 15.0.6, 256 bits)", "vulkan", "software-gpu", 0.4);
    let mut radeon = device("amd/vulkan", "AMD Radeon 780M (RADV PHOENIX)", "vulkan", "integrated-gpu", 12.0);
    radeon["selftest"] = json!({
        "passed": 1230, "failed": 4,
        "first_failure": {
            "stage": "fast_scan", "case": "fast_scan::ties", "values": "33 random values of seed 41",
            "message": "row 7: 12 instead of 13",
        },
    });
    let notebook = device("cpu", "CPU engine (x86_64 with AVX2, 16 threads)", "cpu", "cpu", 5.0);
    let mut later = [cpu(), software()];
    for device in &mut later {
        // Less than what is marked.
        scale(&mut device["ceilings"]["flops"], 1.015);
    }
    scale(&mut later[0]["stages"][1]["seconds"], 1.2);
    scale(&mut later[0]["searches"][0]["queries_per_second"], 1.5);
    scale(&mut later[0]["builds"][0]["phases"][0]["seconds"], 0.5);
    // Beyond 2 %, but the quartiles overlap.
    scale(&mut later[1]["builds"][1]["seconds"], 1.05);
    later[1]["error"] = "device lost while searches were timed".into();
    later[1]["searches"] = json!([]);
    [
        ("server.json", result("2026-11-01T09:30:00Z", SERVER, vec![cpu(), software()])),
        ("laptop.json", result("2026-11-09T18:00:05Z", "AMD Ryzen 7 7840U", vec![radeon, notebook])),
        ("server-later.json", result("2026-11-22T09:30:00Z", SERVER, later.into())),
    ]
}
