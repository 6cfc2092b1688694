//! How long searches in an index file take once it is resident: all queries at once, and 16 of them as in a live call.
//!
//! `cargo bench --bench search -- INDEX QUERIES.npy [DEVICE] [NPROBE:K_FACTOR]...` prints a JSON object a setting, with
//! the best and the median seconds. `-` stands for what the index file says.

use std::time::Instant;

use rvc_gpu_index::device::Device;
use rvc_gpu_index::faiss::read_index;
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{SearchParams, Searcher};
use serde_json::json;

const K: usize = 8;
const LIVE: usize = 16;
/// Searches of all queries and of few, which take less time and are disturbed more easily.
const REPEATS: [usize; 2] = [9, 99];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [index, queries, rest @ ..] = arguments.as_slice() else {
        println!("usage: search INDEX QUERIES.npy [DEVICE] [NPROBE:K_FACTOR]...");
        return Ok(());
    };
    let device = Device::select(rest.first().map_or("cpu", String::as_str))?;
    let source = NpyFiles::open(&[queries])?;
    let mut queries = vec![0.0; source.rows() * source.dim()];
    source.read(0, &mut queries)?;
    let searcher = Searcher::new(read_index(index)?, &device)?;
    let default = ["-:-".to_string()];
    for setting in if rest.len() > 1 { &rest[1..] } else { &default } {
        let params = parse(setting)?;
        searcher.prepare(&params);
        let live = &queries[..queries.len().min(LIVE * source.dim())];
        let all = time(&searcher, &queries, &params, REPEATS[0])?;
        let live = time(&searcher, live, &params, REPEATS[1])?;
        let report = json!({
            "device": device.info().name,
            "setting": setting,
            "queries": source.rows(),
            "seconds": { "best": all.0, "median": all.1 },
            "seconds of 16": { "best": live.0, "median": live.1 },
        });
        println!("{report}");
    }
    Ok(())
}

fn parse(setting: &str) -> Result<SearchParams> {
    let (nprobe, k_factor) = setting.split_once(':').ok_or("a setting is NPROBE:K_FACTOR")?;
    let given = |text: &str| (text != "-").then(|| text.to_string());
    Ok(SearchParams {
        nprobe: given(nprobe).map(|text| text.parse()).transpose()?,
        k_factor: given(k_factor).map(|text| text.parse()).transpose()?,
    })
}

/// Best and median of several searches, after one that warms up.
fn time(searcher: &Searcher, queries: &[f32], params: &SearchParams, repeats: usize) -> Result<(f64, f64)> {
    searcher.search(queries, K, params)?;
    let mut seconds = Vec::new();
    for _ in 0..repeats {
        let start = Instant::now();
        searcher.search(queries, K, params)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[0], seconds[repeats / 2]))
}
