//! Files of 4-bit codes and of refinements: what one side writes, the other reads.

use rvc_gpu_index::Existing;
use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::index::{BlockLists, Index, InvertedLists, IvfPqFastScan, PqFastScan, ProductQuantizer};

use super::Case;
use super::faiss::{Faiss, METRICS, Outcome};
use super::files::{expect_same, same_bytes};

/// A multiple of 3 and of 4, the numbers of parts.
const DIM: usize = 12;

/// Rows added, around the size of a block.
const ADDED: [usize; 6] = [0, 1, 31, 32, 33, 100];

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    for metric in METRICS {
        for prefix in ["", "L2norm,"] {
            for suffix in ["", ",RFlat"] {
                for codes in ["PQ4x4fs", "PQ3x4fs", "IVF5,PQ4x4fs", "IVF5,PQ4x4fsr", "IVF5,PQ3x4fsr"] {
                    let factory = format!("{prefix}{codes}{suffix}");
                    let options = format!("--factory {factory} --metric {metric:?} --dim {DIM} --nprobe 3");
                    let name = format!("from_faiss/{factory}/{metric:?}");
                    cases.push((name, Box::new(move |faiss| from_faiss(faiss, &options))));
                }
            }
        }
        for flat in ["Flat,RFlat", "L2norm,IVF5,Flat,RFlat"] {
            let options = format!("--factory {flat} --metric {metric:?} --dim {DIM}");
            cases.push((format!("from_faiss/{flat}/{metric:?}"), Box::new(move |faiss| from_faiss(faiss, &options))));
        }
        for built in hand_built(metric).into_iter().flat_map(HandBuilt::variants) {
            let HandBuilt { index, .. } = &built;
            let training = if index.is_trained() { "" } else { "/untrained" };
            let name = format!("to_faiss/{}/{metric:?}/{}{training}", index.spec(), index.ntotal());
            cases.push((name, Box::new(move |faiss| to_faiss(faiss, &built))));
        }
    }
    cases
}

/// Files of faiss's, with and without training and rows, are written again byte for byte.
fn from_faiss(faiss: &Faiss, options: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let [theirs, ours] = ["theirs", "ours"].map(|name| folder.path().join(name));
    let added = ADDED.map(|count| count.to_string());
    faiss.write(&format!("{options} --added {}", added.join(",")), &theirs)?;
    for ending in added.iter().map(String::as_str).chain(["untrained"]) {
        let theirs = theirs.with_extension(ending);
        let same = || {
            write_index(&read_index(&theirs)?, &ours, Existing::Replace)?;
            same_bytes(&theirs, &ours)
        };
        same().map_err(|error| format!("{ending}: {error}"))?;
    }
    Ok(())
}

/// A file of this crate's is read by faiss as it was meant.
fn to_faiss(faiss: &Faiss, HandBuilt { index, rows }: &HandBuilt) -> Outcome {
    let folder = tempfile::tempdir()?;
    let ours = folder.path().join("ours.index");
    write_index(index, &ours, Existing::Keep)?;
    if read_index(&ours)? != *index {
        return Err("the file comes back as another index".into());
    }
    expect_same(faiss.describe(&ours)?, index, rows)
}

/// An index, and the rows that faiss has to make of it.
struct HandBuilt {
    index: Index,
    rows: Vec<f32>,
}

impl HandBuilt {
    /// Alone, and between a normalisation and exact rows.
    fn variants(self) -> [Self; 2] {
        let exact: Vec<_> = (0..self.rows.len()).map(|i| (i as f32).cos()).collect();
        let refined = self.index.clone().with_l2norm().with_refine(exact.clone(), 2.5).expect("a row an id");
        [self, Self { index: refined, rows: exact }]
    }
}

/// Indexes of every shape of file: whole blocks and others, an odd number of parts, empty lists, no rows, no training.
fn hand_built(metric: Metric) -> Vec<HandBuilt> {
    vec![
        plain(metric, 3, 33, true),
        plain(metric, 4, 64, true),
        plain(metric, 4, 0, true),
        plain(metric, 3, 0, false),
        with_lists(metric, 3, &[33, 0, 2, 32], true),
        with_lists(metric, 4, &[0, 7, 31], false),
        with_lists(metric, 4, &[0, 0], true),
        whole_rows(metric),
    ]
}

fn plain(metric: Metric, m: usize, rows: usize, is_trained: bool) -> HandBuilt {
    let codebooks = if is_trained { floats(16 * DIM) } else { Vec::new() };
    let pq = ProductQuantizer::new(DIM, m, codebooks).expect("M divides the dimensions");
    let codes = codes(&pq, rows);
    let rows = pq.decode(&codes);
    let index = Index::pq_fast_scan(metric, PqFastScan::from_codes(pq, &codes).expect("whole codes"));
    HandBuilt { index, rows }
}

fn with_lists(metric: Metric, m: usize, sizes: &[usize], by_residual: bool) -> HandBuilt {
    let pq = ProductQuantizer::new(DIM, m, floats(16 * DIM)).expect("M divides the dimensions");
    let centroids = floats(sizes.len() * DIM);
    // Neighbouring ids go to different lists.
    let mut labels: Vec<u32> = (0..).zip(sizes).flat_map(|(list, &size)| vec![list; size]).collect();
    let middle = labels.len() / 2;
    labels.rotate_left(middle);
    let codes = codes(&pq, labels.len());
    let mut rows = pq.decode(&codes);
    if by_residual {
        for (row, &label) in rows.chunks_exact_mut(DIM).zip(&labels) {
            let centroid = &centroids[label as usize * DIM..][..DIM];
            row.iter_mut().zip(centroid).for_each(|(x, c)| *x += c);
        }
    }
    let lists = BlockLists::from_codes(m, sizes.len(), &labels, &codes).expect("a code a label");
    let ivf = IvfPqFastScan::new(centroids, 2, by_residual, pq, lists).expect("a centroid a list");
    HandBuilt { index: Index::ivf_pq_fast_scan(metric, ivf), rows }
}

fn whole_rows(metric: Metric) -> HandBuilt {
    let rows = floats(4 * DIM);
    let lists = InvertedLists::from_parts(DIM, &[3, 0, 1], vec![0, 1, 2, 3], rows.clone()).expect("a row an id");
    let index = Index::ivf_flat(metric, floats(3 * DIM), 1, lists).expect("a centroid a list");
    HandBuilt { index, rows }
}

fn floats(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32).sin()).collect()
}

/// Flat codes in which each part takes every value; what pads an odd number of parts is 0.
fn codes(pq: &ProductQuantizer, rows: usize) -> Vec<u8> {
    let codeword = |row: usize, part: usize| if part < pq.m() { (row * 5 + part * 3 + row / 16) % 16 } else { 0 };
    let byte = |row, byte| (codeword(row, 2 * byte) | codeword(row, 2 * byte + 1) << 4) as u8;
    (0..rows).flat_map(|row| (0..pq.code_size()).map(move |at| byte(row, at))).collect()
}
