//! Short lists dissolved: against the same done plainly in float64, and by the command.
#![cfg(feature = "cli")]

mod common;
#[path = "common/fails.rs"]
mod fails;
#[path = "common/runs.rs"]
mod runs;

use common::{Folder, npy_f32, some_rows};
use fails::fails;
use runs::{json, ok};
use rvc_gpu_index::cluster::{KMeansParams, assign};
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::features::{FeatureSource, MemoryRows};
use rvc_gpu_index::index::{Index, IndexKind, InvertedLists};

const DIM: usize = 5;
const METRICS: [Metric; 2] = [Metric::L2, Metric::InnerProduct];

/// Centroids, as whole rows, and the ids in each list.
fn lists(index: &Index) -> (Vec<&[f32]>, Vec<Vec<i64>>) {
    match index.kind() {
        IndexKind::IvfFlat(ivf) => {
            let ids = ivf.lists().iter().map(|list| list.ids.to_vec()).collect();
            (ivf.centroids().chunks_exact(DIM).collect(), ids)
        }
        IndexKind::IvfPqFastScan(ivf) => {
            let ids = ivf.lists().iter().map(|list| list.ids.to_vec()).collect();
            (ivf.centroids().chunks_exact(DIM).collect(), ids)
        }
        other => panic!("{other:?}"),
    }
}

/// The kept centroids' numbers: the shortest list goes first, and its rows to the nearest of what is left.
fn kept(rows: &[f32], centroids: &[&[f32]], metric: Metric, min_list: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..centroids.len()).collect();
    loop {
        let mut sizes = vec![0; centroids.len()];
        rows.chunks(DIM).for_each(|row| sizes[nearest(row, centroids, &kept, metric)] += 1);
        let shortest = kept.iter().copied().filter(|&list| sizes[list] < min_list).min_by_key(|&list| sizes[list]);
        match shortest {
            Some(list) if kept.len() > 1 => kept.retain(|&other| other != list),
            _ => return kept,
        }
    }
}

fn nearest(row: &[f32], centroids: &[&[f32]], kept: &[usize], metric: Metric) -> usize {
    let distance = |&list: &usize| {
        let pairs = row.iter().zip(centroids[list]).map(|(&x, &c)| (f64::from(x), f64::from(c)));
        match metric {
            Metric::L2 => pairs.map(|(x, c)| (x - c).powi(2)).sum::<f64>(),
            Metric::InnerProduct => -pairs.map(|(x, c)| x * c).sum::<f64>(),
        }
    };
    *kept.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
}

/// The list of each row, by the index's centroids.
fn assigned(index: &Index, source: &MemoryRows) -> Vec<u32> {
    let (device, centroids) = (Device::cpu(), lists(index).0.concat());
    let table = device.centroid_table(&centroids, DIM, index.metric()).unwrap();
    assign(&device, source, &table, None, |_| ()).unwrap()
}

fn trained(factory: &str, metric: Metric, rows: &[f32]) -> Index {
    let mut index = Index::new(&factory.parse().unwrap(), metric, DIM).unwrap();
    let source = MemoryRows::new(rows, DIM).unwrap();
    index.train(&Device::cpu(), &source, &KMeansParams::default(), &mut |_| ()).unwrap();
    index
}

/// Dissolves and adds, and holds the result against float64; returns the number of lists that are left.
fn check(trained: &Index, rows: &[f32], min_list: usize) -> usize {
    let (mut index, metric, device) = (trained.clone(), trained.metric(), Device::cpu());
    let source = MemoryRows::new(rows, DIM).unwrap();
    index.set_nprobe(3).unwrap();
    // Lists of rows that are known change nothing.
    let (mut labelled, mut labels) = (index.clone(), assigned(&index, &source));
    let known = labelled.dissolve_short_lists(&device, &source, &mut labels, min_list, Some(50), &mut |_| ()).unwrap();
    labelled.add_labelled(&device, &source, &labels, Some(50), &mut |_| ()).unwrap();
    let found = &mut Vec::new();
    let dissolved = index.dissolve_short_lists(&device, &source, found, min_list, Some(50), &mut |_| ()).unwrap();
    index.add(&device, &source, None, &mut |_| ()).unwrap();
    assert_eq!((known, lists(&labelled)), (dissolved, lists(&index)));

    let case = format!("{} {metric} min_list {min_list}", trained.spec());
    let (all, _) = lists(trained);
    let expected = kept(rows, &all, metric, min_list);
    let (centroids, ids) = lists(&index);
    let left: Vec<&[f32]> = expected.iter().map(|&list| all[list]).collect();
    assert_eq!((centroids, dissolved), (left, all.len() - expected.len()), "{case}");
    assert_eq!((index.nlist(), index.nprobe()), (Some(expected.len()), Some(3.min(expected.len()))), "{case}");
    for (list, ids) in expected.iter().zip(&ids) {
        assert!(ids.len() >= min_list || expected.len() == 1, "{case}: {} rows", ids.len());
        for &id in ids {
            let row = &rows[id as usize * DIM..][..DIM];
            assert_eq!(nearest(row, &all, &expected, metric), *list, "{case} row {id}");
        }
    }
    assert_eq!(ids.iter().map(Vec::len).sum::<usize>(), source.rows(), "{case}");
    expected.len()
}

#[test]
fn every_row_falls_to_the_nearest_list_that_is_left() {
    let rows = some_rows(400, DIM);
    for metric in METRICS {
        for factory in ["IVF30,Flat", "IVF30,PQ5x4fs", "IVF30,PQ5x4fsr", "IVF30,Flat,RFlat"] {
            let left = [0, 1, 8, 13, 60].map(|min_list| check(&trained(factory, metric, &rows), &rows, min_list));
            assert!(left.is_sorted_by(|more, fewer| more >= fewer) && left[0] == 30 && left[4] < 8, "{left:?}");
        }
        // Fewer rows than a list is to have.
        assert_eq!(check(&trained("IVF30,Flat", metric, &rows), &rows, 401), 1);
        assert_eq!(check(&trained("IVF30,Flat", metric, &rows), &rows, usize::MAX), 1);
    }
}

#[test]
fn lists_at_the_edges() {
    // Groups of 1, 7, 8 and 9 rows, each on an axis of its own. The last column says which other group is next nearest.
    let row = |axis: usize, last: f32| {
        let mut row = [0.0; DIM];
        (row[axis], row[4]) = (100.0 + axis as f32, last);
        row
    };
    let centroids: Vec<f32> = (0..4).flat_map(|axis| row(axis, 1.0 + axis as f32)).collect();
    let groups = [1, 7, 8, 9].into_iter().enumerate();
    let rows: Vec<f32> =
        groups.flat_map(|(axis, size)| (0..size).flat_map(move |i| row(axis, 1.0 + i as f32 / 64.0))).collect();
    for metric in METRICS {
        let index = Index::ivf_flat(metric, centroids.clone(), 1, InvertedLists::new(4, DIM)).unwrap();
        let left = [0, 1, 2, 7, 8, 9, 10, 25, 26].map(|min_list| check(&index, &rows, min_list));
        // By L2 the single row joins the 7, these 8 join the other 8, and the 9 join all in the end. By inner product what
        // is dissolved joins the 9.
        let expected = match metric {
            Metric::L2 => [4, 4, 3, 3, 3, 2, 1, 1, 1],
            Metric::InnerProduct => [4, 4, 3, 3, 2, 1, 1, 1, 1],
        };
        assert_eq!(left, expected, "{metric}");
    }
}

#[test]
fn equal_rows_are_one_list() {
    for metric in METRICS {
        for rows in [8, 7, 40] {
            let equal = [0.5; DIM].repeat(rows);
            assert_eq!(check(&trained("IVF5,Flat", metric, &equal), &equal, 8), 1, "{metric} {rows} rows");
        }
    }
}

#[test]
fn more_lists_than_are_looked_at_for_one_row() {
    // One row a list: each is dissolved, many times over for rows that move on.
    let (rows, device) = (some_rows(300, DIM), Device::cpu());
    let source = MemoryRows::new(&rows, DIM).unwrap();
    for min_list in [2, 8, 150] {
        let mut index = trained("IVF300,Flat", Metric::L2, &rows);
        // Some rows are as near to one list as to another, within rounding: the lists that were counted are taken.
        let mut labels = Vec::new();
        index.dissolve_short_lists(&device, &source, &mut labels, min_list, None, &mut |_| ()).unwrap();
        index.add_labelled(&device, &source, &labels, None, &mut |_| ()).unwrap();
        let (_, ids) = lists(&index);
        let least = ids.iter().map(Vec::len).min().unwrap();
        assert!(least >= min_list, "{least} rows in a list, {min_list} asked for");
        assert!(ids.len() * min_list * 4 > 300, "{} lists are left for {min_list}", ids.len());
    }
}

#[test]
fn an_experiment_has_8_rows_a_list() {
    let folder = Folder::new();
    folder.put("exp/3_feature256/0.npy", &npy_f32(256, &some_rows(400, 256)));
    let name = "exp/added_IVF40_Flat_nprobe_1_exp_v1.index";
    let trained = "exp/trained_IVF40_Flat_nprobe_1_exp_v1.index";
    let build = |options: &str| {
        let report = json(&folder, &format!("build exp --nlist 40 --device cpu --force {options}"));
        let [added, trained] = [name, trained].map(|name| json(&folder, &format!("info {name}")));
        assert_eq!((&added["nlist"], &trained["nlist"]), (&report["nlist"], &report["nlist"]));
        let (nlist, dissolved) = (report["nlist"].as_u64().unwrap(), report["dissolved_lists"].as_u64().unwrap());
        assert_eq!(nlist + dissolved, 40);
        (dissolved, added["list_sizes"]["min"].as_u64().unwrap())
    };
    let (dissolved, least) = build("");
    assert!(dissolved > 0 && least >= 8, "{dissolved} {least}");
    let bytes = folder.bytes(name);
    assert_eq!(build("--min-list 8"), (dissolved, least));
    assert!(folder.bytes(name) == bytes);
    let (none, short) = build("--min-list 0");
    assert!(none == 0 && short < 8, "{none} {short}");
    let shown = ok(&folder, "build exp --nlist 40 --device cpu --force");
    assert!(shown.contains(&format!("dissolved    {dissolved} lists that were too short")), "{shown}");

    // Elsewhere it has to be asked for.
    folder.put("rows.npy", &npy_f32(256, &some_rows(400, 256)));
    let rows = |options: &str| json(&folder, &format!("build rows.npy --nlist 40 --device cpu --force {options}"));
    assert_eq!(rows("")["dissolved_lists"], 0);
    assert_eq!(rows("--min-list 8")["dissolved_lists"], dissolved);
    assert_eq!(
        (&rows("--min-list 401 --nprobe 3")["nlist"], &rows("--min-list 401 --nprobe 3")["nprobe"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json(&folder, "build exp --factory Flat --device cpu")["dissolved_lists"], 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    folder.put("rows.npy", &npy_f32(4, &some_rows(100, 4)));
    for (options, said) in [
        ("--factory Flat --min-list 8", &["min-list: --min-list is 8, but the index Flat has no lists"][..]),
        ("--factory PQ2x4fs,RFlat --min-list 0", &["min-list", "has no lists (no IVF)", "IVF,Flat"]),
        ("--min-list many", &["--min-list"]),
    ] {
        fails(&folder, 2, &format!("build rows.npy --device cpu {options}"), said);
    }
}
