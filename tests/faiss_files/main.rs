//! faiss files made by hand: the healthy ones are read and written back byte for byte; cut short, corrupted and
//! contradicting ones are refused without a panic and without an allocation that the file cannot back.

mod fast_scan;
mod ivf_flat;
mod mapped;
mod refine;

use std::fs;
use std::io::Write;
use std::path::Path;

use rvc_gpu_index::faiss::{map_index, read_index, write_index};
use rvc_gpu_index::index::Index;
use rvc_gpu_index::{Existing, Result};

use ivf_flat::Ivf;

/// The bytes of a file, field by field.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i32(self, value: i32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64s(self, values: &[u64]) -> Self {
        values.iter().fold(self, |bytes, value| bytes.raw(&value.to_le_bytes()))
    }

    fn f32s(self, values: &[f32]) -> Self {
        values.iter().fold(self, |bytes, value| bytes.raw(&value.to_le_bytes()))
    }

    fn header(self, d: i32, ntotal: u64, is_trained: u8, metric: i32) -> Self {
        self.i32(d).u64s(&[ntotal, 1 << 20, 1 << 20]).raw(&[is_trained]).i32(metric)
    }
}

fn flat(fourcc: &[u8; 4], metric: i32, rows: &[[f32; 2]]) -> Vec<u8> {
    let n = rows.len() as u64;
    Bytes::default().raw(fourcc).header(2, n, 1, metric).u64s(&[2 * n]).f32s(rows.as_flattened()).0
}

fn l2norm(ntotal: u64, is_trained: u8, metric: i32, inner: &[u8]) -> Vec<u8> {
    let head = Bytes::default().raw(b"IxPT").header(2, ntotal, is_trained, metric).i32(1);
    head.raw(b"VNrm").f32s(&[2.0]).i32(2).i32(2).raw(&[1]).raw(inner).0
}

/// A small file of each kind this crate writes.
fn healthy() -> Vec<(&'static str, Vec<u8>)> {
    let flat = vec![
        ("flat", flat(b"IxF2", 1, &[[1.0, 2.0], [3.0, 4.0]])),
        ("empty flat", flat(b"IxFI", 0, &[])),
        ("normalised flat", l2norm(1, 1, 0, &flat(b"IxFI", 0, &[[0.6, 0.8]]))),
    ];
    [flat, ivf_flat::healthy(), fast_scan::healthy(), refine::healthy()].concat()
}

/// One file that is written over and over.
struct Slot(tempfile::TempDir);

impl Slot {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn read(&self, bytes: &[u8]) -> Result<Index> {
        let path = self.0.path().join("voice.index");
        // Overwritten in place: some file systems flush a file that is truncated first, thousands of times here.
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(false).open(&path).expect("a file");
        file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64)).expect("space for a small file");
        let (read, mapped) = (read_index(&path), map_index(&path));
        // Mapped rows are not looked at; all else is checked the same way.
        let alike = match (&read, &mapped) {
            (Ok(read), Ok(mapped)) => read == mapped,
            (Err(read), _) if read.to_string().contains("the refine index: row") => true,
            (Err(read), Err(mapped)) => read.to_string() == mapped.to_string(),
            _ => false,
        };
        assert!(alike, "read: {read:?}\nmapped: {mapped:?}");
        read
    }

    /// What this crate makes of an index.
    fn written(&self, index: &Index) -> Vec<u8> {
        let path = self.0.path().join("written.index");
        write_index(index, &path, Existing::Replace).expect("a writable index");
        fs::read(path).expect("the file just written")
    }

    fn refusal(&self, bytes: &[u8]) -> String {
        self.read(bytes).expect_err("a refusal").to_string()
    }
}

#[test]
fn healthy_files_come_back_byte_for_byte() {
    let slot = Slot::new();
    for (name, bytes) in healthy() {
        let index = slot.read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(slot.written(&index), bytes, "{name}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let slot = Slot::new();
    for (name, bytes) in healthy() {
        for end in 0..bytes.len() {
            let error = slot.refusal(&bytes[..end]);
            assert!(error.contains("ends inside"), "{name}, {end} bytes: {error}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(slot.refusal(&longer).contains("goes on after the end"), "{name}");
    }
}

#[test]
fn corruption_never_panics_nor_allocates_beyond_the_file() {
    let slot = Slot::new();
    let table = Bytes::default().raw(&[2]).u64s(&[0, 1, 5, 0]);
    let files = healthy().into_iter().map(|(_, bytes)| bytes).chain([ivf_flat::with_direct_map(table)]);
    for bytes in files {
        for at in 0..bytes.len() {
            for value in (0..8).map(|bit| bytes[at] ^ 1 << bit).chain([0x00, 0x7f, 0xff]) {
                let _ = slot.read(&patched(&bytes, at, &[value]));
            }
            for count in [u64::MAX, 1 << 63, 1 << 62, u64::MAX / 4 + 1, 1 << 40, 1 << 33, 1 << 30, 0] {
                let _ = slot.read(&patched(&bytes, at, &count.to_le_bytes()));
            }
        }
    }
    // The files are a few hundred bytes; a count that was believed would show as gigabytes.
    if let Some(peak) = peak_address_space() {
        assert!(peak < 2 << 30, "{peak} bytes were reserved");
    }
}

/// `bytes` with `patch` laid over what stands from `at` on.
fn patched(bytes: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().skip(at).zip(patch).for_each(|(byte, &new)| *byte = new);
    bytes
}

/// The most memory this process ever asked for, where the system tells.
fn peak_address_space() -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn a_normalisation_fits_its_index() {
    let slot = Slot::new();
    let inner = flat(b"IxF2", 1, &[[0.6, 0.8]]);
    assert!(slot.refusal(&l2norm(2, 1, 1, &inner)).contains("but the index in it has"));
    let healthy = l2norm(1, 1, 1, &inner);
    // Past the fourcc and the header of 33 bytes: count, fourcc, norm, d_in, d_out, is_trained.
    let cases = [
        (37, 2_i32.to_le_bytes(), "the index has 2 transforms before it (IxPT)"),
        (41, *b"PcAm", "the transform is a PCA (PcAm)"),
        (45, 1_f32.to_le_bytes(), "VNrm has norm = 1"),
        (49, 3_i32.to_le_bytes(), "d_in = 3"),
        (53, 3_i32.to_le_bytes(), "d_out = 3"),
        (58, *b"IxPT", "the index in IxPT is a pre-transform index"),
    ];
    for (at, patch, expected) in cases {
        let error = slot.refusal(&patched(&healthy, at, &patch));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn other_families_are_refused_by_name() {
    let slot = Slot::new();
    for (fourcc, expected) in [
        (b"IxPQ", "the index is a product quantizer index (IxPQ), which this version does not read; build it again"),
        (b"IHNf", "an HNSW index (IHNf)"),
        (b"\0\xffPK", r#"the index opens with "\x00\xffPK", which is no type of faiss's"#),
    ] {
        let error = slot.refusal(fourcc);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        // faiss has the rows of what is its own.
        let remedy = "numpy.save(\"rows.npy\", faiss.read_index(r\"";
        assert_eq!(error.contains(remedy), !error.contains("no type of faiss's"), "{error}");
        assert_eq!(error.contains(".reconstruct_n()), then rvc-gpu-index build rows.npy"), error.contains(remedy));
    }
    let hnsw = Ivf { quantizer: b"IHNf".to_vec(), ..Ivf::default() };
    assert!(slot.refusal(&hnsw.bytes()).contains("the coarse quantizer is an HNSW index (IHNf)"));
}
