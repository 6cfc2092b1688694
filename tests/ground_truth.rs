//! Recall, missing rows and distance ratios against float64 arithmetic, and settings that were chosen by them.

#[path = "common/devices.rs"]
mod devices;

use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{map_index, read_index, write_index};
use rvc_gpu_index::features::{FeatureSource, MemoryRows};
use rvc_gpu_index::index::{GroundTruth, Index, InvertedLists, Neighbors, Quality, SearchParams, Searcher};
use rvc_gpu_index::{Existing, Result};

const DIM: usize = 8;
const ROWS: usize = 600;
const QUERIES: usize = 50;

/// Reproducible values in −5..5 (a 64-bit linear congruential generator).
fn random(count: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 * 10.0 - 5.0
    };
    (0..count).map(|_| next()).collect()
}

fn built(factory: &str, metric: Metric, rows: &[f32]) -> Index {
    let (rows, device) = (MemoryRows::new(rows, DIM).unwrap(), Device::cpu());
    let mut index = Index::new(&factory.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    index.train(&device, &rows, &KMeansParams::default(), &mut |_| ()).unwrap();
    index.add(&device, &rows, None, &mut |_| ()).unwrap();
    index
}

fn searcher(factory: &str, metric: Metric) -> Searcher {
    Searcher::new(built(factory, metric, &random(ROWS * DIM, 1)), &Device::cpu()).unwrap()
}

fn truth<'a>(
    searcher: &Searcher,
    queries: &[f32],
    base: Option<&'a dyn FeatureSource>,
    k: usize,
) -> Result<GroundTruth<'a>> {
    let queries = MemoryRows::new(queries, searcher.index().dim())?;
    GroundTruth::new(searcher, &queries, base, k, Some(128), |_| ())
}

/// The definitions, in float64.
fn judged(metric: Metric, unit: bool, rows: &[f32], queries: &[f32], found: &Neighbors) -> Quality {
    let wide = |row: &[f32]| {
        let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
        let norm = if unit { row.iter().map(|x| x * x).sum::<f64>().sqrt() } else { 1.0 };
        row.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    let rows: Vec<Vec<f64>> = rows.chunks_exact(DIM).map(wide).collect();
    let (mut hits, mut wanted, mut missing, mut ratios) = (0, 0, 0, Vec::new());
    for (query, ids) in queries.chunks_exact(DIM).map(wide).zip(found.ids.chunks_exact(found.k)) {
        // Greater is farther.
        let far = |row: &Vec<f64>| match metric {
            Metric::L2 => row.iter().zip(&query).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Metric::InnerProduct => -row.iter().zip(&query).map(|(a, b)| a * b).sum::<f64>(),
        };
        let mut order: Vec<(f64, i64)> = rows.iter().map(far).zip(0..).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        order.truncate(found.k);
        let ids: Vec<i64> = ids.iter().copied().filter(|&id| id >= 0).collect();
        let mut reached: Vec<f64> = ids.iter().map(|&id| far(&rows[id as usize])).collect();
        reached.sort_by(f64::total_cmp);
        wanted += order.len();
        hits += order.iter().filter(|(_, id)| ids.contains(id)).count();
        missing += usize::from(ids.len() < found.k);
        let above_0 = |exact: f64| if metric == Metric::L2 { exact > 0.0 } else { exact < 0.0 };
        let ranks = reached.iter().zip(&order).filter(|(_, (exact, _))| above_0(*exact));
        ratios.extend(ranks.map(|(found, (exact, _))| found / exact));
    }
    Quality {
        recall: hits as f64 / wanted as f64,
        missing: missing as f64 / found.queries() as f64,
        distance_ratio: (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64),
    }
}

fn assert_same(found: Quality, expected: Quality, what: &str) {
    assert_eq!((found.recall, found.missing), (expected.recall, expected.missing), "{what}");
    let (found, expected) = (found.distance_ratio.unwrap(), expected.distance_ratio.unwrap());
    assert!((found - expected).abs() < 1e-5 * expected.abs(), "{what}: {found}, {expected}");
}

#[test]
fn quality_is_that_of_the_definition() {
    let (rows, queries) = (random(ROWS * DIM, 1), random(QUERIES * DIM, 2));
    let base = MemoryRows::new(&rows, DIM).unwrap();
    for device in devices::devices().0 {
        for (factory, metric) in
            ["Flat", "IVF20,Flat", "IVF20,PQ4x4fsr", "PQ2x4fs,RFlat", "L2norm,IVF20,Flat", "L2norm,PQ4x4fs,RFlat"]
                .iter()
                .flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)])
        {
            let searcher = Searcher::new(built(factory, metric, &rows), &device).unwrap();
            // Behind L2norm neighbours are those of unit vectors, unless exact rows rank them in the end.
            let unit = searcher.index().l2norm() && searcher.index().refine().is_none();
            for (nprobe, k) in [(1, 40), (3, 8), (20, 1)] {
                let params = SearchParams { nprobe: searcher.index().nlist().map(|_| nprobe), k_factor: None };
                let found = searcher.search(&queries, k, &params).unwrap();
                let expected = judged(metric, unit, &rows, &queries, &found);
                let what = format!("{} {factory} {metric} {nprobe} {k}", device.info().selector);
                let given = truth(&searcher, &queries, Some(&base), k).unwrap();
                assert_same(given.judge(&found).unwrap(), expected, &what);
                let evaluated = searcher.evaluate(&queries, &given, &params).unwrap();
                assert_same(evaluated.quality, expected, &what);
                assert!(evaluated.seconds_per_query > 0.0 && evaluated.nprobe == params.nprobe);
                assert_eq!(evaluated.k_factor, searcher.index().refine().map(|_| 1.0));
                assert_eq!(expected.missing > 0.0, (nprobe, k) == (1, 40) && params.nprobe.is_some(), "{what}");
                let ratio = expected.distance_ratio.unwrap();
                assert!(if metric == Metric::L2 { ratio >= 1.0 } else { ratio <= 1.0 }, "{what} {ratio}");
                match truth(&searcher, &queries, None, k) {
                    Ok(own) => assert_same(own.judge(&found).unwrap(), expected, &what),
                    Err(error) => {
                        assert!(factory.starts_with("IVF20,PQ") && error.to_string().contains("base: left out"))
                    }
                }
            }
        }
    }
}

/// Rows 0, 1, 3 and 10 on a line.
fn line(metric: Metric) -> Searcher {
    Searcher::new(Index::flat(1, metric, vec![0.0, 1.0, 3.0, 10.0]).unwrap(), &Device::cpu()).unwrap()
}

fn judge(metric: Metric, queries: &[f32], k: usize, ids: &[i64]) -> Quality {
    let found = Neighbors { k, ids: ids.to_vec(), distances: vec![0.0; ids.len()] };
    truth(&line(metric), queries, None, k).unwrap().judge(&found).unwrap()
}

#[test]
fn quality_worked_out_by_hand() {
    // The nearest of 0 are rows 0 and 1, at 0 and 1; of 4 they are rows 2 and 1, at 1 and 3. The first query finds row 1
    // and, thrice as far as the second, row 2; the second finds row 2 alone.
    let quality = judge(Metric::L2, &[0.0, 4.0], 2, &[1, 2, 2, -1]);
    assert_eq!(quality, Quality { recall: 0.5, missing: 0.5, distance_ratio: Some((3.0 + 1.0) / 2.0) });
    // Products 20 and 6 are the greatest of 2; those found are 6 and 2. All of −1 are 0 or less.
    let quality = judge(Metric::InnerProduct, &[2.0, -1.0], 2, &[2, 1, 0, 1]);
    assert_eq!((quality.recall, quality.missing), (0.75, 0.0));
    assert!((quality.distance_ratio.unwrap() - (6.0 / 20.0 + 2.0 / 6.0) / 2.0).abs() < 1e-12);
    // Nothing but rows themselves, and nothing at all.
    assert_eq!(judge(Metric::L2, &[3.0], 1, &[2]), Quality { recall: 1.0, missing: 0.0, distance_ratio: None });
    assert_eq!(judge(Metric::L2, &[4.0], 1, &[-1]), Quality { recall: 0.0, missing: 1.0, distance_ratio: None });
    // Four rows are all there is to find for k = 6.
    let quality = judge(Metric::L2, &[4.0], 6, &[0, 1, 2, 3, -1, -1]);
    assert_eq!(quality, Quality { recall: 1.0, missing: 1.0, distance_ratio: Some(1.0) });
    // A query of NaN has no neighbours, and finds none.
    let quality = judge(Metric::L2, &[f32::NAN, 4.0], 1, &[-1, 2]);
    assert_eq!(quality, Quality { recall: 1.0, missing: 0.5, distance_ratio: Some(1.0) });
}

#[test]
fn what_cannot_be_judged() {
    let (searcher, queries) = (line(Metric::L2), [0.0, 4.0]);
    let base = MemoryRows::new(&[0.0; 4], 1).unwrap();
    let said = |result: Result<GroundTruth>, part: &str| {
        let error = result.map(|_| ()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(part), "{part:?} is not in {error}");
    };
    said(truth(&searcher, &[], None, 1), "queries: 0 × 1");
    said(GroundTruth::new(&searcher, &MemoryRows::new(&[0.0; 6], 3).unwrap(), None, 1, None, |_| ()), "queries: 2 × 3");
    said(truth(&searcher, &queries, Some(&MemoryRows::new(&[0.0; 3], 1).unwrap()), 1), "base: 3 × 1");
    said(truth(&searcher, &queries, Some(&MemoryRows::new(&[0.0; 8], 2).unwrap()), 1), "base: 4 × 2");
    said(truth(&searcher, &queries, Some(&base), 0), "k: 0");
    said(truth(&searcher, &queries, Some(&base), 1025), "k: 1025");
    let open = |index: Index| Searcher::new(index, &Device::cpu()).unwrap();
    said(truth(&open(Index::flat(1, Metric::L2, Vec::new()).unwrap()), &queries, None, 1), "index: it has no rows");
    let one = open(Index::flat(1, Metric::L2, vec![1.0]).unwrap());
    said(GroundTruth::held_back(&one, None, 1, 5, None, |_| ()), "a single row");
    let lists = |ids| {
        let lists = InvertedLists::from_parts(1, &[2], ids, vec![1.0, 2.0]).unwrap();
        open(Index::ivf_flat(Metric::L2, vec![0.0], 1, lists).unwrap())
    };
    let two_rows = MemoryRows::new(&[0.0; 2], 1).unwrap();
    said(truth(&lists(vec![0, 7]), &queries, Some(&two_rows), 1), "go up to 7");
    said(truth(&lists(vec![1, 1]), &queries, Some(&two_rows), 1), "the id 1 twice");
    let own = truth(&lists(vec![3, 7]), &queries, None, 1).map(|_| ());
    assert!(own.is_ok());
    let judged = |ids: Vec<i64>, found: Vec<i64>| {
        let searcher = lists(ids);
        let found = Neighbors { k: 1, distances: vec![0.0; 2], ids: found };
        truth(&searcher, &queries, None, 1).unwrap().judge(&found)
    };
    // The row 2 is the nearest of 4.
    assert_eq!(judged(vec![3, 7], vec![3, 7]).unwrap().recall, 1.0);
    assert!(judged(vec![3, 7], vec![3, 6]).unwrap_err().to_string().contains("no row has the id 6"));
    assert!(judged(vec![3, 3], vec![3, 3]).unwrap_err().to_string().contains("two rows have the id 3"));

    let two = truth(&searcher, &queries, None, 2).unwrap();
    for (k, ids) in [(2, vec![0, 1]), (1, vec![0, 1]), (2, vec![0, 1, 9, 0]), (4, vec![0, 1, 2, 3])] {
        assert!(two.judge(&Neighbors { k, distances: vec![0.0; ids.len()], ids }).unwrap_err().is_usage());
    }
    assert!(searcher.evaluate(&[0.0], &two, &SearchParams::default()).unwrap_err().is_usage());
    let held_back = GroundTruth::held_back(&searcher, None, 1, 5, None, |_| ()).unwrap();
    let error = searcher.evaluate(held_back.queries(), &held_back, &SearchParams::default()).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("rows held back"), "{error}");
}

#[test]
fn the_cheapest_setting_reaches_its_recall_and_less_does_not() {
    let (queries, rows) = (random(QUERIES * DIM, 2), random(ROWS * DIM, 1));
    let base = MemoryRows::new(&rows, DIM).unwrap();
    for factory in ["IVF20,Flat", "PQ4x4fs,RFlat", "IVF20,PQ4x4fs,RFlat", "L2norm,IVF20,PQ4x4fsr", "L2norm,IVF20,Flat"]
    {
        let searcher = searcher(factory, Metric::L2);
        let (nlist, refined) = (searcher.index().nlist(), searcher.index().refine().is_some());
        let truth = truth(&searcher, &queries, Some(&base), 8).unwrap();
        let recall = |nprobe, k_factor| {
            let found = searcher.search(&queries, 8, &SearchParams { nprobe, k_factor }).unwrap();
            truth.judge(&found).unwrap().recall
        };
        let most = recall(nlist, refined.then_some(128.0));
        for target in [0.3 * most, 0.8 * most, most] {
            let found = searcher.cheapest(&truth, target).unwrap();
            let least = found.considered[0];
            for setting in &found.considered {
                assert_eq!(setting.quality.recall, recall(setting.nprobe, setting.k_factor), "{factory} {setting:?}");
                assert!(setting.quality.recall >= target && setting.nprobe >= least.nprobe, "{factory} {setting:?}");
                if let Some(k_factor) = setting.k_factor.filter(|factor| *factor > 1.0) {
                    assert!(recall(setting.nprobe, Some(k_factor - 1.0)) < target, "{factory} {setting:?}");
                }
                assert!(setting.seconds_per_query >= found.chosen.seconds_per_query);
            }
            if let Some(nprobe) = least.nprobe.filter(|nprobe| *nprobe > 1) {
                assert!(recall(Some(nprobe - 1), refined.then_some(128.0)) < target, "{factory} {found:?}");
            }
            assert!(found.considered.contains(&found.chosen));
        }
    }
}

#[test]
fn rows_held_back_pass_over_their_own_stretch() {
    // All exact: what is held back finds all others, though k rows of its own stretch are nearer than any of them.
    let voice: Vec<f32> = (0..2000 * DIM).map(|i| (i / DIM) as f32 + random(1, i as u64)[0] / 100.0).collect();
    for factory in ["IVF9,Flat", "IVF9,Flat,RFlat", "PQ4x4fs,RFlat"] {
        let searcher = Searcher::new(built(factory, Metric::L2, &voice), &Device::cpu()).unwrap();
        let truth = GroundTruth::held_back(&searcher, None, 8, 5, None, |_| ()).unwrap();
        assert_eq!((truth.exact().queries(), truth.is_held_back()), (1000, true));
        let found = searcher.cheapest(&truth, 1.0).unwrap().chosen;
        assert_eq!((found.quality.recall, found.quality.missing), (1.0, 0.0), "{factory} {found:?}");
        assert_eq!(found.quality.distance_ratio, Some(1.0), "{factory}");
    }
}

#[test]
fn what_cannot_be_chosen() {
    let queries = random(QUERIES * DIM, 2);
    let cheapest = |factory, recall| {
        let searcher = searcher(factory, Metric::L2);
        searcher.cheapest(&truth(&searcher, &queries, None, 8).unwrap(), recall).unwrap_err()
    };
    for recall in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        let error = cheapest("IVF20,Flat", recall);
        assert!(error.is_usage() && error.to_string().starts_with("recall: "), "{error}");
    }
    assert!(cheapest("Flat", 0.9).to_string().contains("neither lists nor RFlat"));
    // 16 codes for 4,000 rows: 1,024 candidates are four of them.
    let rows = random(4000 * DIM, 1);
    let coarse = Searcher::new(built("PQ1x4fs,RFlat", Metric::L2, &rows), &Device::cpu()).unwrap();
    let error = coarse.cheapest(&truth(&coarse, &queries, None, 8).unwrap(), 1.0).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("with k_factor 128"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_mapped_index_is_written_over_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voice.index");
    let built = built("IVF5,PQ2x4fs,RFlat", Metric::L2, &random(ROWS * DIM, 1));
    write_index(&built, &path, Existing::Keep).unwrap();
    let mut mapped = map_index(&path).unwrap();
    mapped.set_nprobe(3).unwrap();
    mapped.set_k_factor(6.0).unwrap();
    write_index(&mapped, &path, Existing::Replace).unwrap();
    let mut again = read_index(&path).unwrap();
    assert_eq!((again.nprobe(), again.refine().unwrap().k_factor()), (Some(3), 6.0));
    assert_eq!(mapped, again);
    again.set_nprobe(built.nprobe().unwrap()).unwrap();
    again.set_k_factor(1.0).unwrap();
    assert_eq!(again, built);
}
