//! Rows of a refinement that stay in the file.

use std::fs;
use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::{map_index, read_index, write_index};
use rvc_gpu_index::features::MemoryRows;
use rvc_gpu_index::index::{Index, Neighbors, SearchParams, Searcher};

const DIM: usize = 6;

/// In files of these the rows begin 3, 1, 2 and 0 bytes behind a multiple of 4.
const KINDS: [&str; 4] = ["PQ3x4fs,RFlat", "L2norm,PQ3x4fs,RFlat", "IVF5,PQ2x4fsr,RFlat", "L2norm,IVF5,PQ2x4fsr,RFlat"];

fn rows(count: usize) -> Vec<f32> {
    (0..count * DIM).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0).collect()
}

fn add(index: &mut Index, count: usize) {
    index.add(&Device::cpu(), &MemoryRows::new(&rows(count), DIM).unwrap(), None, &mut |_| ()).unwrap();
}

/// Writes an index of 300 rows.
fn written(kind: &str, metric: Metric, path: &Path) {
    let mut index = Index::new(&kind.parse::<IndexSpec>().unwrap(), metric, DIM).unwrap();
    let source = rows(300);
    let source = MemoryRows::new(&source, DIM).unwrap();
    index.train(&Device::cpu(), &source, &KMeansParams::default(), &mut |_| ()).unwrap();
    add(&mut index, 300);
    write_index(&index, path, Existing::Replace).unwrap();
}

fn search(index: Index) -> Neighbors {
    let params = SearchParams { nprobe: index.nlist().map(|_| 2), k_factor: Some(6.0) };
    Searcher::new(index, &Device::cpu()).unwrap().search(&rows(40), 7, &params).unwrap()
}

#[test]
fn a_mapped_index_finds_and_writes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [path, copy] = ["voice.index", "copy.index"].map(|name| folder.path().join(name));
    for (kind, metric) in KINDS.iter().flat_map(|kind| [(kind, Metric::L2), (kind, Metric::InnerProduct)]) {
        written(kind, metric, &path);
        let bytes = fs::read(&path).unwrap();
        let [read, mapped] = [read_index(&path), map_index(&path)].map(|index| search(index.unwrap()));
        let bits = |found: &Neighbors| found.distances.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!((&mapped.ids, bits(&mapped)), (&read.ids, bits(&read)), "{kind} {metric}");

        let index = map_index(&path).unwrap();
        write_index(&index, &copy, Existing::Replace).unwrap();
        assert!(fs::read(&copy).unwrap() == bytes, "{kind}");
        // Rows that are added need the others in memory.
        let [mut read, mut more] = [read_index(&path).unwrap(), index.clone()];
        for index in [&mut read, &mut more] {
            add(index, 50);
        }
        assert_eq!(read, more, "{kind}");
        assert_eq!(index.refine().unwrap().rows().len(), 300 * DIM, "{kind}");
    }
}

/// Windows does not replace a file that is mapped.
#[cfg(unix)]
#[test]
fn the_mapped_file_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voice.index");
    written(KINDS[0], Metric::L2, &path);
    let (bytes, index) = (fs::read(&path).unwrap(), map_index(&path).unwrap());
    write_index(&index, &path, Existing::Replace).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
    written(KINDS[1], Metric::L2, &path);
    assert!(fs::read(&path).unwrap() != bytes);
    write_index(&index, &path, Existing::Replace).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_row_of_nan_is_refused_when_read_and_never_found_when_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voice.index");
    for metric in [Metric::L2, Metric::InnerProduct] {
        written(KINDS[0], metric, &path);
        let expected = search(map_index(&path).unwrap());
        let nearest = expected.ids[0];
        // Behind the rows stands the k factor.
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 4 - (300 - nearest as usize) * DIM * 4;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let refused = read_index(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("the refine index: row {nearest} holds NaN or infinity")), "{refused}");
        let found = search(map_index(&path).unwrap());
        assert!(!found.ids.contains(&nearest));
        assert_eq!(found.ids[..6], expected.ids[1..7]);
        assert!(found.distances.iter().all(|distance| !distance.is_nan()));
    }
}
