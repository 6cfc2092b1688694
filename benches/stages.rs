//! Every stage at a voice's size, on one device: `cargo bench --bench stages`, with `BENCH_DEVICE` naming a device other
//! than the CPU engine. Rates count the multiply-adds or look-ups that the stage has to do, for `centroid_update` and the
//! product quantizer's stages the bytes of rows that they have to read.

#[path = "common/values.rs"]
mod values;

use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use rvc_gpu_index::device::{Device, PQ_CENTROIDS, RowRanges, ScanRequest};
use rvc_gpu_index::factory::Metric;
use values::{bytes, values};

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    let selector = std::env::var("BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    Device::select(&selector).unwrap_or_else(|error| panic!("BENCH_DEVICE: {error}"))
});

const DIMS: [usize; 2] = [256, 768];
const ROWS: usize = 8192;
const NLIST: usize = 1024;

fn main() {
    let tile = DEVICE.tune().map(|tile| format!(", tile {tile}")).unwrap_or_default();
    println!("{} ({}){tile}", DEVICE.info().name, DEVICE.info().backend);
    divan::main();
}

#[divan::bench(args = DIMS)]
fn nearest_centroid(bencher: Bencher, dim: usize) {
    let rows = DEVICE.upload(&values(ROWS * dim, 1), dim).unwrap();
    let table = DEVICE.centroid_table(&values(NLIST * dim, 2), dim, Metric::L2).unwrap();
    bencher.counter(ItemsCount::new(ROWS * NLIST * dim)).bench_local(|| {
        let nearest = DEVICE.nearest_centroid(&rows, &table).unwrap();
        DEVICE.download(&nearest.labels).unwrap()
    });
}

#[divan::bench(args = DIMS)]
fn nearest_probes(bencher: Bencher, dim: usize) {
    let rows = DEVICE.upload(&values(16 * dim, 1), dim).unwrap();
    let table = DEVICE.centroid_table(&values(NLIST * dim, 2), dim, Metric::L2).unwrap();
    bencher.counter(ItemsCount::new(16 * NLIST * dim)).bench_local(|| {
        let probes = DEVICE.nearest_probes(&rows, &table, 8).unwrap();
        DEVICE.download(&probes).unwrap()
    });
}

#[divan::bench(args = DIMS)]
fn centroid_update(bencher: Bencher, dim: usize) {
    let rows = DEVICE.upload(&values(ROWS * dim, 1), dim).unwrap();
    let table = DEVICE.centroid_table(&values(NLIST * dim, 2), dim, Metric::L2).unwrap();
    let nearest = DEVICE.nearest_centroid(&rows, &table).unwrap();
    let mut sums = DEVICE.cluster_sums(NLIST, dim).unwrap();
    bencher.counter(BytesCount::new(4 * ROWS * dim)).bench_local(|| {
        DEVICE.centroid_update(&rows, &nearest, &mut sums).unwrap();
        DEVICE.download_sums(&sums).unwrap()
    });
}

#[divan::bench(args = DIMS)]
fn exact_topk(bencher: Bencher, dim: usize) {
    let rows = DEVICE.row_set(&Arc::new(values(ROWS * dim, 1)), dim).unwrap();
    let queries = DEVICE.upload(&values(16 * dim, 2), dim).unwrap();
    let ranges = RowRanges::all(16, ROWS as u32);
    bencher
        .counter(ItemsCount::new(16 * ROWS * dim))
        .bench_local(|| DEVICE.exact_topk(&queries, &rows, &ranges, Metric::L2, 8).unwrap());
}

#[divan::bench(args = DIMS)]
fn lookup_tables(bencher: Bencher, dim: usize) {
    let queries = DEVICE.upload(&values(256 * dim, 1), dim).unwrap();
    let codebooks = DEVICE.codebooks(&values(PQ_CENTROIDS * dim, 2), dim / 2).unwrap();
    bencher.counter(ItemsCount::new(256 * PQ_CENTROIDS * dim)).bench_local(|| {
        let tables = DEVICE.lookup_tables(&queries, &codebooks, Metric::L2, None).unwrap();
        DEVICE.download(tables.scales()).unwrap()
    });
}

#[divan::bench(args = [128, 384])]
fn fast_scan(bencher: Bencher, m: usize) {
    let codes = DEVICE.code_set(&Arc::new(bytes(ROWS * m / 2, 1)), m).unwrap();
    let tables = DEVICE.upload_tables(m, 1, &bytes(16 * m * 16, 2), &[0; 16]).unwrap();
    let mut request = ScanRequest::new(1);
    (0..16).for_each(|_| request.add_query(std::slice::from_ref(&(0..ROWS as u32))).unwrap());
    bencher
        .counter(ItemsCount::new(16 * ROWS * m))
        .bench_local(|| DEVICE.fast_scan(&codes, &tables, &request, Metric::L2, 64).unwrap());
}

#[divan::bench(args = [8, 1024])]
fn select_topk(bencher: Bencher, k: usize) {
    let keys = values(16 * ROWS, 3);
    let candidates: Vec<u32> = (0..keys.len() as u32).collect();
    let segments: Vec<_> = (0..16).map(|i| (i * ROWS as u32, ROWS as u32)).collect();
    bencher
        .counter(ItemsCount::new(keys.len()))
        .bench_local(|| DEVICE.select_topk(&keys, &candidates, &segments, k).unwrap());
}

#[divan::bench(args = DIMS)]
fn pq_encode(bencher: Bencher, dim: usize) {
    let rows = DEVICE.upload(&values(ROWS * dim, 1), dim).unwrap();
    let codebooks = DEVICE.codebooks(&values(PQ_CENTROIDS * dim, 2), dim / 2).unwrap();
    bencher.counter(BytesCount::new(4 * ROWS * dim)).bench_local(|| {
        let codes = DEVICE.pq_encode(&rows, &codebooks, None).unwrap();
        DEVICE.download(&codes).unwrap()
    });
}

#[divan::bench(args = DIMS)]
fn pq_update(bencher: Bencher, dim: usize) {
    let rows = DEVICE.upload(&values(ROWS * dim, 1), dim).unwrap();
    let codebooks = DEVICE.codebooks(&values(PQ_CENTROIDS * dim, 2), dim / 2).unwrap();
    let codes = DEVICE.pq_encode(&rows, &codebooks, None).unwrap();
    let mut sums = DEVICE.cluster_sums(dim / 2 * PQ_CENTROIDS, 2).unwrap();
    bencher.counter(BytesCount::new(4 * ROWS * dim)).bench_local(|| {
        DEVICE.pq_update(&rows, &codes, &codebooks, &mut sums).unwrap();
        DEVICE.download_sums(&sums).unwrap()
    });
}
