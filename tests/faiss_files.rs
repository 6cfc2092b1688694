//! faiss files made by hand: the healthy ones are read and written back byte for byte; cut short, corrupted and
//! contradicting ones are refused without a panic and without an allocation that the file cannot back.

use std::fs;
use std::io::Write;
use std::path::Path;

use rvc_gpu_index::faiss::{read_index, write_index};
use rvc_gpu_index::index::{Index, IndexKind};
use rvc_gpu_index::{Existing, Result};

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

/// An IVF,Flat file of two dimensions, with a field for everything that can contradict the rest.
struct Ivf {
    ntotal: u64,
    is_trained: u8,
    metric: i32,
    nlist: u64,
    nprobe: u64,
    quantizer: Vec<u8>,
    direct_map: Vec<u8>,
    lists_nlist: u64,
    code_size: u64,
    sizes: Vec<u8>,
    lists: Vec<u8>,
}

impl Default for Ivf {
    /// Three rows in two lists.
    fn default() -> Self {
        Self {
            ntotal: 3,
            is_trained: 1,
            metric: 1,
            nlist: 2,
            nprobe: 1,
            quantizer: flat(b"IxF2", 1, &[[0.0, 0.0], [9.0, 9.0]]),
            direct_map: Bytes::default().raw(&[0]).u64s(&[0]).0,
            lists_nlist: 2,
            code_size: 8,
            sizes: Bytes::default().raw(b"full").u64s(&[2, 1, 2]).0,
            lists: Bytes::default().f32s(&[0.0, 1.0]).u64s(&[1]).f32s(&[8.0, 9.0, 9.0, 8.0]).u64s(&[0, 2]).0,
        }
    }
}

impl Ivf {
    /// The same two lists and no rows yet; neither centroids where it is not trained.
    fn empty(is_trained: u8) -> Self {
        let sizes = Bytes::default().raw(b"sprs").u64s(&[0]).0;
        let healthy = Self { ntotal: 0, is_trained, sizes, lists: Vec::new(), ..Self::default() };
        if is_trained == 1 { healthy } else { Self { quantizer: flat(b"IxF2", 1, &[]), ..healthy } }
    }

    /// All rows in the second list, which makes the sizes sparse.
    fn sparse() -> Self {
        let lists = Bytes::default().f32s(&[8.0, 9.0, 9.0, 8.0, 9.0, 9.0]).u64s(&[0, 1, 2]).0;
        Self { sizes: Bytes::default().raw(b"sprs").u64s(&[2, 1, 3]).0, lists, ..Self::default() }
    }

    fn bytes(self) -> Vec<u8> {
        Bytes::default()
            .raw(b"IwFl")
            .header(2, self.ntotal, self.is_trained, self.metric)
            .u64s(&[self.nlist, self.nprobe])
            .raw(&self.quantizer)
            .raw(&self.direct_map)
            .raw(b"ilar")
            .u64s(&[self.lists_nlist, self.code_size])
            .raw(&self.sizes)
            .raw(&self.lists)
            .0
    }
}

fn l2norm(ntotal: u64, is_trained: u8, metric: i32, inner: &[u8]) -> Vec<u8> {
    let head = Bytes::default().raw(b"IxPT").header(2, ntotal, is_trained, metric).i32(1);
    head.raw(b"VNrm").f32s(&[2.0]).i32(2).i32(2).raw(&[1]).raw(inner).0
}

/// A small file of each kind this crate writes.
fn healthy() -> Vec<(&'static str, Vec<u8>)> {
    let inner_product = Ivf { metric: 0, quantizer: flat(b"IxFI", 0, &[[0.0, 0.0], [9.0, 9.0]]), ..Ivf::default() };
    vec![
        ("flat", flat(b"IxF2", 1, &[[1.0, 2.0], [3.0, 4.0]])),
        ("empty flat", flat(b"IxFI", 0, &[])),
        ("normalised flat", l2norm(1, 1, 0, &flat(b"IxFI", 0, &[[0.6, 0.8]]))),
        ("full", Ivf::default().bytes()),
        ("sparse", Ivf::sparse().bytes()),
        ("trained", Ivf::empty(1).bytes()),
        ("normalised untrained", l2norm(0, 0, 1, &Ivf::empty(0).bytes())),
        ("normalised inner product", l2norm(3, 1, 0, &inner_product.bytes())),
    ]
}

/// The default file with a direct map, which is read and not kept.
fn with_direct_map(map: Bytes) -> Vec<u8> {
    Ivf { direct_map: map.0, ..Ivf::default() }.bytes()
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
        read_index(path)
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
fn rows_and_ids_land_in_their_lists() {
    let index = Slot::new().read(&Ivf::default().bytes()).expect("a healthy file");
    let IndexKind::IvfFlat(ivf) = index.kind() else { panic!("not IVF") };
    let lists: Vec<_> = ivf.lists().iter().map(|list| (list.ids, list.rows)).collect();
    assert_eq!(lists, [(&[1][..], &[0.0, 1.0][..]), (&[0, 2], &[8.0, 9.0, 9.0, 8.0])]);
    assert_eq!(ivf.centroids(), [0.0, 0.0, 9.0, 9.0]);
    assert_eq!((index.dim(), index.ntotal(), ivf.nprobe(), index.is_trained()), (2, 3, 1, true));
}

#[test]
fn a_direct_map_is_dropped() {
    let slot = Slot::new();
    let array = Bytes::default().raw(&[1]).u64s(&[3, 1 << 32, 0, 1 << 32 | 1]);
    let table = Bytes::default().raw(&[2]).u64s(&[0, 1, 5, 0]);
    for map in [array, table] {
        let index = slot.read(&with_direct_map(map)).expect("a healthy file");
        assert_eq!(slot.written(&index), Ivf::default().bytes());
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
    let files = healthy().into_iter().map(|(_, bytes)| bytes).chain([with_direct_map(table)]);
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
fn contradictions_are_named() {
    let ivf = Ivf::default;
    let sizes = |form: &[u8; 4], numbers: &[u64]| Bytes::default().raw(form).u64s(numbers).0;
    let mut nan = ivf().lists;
    nan[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let negative = Bytes::default().f32s(&[0.0, 1.0]).u64s(&[u64::MAX]).raw(&ivf().lists[16..]).0;
    let three = flat(b"IxF2", 1, &[[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]]);
    let infinite = flat(b"IxF2", 1, &[[0.0, 0.0], [f32::INFINITY, 9.0]]);
    let cases = [
        ("nlist of ilar is 3, where 2 belongs", Ivf { lists_nlist: 3, ..ivf() }),
        ("code_size of ilar is 4, where 8 belongs", Ivf { code_size: 4, ..ivf() }),
        ("the lists have 3 rows, the index has 4", Ivf { ntotal: 4, ..ivf() }),
        ("d = 2 and ntotal = -1", Ivf { ntotal: u64::MAX, ..ivf() }),
        ("is_trained of IwFl is 2", Ivf { is_trained: 2, ..ivf() }),
        ("an untrained index has no rows", Ivf { is_trained: 0, ..ivf() }),
        ("an untrained index has no rows and at most", Ivf { nlist: 1 << 40, ..Ivf::empty(0) }),
        ("metric of IwFl is 3", Ivf { metric: 3, ..ivf() }),
        ("the lists compare by ip, their coarse quantizer by l2", Ivf { metric: 0, ..ivf() }),
        ("the coarse quantizer has", Ivf { quantizer: three, ..ivf() }),
        ("the coarse quantizer has", Ivf { quantizer: flat(b"IxF2", 1, &[]), ..Ivf::empty(1) }),
        ("IxFI cannot have", Ivf { quantizer: flat(b"IxFI", 1, &[]), ..ivf() }),
        ("nlist = 0 and nprobe = 1", Ivf { nlist: 0, ..ivf() }),
        ("nlist = 2 and nprobe = 0", Ivf { nprobe: 0, ..ivf() }),
        ("direct map's type is 3", Ivf { direct_map: vec![3], ..ivf() }),
        ("number of list sizes is 1, where 2 belongs", Ivf { sizes: sizes(b"full", &[1, 3]), ..ivf() }),
        ("3 numbers, which makes no pairs", Ivf { sizes: sizes(b"sprs", &[3, 0, 1, 1]), ..ivf() }),
        ("name list 2", Ivf { sizes: sizes(b"sprs", &[2, 2, 3]), ..ivf() }),
        ("name list 0", Ivf { sizes: sizes(b"sprs", &[4, 0, 1, 0, 2]), ..ivf() }),
        ("open with \"none\"", Ivf { sizes: sizes(b"none", &[0]), ..ivf() }),
        ("the centroids: row 1 holds NaN or infinity", Ivf { quantizer: infinite, ..ivf() }),
        ("list 0: row 0 holds NaN or infinity", Ivf { lists: nan, ..ivf() }),
        ("list 0 has the id -1", Ivf { lists: negative, ..ivf() }),
    ];
    let slot = Slot::new();
    for (expected, file) in cases {
        let error = slot.refusal(&file.bytes());
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn a_normalisation_fits_its_index() {
    let slot = Slot::new();
    let inner = flat(b"IxF2", 1, &[[0.6, 0.8]]);
    assert!(slot.refusal(&l2norm(2, 1, 1, &inner)).contains("but the index in it has"));
    let healthy = l2norm(1, 1, 1, &inner);
    // Past the fourcc and the header of 33 bytes: count, fourcc, norm, d_in, d_out, is_trained.
    let cases = [
        (37, 2_i32.to_le_bytes(), "IxPT has 2 transforms"),
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
        (b"IwPf", "the index is a fast-scan index (IwPf), which this version does not read yet"),
        (b"IHNf", "an HNSW index (IHNf)"),
        (b"\0\xffPK", r#"the index opens with "\x00\xffPK", which is no type of faiss's"#),
    ] {
        let error = slot.refusal(fourcc);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    let hnsw = Ivf { quantizer: b"IHNf".to_vec(), ..Ivf::default() };
    assert!(slot.refusal(&hnsw.bytes()).contains("the coarse quantizer is an HNSW index (IHNf)"));
}
