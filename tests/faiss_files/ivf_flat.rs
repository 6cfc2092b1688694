//! `IVFn,Flat`.

use rvc_gpu_index::index::IndexKind;

use super::{Bytes, Slot, flat, l2norm};

/// An IVF,Flat file of two dimensions, with a field for everything that can contradict the rest.
pub struct Ivf {
    pub ntotal: u64,
    pub is_trained: u8,
    pub metric: i32,
    pub nlist: u64,
    pub nprobe: u64,
    pub quantizer: Vec<u8>,
    pub direct_map: Vec<u8>,
    pub lists_nlist: u64,
    pub code_size: u64,
    pub sizes: Vec<u8>,
    pub lists: Vec<u8>,
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
    pub fn empty(is_trained: u8) -> Self {
        let sizes = Bytes::default().raw(b"sprs").u64s(&[0]).0;
        let healthy = Self { ntotal: 0, is_trained, sizes, lists: Vec::new(), ..Self::default() };
        if is_trained == 1 { healthy } else { Self { quantizer: flat(b"IxF2", 1, &[]), ..healthy } }
    }

    /// All rows in the second list, which makes the sizes sparse.
    fn sparse() -> Self {
        let lists = Bytes::default().f32s(&[8.0, 9.0, 9.0, 8.0, 9.0, 9.0]).u64s(&[0, 1, 2]).0;
        Self { sizes: Bytes::default().raw(b"sprs").u64s(&[2, 1, 3]).0, lists, ..Self::default() }
    }

    pub fn bytes(self) -> Vec<u8> {
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

/// A small file of each shape.
pub fn healthy() -> Vec<(&'static str, Vec<u8>)> {
    let inner_product = Ivf { metric: 0, quantizer: flat(b"IxFI", 0, &[[0.0, 0.0], [9.0, 9.0]]), ..Ivf::default() };
    vec![
        ("full", Ivf::default().bytes()),
        ("sparse", Ivf::sparse().bytes()),
        ("trained", Ivf::empty(1).bytes()),
        ("rows in no list", Ivf { ntotal: 5, ..Ivf::default() }.bytes()),
        ("nprobe 0", Ivf { nprobe: 0, ..Ivf::default() }.bytes()),
        ("normalised untrained", l2norm(0, 0, 1, &Ivf::empty(0).bytes())),
        ("normalised inner product", l2norm(3, 1, 0, &inner_product.bytes())),
    ]
}

/// The default file with a direct map, which is read and not kept.
pub fn with_direct_map(map: Bytes) -> Vec<u8> {
    Ivf { direct_map: map.0, ..Ivf::default() }.bytes()
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
        ("the lists have 3 rows, the index has 2", Ivf { ntotal: 2, ..ivf() }),
        ("the lists have 3 rows, the index has 1099511627776", Ivf { ntotal: 1 << 40, ..ivf() }),
        ("d = 2 and ntotal = -1", Ivf { ntotal: u64::MAX, ..ivf() }),
        ("is_trained of IwFl is 2", Ivf { is_trained: 2, ..ivf() }),
        ("an untrained index has no rows", Ivf { is_trained: 0, ..ivf() }),
        ("an untrained index has no rows and at most", Ivf { nlist: 1 << 40, ..Ivf::empty(0) }),
        ("metric of IwFl is 5", Ivf { metric: 5, ..ivf() }),
        ("an IVF,Flat index (IwFl) by the metric L1, which this version does not read", Ivf { metric: 2, ..ivf() }),
        ("the lists compare by ip, their coarse quantizer by l2", Ivf { metric: 0, ..ivf() }),
        ("the coarse quantizer has", Ivf { quantizer: three, ..ivf() }),
        ("the coarse quantizer has", Ivf { quantizer: flat(b"IxF2", 1, &[]), ..Ivf::empty(1) }),
        ("IxFI cannot have", Ivf { quantizer: flat(b"IxFI", 1, &[]), ..ivf() }),
        ("nlist = 0", Ivf { nlist: 0, ..ivf() }),
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
