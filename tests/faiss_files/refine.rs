//! `,RFlat` behind any other index.

use super::fast_scan::Lists;
use super::ivf_flat::Ivf;
use super::{Bytes, Slot, flat, l2norm};

const ROWS: [[f32; 2]; 3] = [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]];

/// A refinement by L2 of the index in `base`.
struct Refined {
    ntotal: u64,
    is_trained: u8,
    base: Vec<u8>,
    rows: Vec<u8>,
    k_factor: f32,
}

impl Default for Refined {
    fn default() -> Self {
        let base = l2norm(3, 1, 1, &Lists::default().bytes());
        Self { ntotal: 3, is_trained: 1, base, rows: flat(b"IxF2", 1, &ROWS), k_factor: 2.5 }
    }
}

impl Refined {
    fn bytes(self) -> Vec<u8> {
        let head = Bytes::default().raw(b"IxRF").header(2, self.ntotal, self.is_trained, 1);
        head.raw(&self.base).raw(&self.rows).f32s(&[self.k_factor]).0
    }
}

/// A small file of each shape.
pub fn healthy() -> Vec<(&'static str, Vec<u8>)> {
    let [untrained, trained] = [0, 1].map(|is_trained| {
        let base = Ivf::empty(is_trained).bytes();
        Refined { ntotal: 0, is_trained, base, rows: flat(b"IxF2", 1, &[]), ..Refined::default() }.bytes()
    });
    vec![("refined", Refined::default().bytes()), ("refined untrained", untrained), ("refined trained", trained)]
}

#[test]
fn the_exact_rows_are_kept_beside_the_codes() {
    let index = Slot::new().read(&Refined::default().bytes()).expect("a healthy file");
    let refine = index.refine().expect("a refinement");
    assert_eq!((&*refine.rows(), refine.k_factor()), (ROWS.as_flattened(), 2.5));
    assert_eq!(index.spec().to_string(), "L2norm,IVF2,PQ2x4fsr,RFlat");
}

#[test]
fn contradictions_are_named() {
    let healthy = Refined::default;
    let wide = Bytes::default().raw(b"IxF2").header(4, 3, 1, 1).u64s(&[12]).f32s(&[0.0; 12]).0;
    let inner_product = flat(b"IxFI", 0, &ROWS);
    let beyond = Lists { lists: [(vec![3], 32), (vec![0, 1], 32)], ..Lists::default() }.bytes();
    let nan = flat(b"IxF2", 1, &[[3.0, 4.0], [0.0, f32::NAN], [1.0, 0.0]]);
    let cases = [
        ("the refine index has d = 2, ntotal = 2", Refined { rows: flat(b"IxF2", 1, &ROWS[..2]), ..healthy() }),
        ("the refine index has d = 4, ntotal = 3", Refined { rows: wide, ..healthy() }),
        ("where d = 2, ntotal = 3, is_trained = true, metric = L2", Refined { rows: inner_product, ..healthy() }),
        ("the refine index is a scalar quantizer index (IxSQ)", Refined { rows: b"IxSQ".to_vec(), ..healthy() }),
        ("the refine index: row 1 holds NaN or infinity", Refined { rows: nan, ..healthy() }),
        ("but the index in it has d = 2, ntotal = 3", Refined { ntotal: 2, ..healthy() }),
        ("IxRF has d = 2, ntotal = 3, is_trained = false", Refined { is_trained: 0, ..healthy() }),
        ("the index in IxRF has the id 3, where one below 3 belongs", Refined { base: beyond, ..healthy() }),
        ("the index in IxRF is a refining index (IxRF)", Refined { base: healthy().bytes(), ..healthy() }),
        ("the index in IxPT is a refining index", Refined { base: l2norm(3, 1, 1, b"IxRF"), ..healthy() }),
        ("k_factor of IxRF is 0.5, where 1 to 1000 belongs", Refined { k_factor: 0.5, ..healthy() }),
        ("k_factor of IxRF is 1000.1", Refined { k_factor: 1000.1, ..healthy() }),
        ("k_factor of IxRF is NaN", Refined { k_factor: f32::NAN, ..healthy() }),
    ];
    let slot = Slot::new();
    for (expected, file) in cases {
        let error = slot.refusal(&file.bytes());
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}
