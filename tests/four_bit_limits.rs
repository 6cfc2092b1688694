//! Indexes of 4-bit codes at their limits, through the library: shapes that are odd or large, too few rows, rows that do
//! not differ, lists without rows, more asked for than there is.

use rvc_gpu_index::Result;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::features::MemoryRows;
use rvc_gpu_index::index::{BlockLists, Index, IvfPqFastScan, Neighbors, ProductQuantizer, SearchParams, Searcher};

fn built(factory: &str, metric: Metric, rows: &[f32], dim: usize) -> Result<Index> {
    let (device, source) = (Device::cpu(), MemoryRows::new(rows, dim)?);
    let mut index = Index::new(&factory.parse::<IndexSpec>()?, metric, dim)?;
    index.train(&device, &source, &KMeansParams::default(), &mut |_| ())?;
    index.add(&device, &source, None, &mut |_| ())?;
    Ok(index)
}

fn search(index: &Index, queries: &[f32], k: usize, params: SearchParams) -> Neighbors {
    Searcher::new(index.clone(), &Device::cpu()).unwrap().search(queries, k, &params).unwrap()
}

/// Rows that are all different in every part.
fn some_rows(count: usize, dim: usize) -> Vec<f32> {
    (0..count * dim).map(|i| ((i * 7919) % 10007) as f32 / 100.0).collect()
}

fn squared(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

fn close(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 1e-5 * expected.abs()
}

#[test]
fn sixteen_rows_are_found_by_themselves_whatever_the_parts() {
    // The rows are the codewords, so that a row's own distance is 0, and no other's.
    for (dim, m) in [(33, 1), (33, 3), (33, 11), (33, 33), (200, 1), (200, 2), (200, 25), (1, 1)] {
        // In every dimension the 16 rows have the 16 whole numbers below 16, in another order.
        let value = |i: usize| ((i / dim * (i % dim % 8 * 2 + 1) + i % dim) % 16) as f32;
        let rows: Vec<f32> = (0..16 * dim).map(value).collect();
        for lists in ["", "IVF1,"] {
            let index = built(&format!("{lists}PQ{m}x4fs"), Metric::L2, &rows, dim).unwrap();
            let found = search(&index, &rows, 1, SearchParams::default());
            assert_eq!(found.ids, (0..16).collect::<Vec<_>>(), "{lists} d = {dim}, M = {m}");
            assert_eq!(found.distances, [0.0; 16], "{lists} d = {dim}, M = {m}");
        }
    }
    // A single part has no other: distances are those of the rows, up to half a step of the table.
    let rows = some_rows(16, 200);
    let index = built("PQ1x4fs", Metric::L2, &rows, 200).unwrap();
    let found = search(&index, &rows[..200], 16, SearchParams::default());
    let farthest = rows.chunks(200).map(|row| squared(&rows[..200], row)).fold(0.0, f64::max);
    for (&id, &distance) in found.ids.iter().zip(&found.distances) {
        let exact = squared(&rows[..200], &rows[id as usize * 200..][..200]);
        assert!((f64::from(distance) - exact).abs() <= 0.51 * farthest / 255.0, "{id}: {distance}, {exact}");
    }
}

#[test]
fn too_few_rows_and_parts_that_do_not_fit_are_refused() {
    for factory in ["PQ2x4fs", "PQ2x4fs,RFlat", "L2norm,IVF3,PQ2x4fsr"] {
        let refused = built(factory, Metric::L2, &some_rows(15, 4), 4).unwrap_err();
        assert!(refused.is_usage());
        assert_eq!(
            refused.to_string(),
            "rows: 15 to train the 16 centroids of each sub-quantizer; add features, or choose an index without a \
             product quantizer"
        );
    }
    for (dim, m) in [(200, 3), (4, 8), (33, 2)] {
        let refused = Index::new(&format!("IVF2,PQ{m}x4fs").parse().unwrap(), Metric::L2, dim).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("M = {m} parts, but d = {dim}")) && refused.contains("choose an M"),
            "{refused}"
        );
    }
}

#[test]
fn rows_that_do_not_differ_are_equally_far() {
    for factory in ["PQ3x4fs", "IVF4,PQ3x4fs", "IVF4,PQ3x4fsr", "PQ1x4fs,RFlat"] {
        for value in [0.0, -2.5] {
            let (rows, query) = (vec![value; 40 * 3], [1.0, 2.0, 3.0]);
            for (metric, exact) in [
                (Metric::L2, squared(&query, &rows[..3])),
                (Metric::InnerProduct, query.iter().map(|x| f64::from(x * value)).sum()),
            ] {
                let index = built(factory, metric, &rows, 3).unwrap();
                let found = search(&index, &query, 40, SearchParams { nprobe: index.nlist(), k_factor: None });
                let mut ids = found.ids.clone();
                ids.sort_unstable();
                assert_eq!(ids, (0..40).collect::<Vec<_>>(), "{factory} {metric} {value}");
                // Codewords are told apart by a thousandth where there are not 16 rows to take them from.
                let near = |distance: &f32| (f64::from(*distance) - exact).abs() <= 0.01 * (1.0 + exact.abs());
                assert!(found.distances.iter().all(near), "{factory} {metric} {value}: {:?}", found.distances);
            }
        }
    }
}

#[test]
fn dimensions_that_never_change_and_few_different_rows() {
    // Two dimensions in three are constant, and there are 5 different rows.
    let rows: Vec<f32> = (0..200).flat_map(|row| [7.0, (row % 5) as f32, -1.0]).collect();
    for factory in ["PQ3x4fs", "PQ1x4fs", "IVF2,PQ3x4fsr", "L2norm,PQ3x4fs"] {
        let index = built(factory, Metric::L2, &rows, 3).unwrap();
        let found = search(&index, &rows[..15], 40, SearchParams { nprobe: index.nlist(), k_factor: None });
        for (query, ids) in found.ids.chunks(40).enumerate() {
            assert!(ids.iter().all(|&id| id as usize % 5 == query), "{factory} {query}: {ids:?}");
        }
    }
}

#[test]
fn more_candidates_than_rows_are_all_rows() {
    let rows = some_rows(50, 6);
    for factory in ["PQ3x4fs,RFlat", "L2norm,PQ2x4fs,RFlat", "IVF4,PQ3x4fsr,RFlat"] {
        let index = built(factory, Metric::L2, &rows, 6).unwrap();
        let query = &some_rows(60, 6)[55 * 6..56 * 6];
        let params = SearchParams { nprobe: index.nlist(), k_factor: Some(8.0) };
        let found = search(&index, query, 60, params);
        let mut expected: Vec<(f64, i64)> =
            rows.chunks(6).zip(0..).map(|(row, id)| (squared(query, row), id)).collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (rank, (distance, id)) in expected.into_iter().enumerate() {
            assert_eq!(found.ids[rank], id, "{factory} rank {rank}");
            assert!(close(found.distances[rank], distance), "{factory} rank {rank}");
        }
        assert_eq!((&found.ids[50..], &found.distances[50..]), (&[-1; 10][..], &[f32::MAX; 10][..]), "{factory}");
    }
}

#[test]
fn lists_without_rows_are_visited_and_too_many_lists_are_all() {
    // Codeword c of either part is (c, 0); of three lists only the one in the middle has rows.
    let codebooks: Vec<f32> = (0..2).flat_map(|_| (0..16).flat_map(|c| [c as f32, 0.0])).collect();
    let pq = ProductQuantizer::new(4, 2, codebooks).unwrap();
    let codes = [0x00, 0x11, 0x22];
    for by_residual in [false, true] {
        let lists = BlockLists::from_codes(2, 3, &[1, 1, 1], &codes).unwrap();
        let centroids = vec![-100., 0., 0., 0., 0., 0., 0., 0., 100., 0., 0., 0.];
        let ivf = IvfPqFastScan::new(centroids, 1, by_residual, pq.clone(), lists).unwrap();
        for metric in [Metric::L2, Metric::InnerProduct] {
            let index = Index::ivf_pq_fast_scan(metric, ivf.clone());
            let ids = |x: f32, nprobe| {
                search(&index, &[x, 0.0, x, 0.0], 4, SearchParams { nprobe: Some(nprobe), k_factor: None }).ids
            };
            // The nearest list to the left and to the right has nothing.
            assert_eq!((ids(-90.0, 1), ids(90.0, 1)), (vec![-1; 4], vec![-1; 4]), "{by_residual} {metric}");
            let nearest = if metric == Metric::L2 { [0, 1, 2, -1] } else { [2, 1, 0, -1] };
            assert_eq!((ids(0.25, 3), ids(0.25, 1000)), (nearest.to_vec(), nearest.to_vec()), "{by_residual} {metric}");
        }
    }
}
