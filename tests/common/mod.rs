//! The command in a folder of its own, with files for it to read.

mod folder;

pub use folder::{Folder, text};

/// A file as NumPy writes it.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), data].concat()
}

/// float32 rows of the given width.
pub fn npy_f32(dim: usize, values: &[f32]) -> Vec<u8> {
    let shape = format!("({}, {dim})", values.len() / dim);
    npy("'<f4'", &shape, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

/// Rows that are all different, and the same on every run.
pub fn some_rows(rows: usize, dim: usize) -> Vec<f32> {
    (0..rows * dim).map(|i| ((i * 7919) % 10007) as f32 / 100.0).collect()
}
