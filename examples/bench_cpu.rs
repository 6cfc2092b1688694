use rvc_gpu_index::{
    cluster::KMeansParams,
    device::Device,
    factory::*,
    features::{FeatureSource, MemoryRows, NpyFiles},
    index::*,
};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let src = NpyFiles::open(&[&a[1]]).unwrap();
    let n: usize = a[2].parse::<usize>().unwrap().min(src.rows());
    let dev = Device::select(&a[3]).unwrap();
    let iters: usize = a[4].parse().unwrap();
    let mut x = vec![0.0; n * src.dim()];
    src.read(0, &mut x).unwrap();
    let mem = MemoryRows::new(&x, src.dim()).unwrap();
    let nlist = Recipe::Rvc.nlist(n);
    let spec: IndexSpec = format!("IVF{nlist},Flat").parse().unwrap();
    let mut ix = Index::new(&spec, Metric::L2, src.dim()).unwrap();
    let t = Instant::now();
    let r = ix.train(&dev, &mem, &KMeansParams { iterations: iters, ..Default::default() }, &mut |_| {}).unwrap();
    let tt = t.elapsed().as_secs_f64();
    let t = Instant::now();
    ix.add(&dev, &mem, None, &mut |_| {}).unwrap();
    let ta = t.elapsed().as_secs_f64();
    println!(
        "{} n={n} d={} nlist={nlist} train={tt:.2}s add={ta:.2}s obj/row={:.4} splits={} gflops={:.1}",
        dev.info().selector,
        src.dim(),
        r.objective.last().unwrap() / n as f64,
        r.splits,
        2.0 * n as f64 * nlist as f64 * src.dim() as f64 * iters as f64 / tt / 1e9
    );
}
