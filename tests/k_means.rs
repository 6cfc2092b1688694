//! k-means on every device: as good on a GPU as on the CPU engine, and never stuck or silent on odd rows.

#[path = "common/devices.rs"]
mod devices;

use rvc_gpu_index::Result;
use rvc_gpu_index::cluster::{KMeans, KMeansParams, PqTraining, Training, assign, k_means, train_product_quantizer};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{FeatureSource, MemoryRows, NpyFiles};

fn each_device(test: impl Fn(&Device)) {
    let (devices, missing) = devices::devices();
    let named = std::env::var_os(devices::DEVICES).is_some();
    assert!(missing.is_empty() || !named, "{missing:?}");
    devices.iter().for_each(test);
}

fn train(device: &Device, rows: &[f32], dim: usize, nlist: usize, metric: Metric) -> Result<KMeans> {
    k_means(device, &MemoryRows::new(rows, dim)?, nlist, metric, &KMeansParams::default(), |_, _| ())
}

fn train_parts(device: &Device, rows: &[f32], dim: usize, m: usize) -> Result<PqTraining> {
    let params = KMeansParams::product_quantizer();
    train_product_quantizer(device, &MemoryRows::new(rows, dim)?, m, &params, None, |_, _| ())
}

fn voice() -> (Vec<f32>, usize) {
    let voice = NpyFiles::open(&["tests/data/voice-sample"]).unwrap();
    let mut values = vec![0.0; voice.rows() * voice.dim()];
    voice.read(0, &mut values).unwrap();
    (values, voice.dim())
}

/// Sum over the rows of the least squared distance, or of the largest inner product, in float64.
fn objective(rows: &[f32], centroids: &[f32], dim: usize, metric: Metric) -> f64 {
    let pairs = |x: &[f32], c: &[f32], term: fn(f64, f64) -> f64| -> f64 {
        x.iter().zip(c).map(|(&x, &c)| term(x.into(), c.into())).sum()
    };
    let best = |x| match metric {
        Metric::L2 => {
            centroids.chunks(dim).map(|c| pairs(x, c, |x, c| (x - c) * (x - c))).fold(f64::INFINITY, f64::min)
        }
        Metric::InnerProduct => centroids.chunks(dim).map(|c| pairs(x, c, |x, c| x * c)).fold(f64::MIN, f64::max),
    };
    rows.chunks(dim).map(best).sum()
}

#[test]
fn a_voice_is_clustered_as_well_on_every_device() {
    let (rows, dim) = voice();
    for metric in [Metric::L2, Metric::InnerProduct] {
        let cpu = train(&Device::cpu(), &rows, dim, 30, metric).unwrap();
        each_device(|device| {
            let name = &device.info().selector;
            let trained = train(device, &rows, dim, 30, metric).unwrap();
            let told = &trained.training.objective;
            assert_eq!((trained.centroids.len(), told.len(), trained.training.rows), (30 * dim, 10, 3003), "{name}");
            let better = |w: &[f64]| if metric == Metric::L2 { w[1] < w[0] } else { w[1] > w[0] };
            assert!(told.windows(2).all(better), "{name}: {told:?}");
            // The first centroids are the same rows everywhere.
            assert!((told[0] / cpu.training.objective[0] - 1.0).abs() < 1e-5, "{name}: {told:?}");
            let exact = objective(&rows, &trained.centroids, dim, metric);
            assert!(better(&[told[9], exact]) && (exact / told[9] - 1.0).abs() < 1e-2, "{name}: {exact}, {told:?}");
            let by_cpu = objective(&rows, &cpu.centroids, dim, metric);
            assert!((exact / by_cpu - 1.0).abs() < 5e-3, "{name}: {exact}, on the CPU engine {by_cpu}");
            assert_eq!(train(device, &rows, dim, 30, metric).unwrap(), trained, "{name}");
        });
    }
}

#[test]
fn a_product_quantizer_is_trained_as_well_on_every_device() {
    let (rows, dim) = voice();
    let cpu = train_parts(&Device::cpu(), &rows, dim, 64).unwrap().training.objective;
    each_device(|device| {
        let name = &device.info().selector;
        let trained = train_parts(device, &rows, dim, 64).unwrap();
        let told = &trained.training.objective;
        assert_eq!((trained.codebooks.len(), told.len(), trained.training.rows), (16 * dim, 25, 3003), "{name}");
        assert!(told.windows(2).all(|w| w[1] < 1.001 * w[0]), "{name}: {told:?}");
        // The first centroids are the same rows everywhere.
        assert!((told[0] / cpu[0] - 1.0).abs() < 1e-5, "{name}: {told:?}");
        assert!((told[24] / cpu[24] - 1.0).abs() < 5e-3, "{name}: {told:?}, on the CPU engine {cpu:?}");
        assert_eq!(train_parts(device, &rows, dim, 64).unwrap(), trained, "{name}");
    });
}

#[test]
fn parts_of_few_different_rows_are_split_on_every_device() {
    // Of three different rows, and of a dimension that never changes, at most three centroids have rows.
    let rows: Vec<f32> = (0..700).flat_map(|row| [(row % 3) as f32, 7.0]).collect();
    let cpu = train_parts(&Device::cpu(), &rows, 2, 2).unwrap().training;
    assert!(cpu.splits >= 25, "{cpu:?}");
    each_device(|device| {
        let training = train_parts(device, &rows, 2, 2).unwrap().training;
        assert!(training.splits >= 25 && training.objective[24] < 1e-2 * 700.0, "{training:?}");
    });
}

#[test]
fn batches_change_nothing_but_rounding() {
    let (rows, dim) = voice();
    let source = MemoryRows::new(&rows, dim).unwrap();
    each_device(|device| {
        let params = KMeansParams { batch_rows: Some(700), iterations: 3, ..KMeansParams::default() };
        let mut told = Vec::new();
        let streamed = k_means(device, &source, 40, Metric::L2, &params, |at, done| told.push((at, done))).unwrap();
        let last: Vec<_> = told.chunk_by(|a, b| a.0 == b.0).filter_map(|pass| pass.last()).collect();
        assert_eq!(last, [&(0, 3003), &(1, 3003), &(2, 3003)]);
        let whole = train(device, &rows, dim, 40, Metric::L2).unwrap().training.objective;
        let near = |(a, b): (&f64, &f64)| (a / b - 1.0).abs() < 1e-3;
        assert!(streamed.training.objective.iter().zip(&whole).all(near), "{:?} {whole:?}", streamed.training);
    });
}

#[test]
fn labels_are_those_of_an_assignment() {
    let (rows, dim) = voice();
    let source = MemoryRows::new(&rows, dim).unwrap();
    each_device(|device| {
        // Few centroids and many, which have sketches; rows in batches, a sample of them, and one a centroid.
        for (nlist, batch_rows, sampled) in
            [(30, None, 256), (300, None, 256), (300, Some(700), 256), (300, None, 5), (3003, None, 256)]
        {
            let asked =
                KMeansParams { iterations: 2, batch_rows, max_rows_per_centroid: sampled, ..Default::default() };
            let without = k_means(device, &source, nlist, Metric::L2, &asked, |_, _| ()).unwrap();
            let (asked, mut told) = (KMeansParams { labels: true, ..asked }, (0, 0));
            let trained = k_means(device, &source, nlist, Metric::L2, &asked, |at, done| told = (at, done)).unwrap();
            let table = device.centroid_table(&trained.centroids, dim, Metric::L2).unwrap();
            let labels = assign(device, &source, &table, None, |_| ()).unwrap();
            let case = format!("{} nlist {nlist} {batch_rows:?} {sampled}", device.info().selector);
            assert_eq!(trained.training.labels, labels, "{case}");
            assert_eq!(told, (2, 3003), "{case}");
            let training = Training { labels: Vec::new(), ..trained.training };
            assert_eq!(KMeans { training, ..trained }, without, "{case}");
        }
    });
}

#[test]
fn clusters_outnumber_the_different_rows() {
    // All rows are equal: every pass all fall to one centroid, and all others are split from it.
    let rows = [0.5, -2.0, 8.0].repeat(900);
    // Three different rows, two of them rare.
    let kind =
        |row: usize| [[1.0, 2.0, 3.0], [9.0, 9.0, 9.0], [-7.0, 0.0, 5.0]][if row % 90 < 3 { row % 3 } else { 0 }];
    let few: Vec<f32> = (0..900).flat_map(kind).collect();
    each_device(|device| {
        let trained = train(device, &rows, 3, 700, Metric::L2).unwrap();
        // A split moves both halves by 1/1024, and halves are split again.
        let all = trained.centroids.iter().zip(rows.iter().cycle()).all(|(c, x)| (c - x).abs() <= x.abs() / 32.0);
        assert!(all && trained.training.splits == 10 * 699, "{:?}", trained.training);

        let trained = train(device, &few, 3, 30, Metric::L2).unwrap();
        let left = objective(&few, &trained.centroids, 3, Metric::L2);
        assert!(left < 1e-3 * 900.0 && trained.training.splits > 0, "{left} {:?}", trained.training);
        let trained = train(device, &few, 3, 30, Metric::InnerProduct).unwrap();
        assert!(trained.centroids.chunks(3).all(|c| (c.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5));
    });
}

#[test]
fn as_many_clusters_as_rows_are_the_rows() {
    let rows: Vec<f32> = (0..50 * 5).map(|i| i as f32).collect();
    each_device(|device| {
        let trained = train(device, &rows, 5, 50, Metric::L2).unwrap();
        assert_eq!((trained.centroids, trained.training.objective.len()), (rows.clone(), 0));
    });
}

#[test]
fn sums_that_overflow_are_told() {
    // Equal rows have no distances that could overflow.
    let equal = [3e37, -3e37].repeat(600);
    let large: Vec<f32> = (0..600).flat_map(|row| [3e37, (row % 7) as f32 * 1e36]).collect();
    each_device(|device| {
        for (rows, metric) in [(&equal, Metric::L2), (&large, Metric::L2), (&large, Metric::InnerProduct)] {
            let refused = train(device, rows, 2, 5, metric).unwrap_err().to_string();
            assert!(refused.starts_with("rows: their sums overflow float32"), "{refused}");
        }
        let refused = train_parts(device, &large, 2, 2).unwrap_err().to_string();
        assert!(refused.starts_with("rows: their sums overflow float32"), "{refused}");
    });
}
