//! Bytes of a `.npy` file, header and data. What is read of it is what another reader sees, and what a written copy holds.
#![no_main]
#![deny(missing_docs)]

use std::fs::File;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ndarray_npy::{ReadNpyExt, ReadableElement};
use rvc_gpu_index::Existing;
use rvc_gpu_index::features::{FeatureSource, NonFinite, NpyFiles, write_npy};
use rvc_gpu_index_fuzz::{count, with_file};

fuzz_target!(|data: &[u8]| {
    count(with_file(data, |path| match NpyFiles::open(&[path]) {
        Ok(files) => {
            // The data is there that the header claims, in two bytes a value at the least.
            assert!(files.rows() as u128 * files.dim() as u128 * 2 <= data.len() as u128);
            check(files, path);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }));
});

fn check(mut files: NpyFiles, path: &Path) {
    let (rows, dim) = (files.rows(), files.dim());
    let all = read(&files, 0, rows);
    assert!(same(&read(&files, rows / 2, 1), &all[rows / 2 * dim..][..dim]));
    assert!(files.read(rows - 1, &mut vec![0.0; 2 * dim]).is_err());
    agree(&all, path, |x: f32| x);
    agree(&all, path, |x: f64| x as f32);

    let copy = path.with_file_name("copy.npy");
    write_npy(&copy, Existing::Keep, &files, 3).expect("a copy");
    assert!(same(&read(&NpyFiles::open(&[&copy]).expect("the copy is read"), 0, rows), &all));

    let finite = all.chunks(dim).filter(|row| row.iter().all(|x| x.is_finite()));
    let finite: Vec<f32> = finite.flatten().copied().collect();
    match files.check_finite(NonFinite::Skip, |_| ()) {
        Ok(dropped) => assert!(dropped + files.rows() == rows && read(&files, 0, files.rows()) == finite),
        Err(_) => assert!(finite.is_empty()),
    }
}

/// Where another crate reads the file as an array of `T`, it holds the same.
fn agree<T: ReadableElement + Copy>(all: &[f32], path: &Path, float: impl Fn(T) -> f32) {
    let file = File::open(path).expect("the file is there");
    if let Ok(array) = ndarray::Array2::<T>::read_npy(file) {
        assert!(same(&array.iter().map(|&x| float(x)).collect::<Vec<_>>(), all));
    }
}

fn read(files: &NpyFiles, start: usize, rows: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * files.dim()];
    files.read(start, &mut out).expect("rows that are there");
    out
}

/// Equal, and NaN where the other has NaN.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
}
