//! Feature files in: the bytes are made by hand here, so that the reader is not tested against its own writer.

use std::fs;
use std::path::{Path, PathBuf};

use rvc_gpu_index::features::{FeatureSource, NonFinite, NpyFiles, for_each_batch, write_npy};
use rvc_gpu_index::{Error, Existing, Result};
use tempfile::TempDir;

/// A file as NumPy writes it, around data that is already bytes.
fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    text += &" ".repeat(117 - text.len());
    text += "\n";
    [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), data].concat()
}

fn npy_f32(shape: &str, values: &[f32]) -> Vec<u8> {
    npy("<f4", "False", shape, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Opens one file that holds these bytes.
    fn open(&self, bytes: &[u8]) -> Result<NpyFiles> {
        NpyFiles::open(&[self.put("0.npy", bytes)])
    }
}

fn read(source: &dyn FeatureSource, start: usize, rows: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows * source.dim()];
    source.read(start, &mut out).unwrap();
    out
}

fn read_all(source: &dyn FeatureSource) -> Vec<f32> {
    read(source, 0, source.rows())
}

fn message(result: Result<NpyFiles>) -> String {
    result.unwrap_err().to_string()
}

/// Rows (1, -2), (0.5, 65504), (2^-24, 1/3 rounded to float16) in each type, from their bit patterns.
const F16: [u16; 6] = [0x3c00, 0xc000, 0x3800, 0x7bff, 0x0001, 0x3555];
const F32: [u32; 6] = [0x3f800000, 0xc0000000, 0x3f000000, 0x477fe000, 0x33800000, 0x3eaaa000];
const F64: [u64; 6] = [
    0x3ff0000000000000,
    0xc000000000000000,
    0x3fe0000000000000,
    0x40effc0000000000,
    0x3e70000000000000,
    0x3fd5540000000000,
];
const VALUES: [f32; 6] = [1.0, -2.0, 0.5, 65504.0, 5.960_464_5e-8, 0.333_251_95];

#[test]
fn every_type_and_byte_order_gives_the_same_values() {
    let folder = Folder::new();
    for (descr, data) in [
        ("<f2", F16.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
        (">f2", F16.iter().flat_map(|x| x.to_be_bytes()).collect()),
        ("<f4", F32.iter().flat_map(|x| x.to_le_bytes()).collect()),
        (">f4", F32.iter().flat_map(|x| x.to_be_bytes()).collect()),
        ("<f8", F64.iter().flat_map(|x| x.to_le_bytes()).collect()),
        (">f8", F64.iter().flat_map(|x| x.to_be_bytes()).collect()),
    ] {
        let rows = folder.open(&npy(descr, "False", "(3, 2)", &data)).unwrap();
        assert_eq!((rows.rows(), rows.dim()), (3, 2));
        assert_eq!(read_all(&rows), VALUES, "{descr}");
        assert_eq!(read(&rows, 1, 1), VALUES[2..4], "{descr}");

        let columns = folder.open(&npy(descr, "True", "(2, 3)", &data)).unwrap();
        let [a, b, c, d, e, f] = VALUES;
        assert_eq!(read_all(&columns), [a, c, e, b, d, f], "{descr}");
        assert_eq!(read(&columns, 1, 1), [b, d, f], "{descr}");
    }
}

#[test]
fn files_larger_than_a_chunk_are_read_whole() {
    let (rows, dim) = (70_001, 3);
    let value = |row: usize, column: usize| (row * dim + column) as f32;
    let by_row = (0..rows).flat_map(|row| (0..dim).map(move |column| value(row, column))).collect::<Vec<_>>();
    let by_column = (0..dim).flat_map(|column| (0..rows).map(move |row| value(row, column)));
    let by_column = by_column.flat_map(|x| x.to_be_bytes()).collect::<Vec<_>>();
    let folder = Folder::new();
    let c = folder.open(&npy_f32("(70001, 3)", &by_row)).unwrap();
    assert!(read_all(&c) == by_row);
    let fortran = folder.open(&npy(">f4", "True", "(70001, 3)", &by_column)).unwrap();
    assert!(read_all(&fortran) == by_row);
    assert!(read(&fortran, 7, 69_000) == by_row[21..][..207_000]);
}

#[test]
fn files_without_rows_have_any_width() {
    let folder = tempfile::tempdir().unwrap();
    for (name, shape, data) in [("0", "(0, 8)", &[][..]), ("1", "(2, 1)", &[1.0f32, 2.0]), ("2", "(0, 0)", &[])] {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let file = [b"\x93NUMPY\x01\x00\x76\x00", format!("{text:<117}\n").as_bytes(), &bytes].concat();
        std::fs::write(folder.path().join(format!("{name}.npy")), file).unwrap();
    }
    let voice = NpyFiles::open(&[folder.path()]).unwrap();
    assert_eq!((voice.rows(), voice.dim()), (2, 1));
}

#[test]
fn a_voice_is_one_matrix() {
    let folder = Folder::new();
    folder.put("voice/extracted/0_10.npy", &npy_f32("(2, 2)", &[1., 2., 3., 4.]));
    folder.put("voice/extracted/0_2.npy", &npy_f32("(1, 2)", &[7., 8.]));
    folder.put("voice/extracted/0_1x.npy", &npy_f32("(0, 2)", &[]));
    folder.put("voice/extracted/0_11.npy", &npy("<f2", "True", "(1, 2)", &[0, 0x45, 0, 0x46]));
    let mut voice = NpyFiles::open(&[folder.at("voice/")]).unwrap();
    let experiment = voice.experiment().unwrap();
    assert_eq!((experiment.name.as_str(), experiment.version), ("voice", "v2"));
    assert_eq!((voice.rows(), voice.dim()), (4, 2));
    assert_eq!(read_all(&voice), [1., 2., 3., 4., 5., 6., 7., 8.]);
    assert_eq!(read(&voice, 1, 2), [3., 4., 5., 6.]);
    assert!(read(&voice, 4, 0).is_empty());
    assert!(voice.read(3, &mut [0.; 4]).is_err());

    let mut progress = Vec::new();
    assert_eq!(voice.check_finite(NonFinite::Refuse, |rows| progress.push(rows)).unwrap(), 0);
    assert_eq!(progress, [4]);
    assert_eq!(NpyFiles::open(&[folder.at("voice/extracted")]).unwrap().experiment(), None);
    let two = [folder.at("voice"), folder.at("voice/extracted/0_2.npy")];
    let two = NpyFiles::open(&two).unwrap();
    assert_eq!(
        (two.rows(), two.experiment(), two.notes().len()),
        (4, None, 1),
        "a file that is named twice is read once"
    );
}

#[test]
fn sample_voices_are_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (name, rows, dim, version) in [("voice-sample", 3003, 256, "v1"), ("voice-sample-v2", 1226, 768, "v2")] {
        let mut voice = NpyFiles::open(&[data.join(name)]).unwrap();
        assert_eq!((voice.rows(), voice.dim()), (rows, dim));
        assert_eq!(voice.experiment().unwrap().version, version);
        assert_eq!(voice.check_finite(NonFinite::Refuse, |_| ()).unwrap(), 0);
    }
}

#[test]
fn non_finite_rows_are_named_or_left_out() {
    let folder = Folder::new();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    folder.put("0.npy", &npy_f32("(2, 2)", &[1., 2., 3., 4.]));
    let bad = folder.put("1.npy", &npy_f32("(4, 2)", &[5., 6., nan, 0., 0., -inf, 7., 8.]));
    // 1e300 is finite in its file, and not as a float32.
    let too_large = [1e300f64, 0.0, 9.0, 10.0].map(f64::to_le_bytes).concat();
    folder.put("2.npy", &npy("<f8", "False", "(2, 2)", &too_large));

    let mut voice = NpyFiles::open(&[folder.at("")]).unwrap();
    let error = voice.check_finite(NonFinite::Refuse, |_| ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: holds NaN or infinity in row 1 ", bad.display())), "{error}");
    assert!(error.contains("--skip-non-finite"), "{error}");
    assert_eq!(voice.rows(), 8);

    assert_eq!(voice.check_finite(NonFinite::Skip, |_| ()).unwrap(), 3);
    assert_eq!(read_all(&voice), [1., 2., 3., 4., 5., 6., 7., 8., 9., 10.]);
    assert_eq!(voice.check_finite(NonFinite::Refuse, |_| ()).unwrap(), 0);

    let mut nothing = folder.open(&npy_f32("(1, 2)", &[nan, 1.])).unwrap();
    let error = nothing.check_finite(NonFinite::Skip, |_| ()).unwrap_err().to_string();
    assert!(error.contains("holds NaN or infinity in every row"), "{error}");
}

#[test]
fn unusable_files_are_named_with_what_they_hold() {
    let folder = Folder::new();
    let path = folder.at("0.npy");
    let eight = [0; 8];
    for (bytes, found) in [
        (vec![], "is empty"),
        (b"PK\x03\x04".to_vec(), "does not begin like a .npy file"),
        (npy("|O", "False", "(1, 2)", &eight), "holds elements of type \"|O\""),
        (npy("<i4", "False", "(1, 2)", &eight), "holds elements of type \"<i4\""),
        (npy("<c8", "False", "(1, 1)", &eight), "holds elements of type \"<c8\""),
        (npy("<f4", "False", "(2,)", &eight), "holds a 1-D array"),
        (npy("<f4", "False", "(1, 1, 2)", &eight), "holds a 3-D array"),
        (npy("<f4", "False", "(2, 0)", &eight), "holds rows of no columns"),
        (npy("<f4", "False", "(2, 2)", &eight), "holds 136 bytes, too few for the 2 × 2 floats it claims"),
        (npy("<f4", "False", "(1099511627776, 1099511627776)", &eight), "holds 136 bytes, too few for the"),
        (npy("<f4", "False", "(4611686018427387904, 1)", &eight), "holds 136 bytes, too few for the"),
        (npy("<f4", "False", "(0, 2)", &[]), "has no rows, and no other file"),
    ] {
        let error = message(folder.open(&bytes));
        assert!(error.starts_with(&format!("{}: {found}", path.display())), "{error}");
    }
}

#[test]
fn widths_must_agree() {
    let folder = Folder::new();
    let narrow = folder.put("a.npy", &npy_f32("(1, 2)", &[1., 2.]));
    let wide = folder.put("b.npy", &npy_f32("(1, 3)", &[1., 2., 3.]));
    let expected = format!("{}: has rows of 3, where {} has 2; ", wide.display(), narrow.display());
    assert!(message(NpyFiles::open(&[&wide, &narrow])).starts_with(&expected));
}

#[test]
fn inputs_that_are_not_there_are_named() {
    let folder = Folder::new();
    let missing = folder.at("missing");
    assert!(message(NpyFiles::open(&[&missing])).starts_with(&format!("{}: cannot read", missing.display())));
    assert!(message(NpyFiles::open(&[folder.at("")])).contains("holds no .npy files"));
    assert!(NpyFiles::open(&[] as &[PathBuf]).unwrap_err().is_usage());
}

#[test]
fn a_file_that_shrinks_meanwhile_is_an_error() {
    let folder = Folder::new();
    let rows = folder.open(&npy_f32("(2, 2)", &[1., 2., 3., 4.])).unwrap();
    folder.put("0.npy", &npy_f32("(1, 2)", &[1., 2.]));
    assert!(matches!(rows.read(0, &mut [0.; 4]), Err(Error::Io { .. })));
}

#[test]
fn many_more_files_than_a_process_may_open() {
    let folder = Folder::new();
    for file in 0..3000 {
        folder.put(format!("{file:04}.npy"), &npy_f32("(1, 1)", &[file as f32]));
    }
    let voice = NpyFiles::open(&[folder.at("")]).unwrap();
    let mut seen = Vec::new();
    for_each_batch(&voice, 700, |_, rows| {
        seen.extend_from_slice(rows);
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, (0..3000).map(|file| file as f32).collect::<Vec<_>>());
}

#[test]
fn the_whole_matrix_is_written_as_one_file() {
    let folder = Folder::new();
    let by_column = [0x3c00u16, 0x4000, 0x4200, 0x4400].map(u16::to_be_bytes).concat();
    let voice = folder.open(&npy(">f2", "True", "(2, 2)", &by_column)).unwrap();
    let total = folder.at("total_fea.npy");
    write_npy(&total, Existing::Keep, &voice, 1).unwrap();
    assert_eq!(fs::read(&total).unwrap(), npy_f32("(2, 2)", &[1., 3., 2., 4.]));
}

#[cfg(unix)]
#[test]
fn names_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    // Not every file system takes such a name.
    let name = std::ffi::OsStr::from_bytes(b"\xff.npy");
    if fs::write(folder.at(name), npy_f32("(1, 1)", &[2.])).is_err() {
        return;
    }
    folder.put("声.npy", &npy_f32("(1, 1)", &[1.]));
    assert_eq!(read_all(&NpyFiles::open(&[folder.at("")]).unwrap()), [1., 2.]);
}
