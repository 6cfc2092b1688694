//! `PQMx4fs` and `IVFn,PQMx4fs`.

use rvc_gpu_index::index::IndexKind;

use super::{Bytes, Slot, flat, l2norm};

/// A product quantizer of two dimensions, with a field for everything that can contradict the rest.
pub struct Pq {
    d: u64,
    m: u64,
    nbits: u64,
    floats: u64,
    codebooks: Vec<f32>,
}

impl Pq {
    fn of_parts(m: u64) -> Self {
        Self { d: 2, m, nbits: 4, floats: 32, codebooks: (0..32).map(|i| i as f32).collect() }
    }

    /// What faiss writes before there are codewords.
    fn untrained(m: u64) -> Self {
        Self { codebooks: vec![0.0; 32], ..Self::of_parts(m) }
    }

    fn bytes(&self) -> Vec<u8> {
        Bytes::default().u64s(&[self.d, self.m, self.nbits, self.floats]).f32s(&self.codebooks).0
    }
}

/// A file without inverted lists.
struct Plain {
    ntotal: u64,
    is_trained: u8,
    pq: Pq,
    bbs: i32,
    ntotal2: u64,
    m2: u64,
    codes: Vec<u8>,
}

impl Default for Plain {
    /// 33 rows of one part, which makes two blocks.
    fn default() -> Self {
        Self { ntotal: 33, is_trained: 1, pq: Pq::of_parts(1), bbs: 32, ntotal2: 64, m2: 2, codes: vec![7; 64] }
    }
}

impl Plain {
    fn empty(is_trained: u8) -> Self {
        let pq = if is_trained == 1 { Pq::of_parts(1) } else { Pq::untrained(1) };
        Self { ntotal: 0, is_trained, pq, ntotal2: 0, codes: Vec::new(), ..Self::default() }
    }

    fn bytes(self) -> Vec<u8> {
        Bytes::default()
            .raw(b"IPfs")
            .header(2, self.ntotal, self.is_trained, 1)
            .raw(&self.pq.bytes())
            .i32(0)
            .i32(self.bbs)
            .i32(0)
            .u64s(&[self.ntotal2, self.m2, self.codes.len() as u64])
            .raw(&self.codes)
            .0
    }
}

/// A file with two inverted lists.
pub struct Lists {
    pub ntotal: u64,
    pub is_trained: u8,
    pub by_residual: u8,
    pub code_size: u64,
    pub bbs: i32,
    pub m2: u64,
    pub pq: Pq,
    /// nlist, code_size, rows of a block, bytes of a block.
    pub head: [u64; 4],
    /// For each list its ids, and the number of its blocks' bytes.
    pub lists: [(Vec<u64>, u64); 2],
}

impl Default for Lists {
    /// Three rows of two parts in a list.
    fn default() -> Self {
        Self {
            ntotal: 3,
            is_trained: 1,
            by_residual: 1,
            code_size: 1,
            bbs: 32,
            m2: 2,
            pq: Pq::of_parts(2),
            head: [2, u64::MAX, 32, 32],
            lists: [(vec![], 0), (vec![1, 0, 2], 32)],
        }
    }
}

impl Lists {
    fn empty(is_trained: u8) -> Self {
        let pq = if is_trained == 1 { Pq::of_parts(2) } else { Pq::untrained(2) };
        Self { ntotal: 0, is_trained, pq, lists: [(vec![], 0), (vec![], 0)], ..Self::default() }
    }

    pub fn bytes(self) -> Vec<u8> {
        let centroids = [[0.0, 0.0], [9.0, 9.0]];
        let head = Bytes::default()
            .raw(b"IwPf")
            .header(2, self.ntotal, self.is_trained, 1)
            .u64s(&[2, 1])
            .raw(&flat(b"IxF2", 1, if self.is_trained == 0 { &[] } else { &centroids }))
            .raw(&[0])
            .u64s(&[0])
            .raw(&[self.by_residual])
            .u64s(&[self.code_size])
            .i32(self.bbs)
            .u64s(&[self.m2])
            .i32(0)
            .u64s(&[0])
            .raw(&self.pq.bytes())
            .raw(b"ilbl")
            .u64s(&self.head);
        let write = |file: Bytes, (ids, bytes): (Vec<u64>, u64)| {
            let blocks: Vec<u8> = (0..bytes).map(|i| (i * 5) as u8).collect();
            file.u64s(&[ids.len() as u64]).u64s(&ids).u64s(&[bytes]).raw(&blocks)
        };
        self.lists.into_iter().fold(head, write).0
    }
}

/// A small file of each shape.
pub fn healthy() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("fast-scan", Plain::default().bytes()),
        ("trained fast-scan", Plain::empty(1).bytes()),
        ("normalised untrained fast-scan", l2norm(0, 0, 1, &Plain::empty(0).bytes())),
        ("fast-scan lists", Lists::default().bytes()),
        ("normalised trained fast-scan lists", l2norm(0, 1, 1, &Lists::empty(1).bytes())),
        ("untrained fast-scan lists", Lists { by_residual: 0, ..Lists::empty(0) }.bytes()),
    ]
}

#[test]
fn codes_and_ids_land_in_their_lists() {
    let index = Slot::new().read(&Lists::default().bytes()).expect("a healthy file");
    let IndexKind::IvfPqFastScan(ivf) = index.kind() else { panic!("no lists of codes") };
    let lists: Vec<_> = ivf.lists().iter().map(|list| (list.ids, list.blocks.len())).collect();
    assert_eq!(lists, [(&[][..], 0), (&[1, 0, 2], 32)]);
    // Rows 0, 1 and 2 have the bytes 0, 2 and 4 of the even part's 16, the same bytes of the odd part's.
    assert_eq!(ivf.lists().codes().unpack(ivf.lists().places(1)), [0x00, 0xaa, 0x44]);
    assert_eq!((ivf.by_residual(), ivf.pq().m(), ivf.centroids()), (true, 2, &[0.0, 0.0, 9.0, 9.0][..]));
    assert_eq!(index.spec().to_string(), "IVF2,PQ2x4fsr");
}

#[test]
fn contradictions_are_named() {
    let pq = |m| Pq::of_parts(m);
    let mut infinite = pq(1);
    infinite.codebooks[3] = f32::INFINITY;
    let cases = [
        ("ntotal2 of IPfs is 32, where 64 belongs", Plain { ntotal2: 32, ..Plain::default() }),
        ("ntotal2 of IPfs is 64, where 96 belongs", Plain { ntotal: 65, ..Plain::default() }),
        ("bytes in the codes is 63, where 64 belongs", Plain { codes: vec![0; 63], ..Plain::default() }),
        ("bytes in the codes is 96, where 64 belongs", Plain { codes: vec![0; 96], ..Plain::default() }),
        ("M2 of IPfs is 1, where 2 belongs", Plain { m2: 1, ..Plain::default() }),
        ("IPfs has blocks of 64 rows (bbs) in place of 32, which this version", Plain { bbs: 64, ..Plain::default() }),
        ("bbs of IPfs is 33", Plain { bbs: 33, ..Plain::default() }),
        ("bbs of IPfs is -32", Plain { bbs: -32, ..Plain::default() }),
        ("an untrained index has no rows", Plain { is_trained: 0, ..Plain::default() }),
        ("d of the product quantizer is 4", Plain { pq: Pq { d: 4, ..pq(1) }, ..Plain::default() }),
        ("quantizer is 0, which does not divide d = 2", Plain { pq: pq(0), ..Plain::default() }),
        ("quantizer is 4, which does not divide d = 2", Plain { pq: pq(4), ..Plain::default() }),
        ("nbits of the product quantizer is 8", Plain { pq: Pq { nbits: 8, ..pq(1) }, ..Plain::default() }),
        ("floats in the codebooks is 31", Plain { pq: Pq { floats: 31, ..pq(1) }, ..Plain::default() }),
        ("the codebooks: row 1 holds NaN or infinity", Plain { pq: infinite, ..Plain::default() }),
    ];
    let slot = Slot::new();
    for (expected, file) in cases {
        let error = slot.refusal(&file.bytes());
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn contradictions_between_lists_are_named() {
    let healthy = Lists::default;
    let head = |at: usize, value| {
        let mut head = healthy().head;
        head[at] = value;
        Lists { head, ..healthy() }
    };
    let lists = |first: (Vec<u64>, u64), second| Lists { lists: [first, second], ..healthy() };
    let many = (0..33).collect::<Vec<_>>();
    let cases = [
        ("by_residual of IwPf is 2, where 0 or 1 belongs", Lists { by_residual: 2, ..healthy() }),
        ("(code_size, M2) = (2, 2), where (1, 2) belongs to M = 2", Lists { code_size: 2, ..healthy() }),
        ("(code_size, M2) = (1, 4), where (1, 2) belongs to M = 2", Lists { m2: 4, ..healthy() }),
        ("IwPf has blocks of 64 rows", Lists { bbs: 64, ..healthy() }),
        ("nlist of ilbl is 3, where 2 belongs", head(0, 3)),
        ("code_size of ilbl is 1, where -1 belongs", head(1, 1)),
        ("the rows of a block of ilbl is 64", head(2, 64)),
        ("the bytes of a block of ilbl is 64, where 32 belongs", head(3, 64)),
        ("list 1 has 3 ids, more than the index's 2 leave", Lists { ntotal: 2, ..healthy() }),
        ("the lists have 3 rows, the index has 1099511627776", Lists { ntotal: 1 << 40, ..healthy() }),
        ("the blocks of list 1 is 64, where 32 belongs", lists((vec![], 0), (vec![0, 1, 2], 64))),
        ("the blocks of list 0 is 32, where 0 belongs", lists((vec![], 32), (vec![0, 1, 2], 32))),
        ("list 0 has the id -1", lists((vec![u64::MAX], 32), (vec![1, 2], 32))),
        ("the blocks of list 0 is 32, where 64 belongs", Lists { ntotal: 33, ..lists((many, 32), (vec![], 0)) }),
        ("an untrained index has no rows", Lists { is_trained: 0, ..healthy() }),
    ];
    let slot = Slot::new();
    for (expected, file) in cases {
        let error = slot.refusal(&file.bytes());
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn other_lists_are_refused_by_name() {
    let bytes = Lists::default().bytes();
    let at = bytes.windows(4).position(|word| word == b"ilbl").expect("an array of blocks");
    let error = Slot::new().refusal(&super::patched(&bytes, at, b"ilar"));
    assert!(error.contains("what holds the inverted lists is an array of lists (ilar)"), "{error}");
}
