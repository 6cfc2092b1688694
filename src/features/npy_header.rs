//! The header of a `.npy` file: magic, version, length, and a Python dict that describes the array.
//!
//! The dict of a plain array holds one string, one bool and one tuple of integers, so it is read without a parser for
//! all of Python's literals. Those recurse, and take exponential time on nested brackets that a broken file may hold.

use half::f16;

/// What NumPy itself accepts; longer headers belong to structured arrays or to no array at all.
const MAX_TEXT: usize = 10_000;
/// The bytes of a file that are enough to parse its header.
pub(super) const MAX_BYTES: u64 = 12 + MAX_TEXT as u64;

const MAGIC: &[u8] = b"\x93NUMPY";

/// A matrix of floats, as the header of its file describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub dtype: DType,
    /// Column by column, where others are row by row.
    pub fortran_order: bool,
    pub rows: u64,
    pub dim: u64,
    /// Where the first element stands in the file.
    pub data_at: u64,
}

/// The floats that feature files are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DType {
    float: Float,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Float {
    F16,
    F32,
    F64,
}

impl Header {
    /// Parses the first [`MAX_BYTES`] of a file. An error says what was found instead of a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        let (text, data_at) = text(bytes)?;
        let fields = Fields::parse(text)?;
        let dtype = DType::parse(fields.descr).ok_or_else(|| format!("holds elements of type {:?}", fields.descr))?;
        match fields.shape[..] {
            [rows, 0] if rows > 0 => Err("holds rows of no columns".to_owned()),
            [rows, dim] => Ok(Self { dtype, fortran_order: fields.fortran_order, rows, dim, data_at }),
            _ => Err(format!("holds a {}-D array", fields.shape.len())),
        }
    }

    /// The header of a matrix of little-endian float32, row by row.
    pub fn float32(rows: usize, dim: usize) -> Vec<u8> {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
        // As NumPy does: a line that ends on a multiple of 64 bytes. Two numbers never fill more than two such blocks.
        let prefix = MAGIC.len() + 4;
        let len = (prefix + text.len() + 1).next_multiple_of(64) - prefix;
        let mut bytes = [MAGIC, &[1, 0], &(len as u16).to_le_bytes(), text.as_bytes()].concat();
        bytes.resize(prefix + len - 1, b' ');
        bytes.push(b'\n');
        bytes
    }
}

impl DType {
    fn parse(descr: &str) -> Option<Self> {
        let (order, kind) = descr.split_at_checked(1)?;
        let big_endian = match order {
            "<" => false,
            ">" => true,
            _ => return None,
        };
        let float = match kind {
            "f2" => Float::F16,
            "f4" => Float::F32,
            "f8" => Float::F64,
            _ => return None,
        };
        Some(Self { float, big_endian })
    }

    /// Bytes an element.
    pub fn size(self) -> usize {
        match self.float {
            Float::F16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    /// Converts all whole elements in `bytes`. What is too large for a float32 becomes infinite.
    pub fn decode<'a>(self, bytes: &[u8], out: impl Iterator<Item = &'a mut f32>) {
        match (self.float, self.big_endian) {
            (Float::F16, false) => convert(bytes, out, |x| f16::from_le_bytes(x).to_f32()),
            (Float::F16, true) => convert(bytes, out, |x| f16::from_be_bytes(x).to_f32()),
            (Float::F32, false) => convert(bytes, out, f32::from_le_bytes),
            (Float::F32, true) => convert(bytes, out, f32::from_be_bytes),
            (Float::F64, false) => convert(bytes, out, |x| f64::from_le_bytes(x) as f32),
            (Float::F64, true) => convert(bytes, out, |x| f64::from_be_bytes(x) as f32),
        }
    }
}

fn convert<'a, const N: usize>(bytes: &[u8], out: impl Iterator<Item = &'a mut f32>, element: impl Fn([u8; N]) -> f32) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = element(*bytes);
    }
}

/// The dict in a file's header, and where the data after it begins.
fn text(bytes: &[u8]) -> Result<(&str, u64), String> {
    let cut_short = || "ends inside its header".to_owned();
    let after_magic = bytes.strip_prefix(MAGIC).ok_or("does not begin like a .npy file")?;
    let (version, rest) = after_magic.split_first_chunk().ok_or_else(cut_short)?;
    let (len, rest) = match version {
        [1, 0] => rest.split_first_chunk().map(|(len, rest)| (u16::from_le_bytes(*len).into(), rest)),
        [2 | 3, 0] => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len), rest)),
        [major, minor] => return Err(format!("is of .npy version {major}.{minor}, which is not known")),
    }
    .ok_or_else(cut_short)?;
    if len as usize > MAX_TEXT {
        return Err(format!("has a header of {len} bytes, where NumPy itself stops at {MAX_TEXT}"));
    }
    let text = rest.get(..len as usize).ok_or_else(cut_short)?;
    let data_at = bytes.len() - rest.len() + text.len();
    let text = std::str::from_utf8(text).map_err(|_| "has a header that is not text")?;
    Ok((text, data_at as u64))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
#[derive(Default)]
struct Fields<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut input = Input(text);
        let mut fields = Fields::default();
        input.expect("{")?;
        while !input.eat("}") {
            let key = input.string()?;
            input.expect(":")?;
            match key {
                "descr" => fields.descr = input.descr()?,
                "fortran_order" => fields.fortran_order = input.boolean()?,
                "shape" => fields.shape = input.shape()?,
                _ => return Err(format!("has a header with an unknown key {key:?}")),
            }
            if !input.eat(",") {
                input.expect("}")?;
                break;
            }
        }
        Ok(fields)
    }
}

/// What is left to read of a header. Spaces between its parts mean nothing.
struct Input<'a>(&'a str);

impl<'a> Input<'a> {
    fn eat(&mut self, token: &str) -> bool {
        let after = self.0.trim_start().strip_prefix(token);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.error()) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        for quote in ["'", "\""] {
            if self.eat(quote) {
                let (string, rest) = self.0.split_once(quote).ok_or_else(|| self.error())?;
                self.0 = rest;
                return Ok(string);
            }
        }
        Err(self.error())
    }

    fn descr(&mut self) -> Result<&'a str, String> {
        if self.eat("[") {
            return Err("holds a structured array".to_owned());
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.eat("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn shape(&mut self) -> Result<Vec<u64>, String> {
        let mut shape = Vec::new();
        self.expect("(")?;
        while !self.eat(")") {
            shape.push(self.integer()?);
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    fn integer(&mut self) -> Result<u64, String> {
        let text = self.0.trim_start();
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.strip_suffix(rest).and_then(|digits| digits.parse().ok()).ok_or_else(|| self.error())?;
        // Python 2 wrote long integers with an L behind.
        self.0 = rest.strip_prefix('L').unwrap_or(rest);
        Ok(number)
    }

    fn error(&self) -> String {
        let place: String = self.0.trim().chars().take(24).collect();
        format!("has a header that no float array has, from {place:?} on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: [u8; 2], text: &str) -> Vec<u8> {
        let len = (text.len() as u32).to_le_bytes();
        let len = if version[0] == 1 { &len[..2] } else { &len };
        [MAGIC, &version, len, text.as_bytes()].concat()
    }

    fn parse(text: &str) -> Result<Header, String> {
        Header::parse(&file([1, 0], text))
    }

    #[test]
    fn reads_every_way_to_write_a_header() {
        let expected = Header {
            dtype: DType { float: Float::F64, big_endian: true },
            fortran_order: true,
            rows: 3,
            dim: 4,
            data_at: 0,
        };
        for text in [
            "{'descr': '>f8', 'fortran_order': True, 'shape': (3, 4), }    \n",
            "{\"shape\":(3,4,),\"fortran_order\":True,\"descr\":\">f8\"}",
            "  {'fortran_order' : True , 'shape' : ( 3 , 4 ) , 'descr' : '>f8'}\n",
        ] {
            for (version, prefix) in [([1, 0], 10), ([2, 0], 12), ([3, 0], 12)] {
                let data_at = (prefix + text.len()) as u64;
                assert_eq!(Header::parse(&file(version, text)), Ok(Header { data_at, ..expected }), "{text}");
            }
        }
    }

    #[test]
    fn says_what_else_it_found() {
        let with = |descr: &str, shape: &str| {
            parse(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")).unwrap_err()
        };
        for descr in ["|O", "<i4", "|u1", "<c8", "<f16", "|f4", "<U5", "|b1", "", "é"] {
            assert_eq!(with(&format!("'{descr}'"), "(3, 4)"), format!("holds elements of type {descr:?}"));
        }
        assert_eq!(with("[('a', '<f4'), ('b', '<f4')]", "(3,)"), "holds a structured array");
        assert_eq!(with("'<f4'", "()"), "holds a 0-D array");
        assert_eq!(with("'<f4'", "(3,)"), "holds a 1-D array");
        assert_eq!(with("'<f4'", "(3, 4, 5)"), "holds a 3-D array");
        assert_eq!(with("'<f4'", "(3, 0)"), "holds rows of no columns");
        let python2 = "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }";
        assert_eq!(parse(python2).map(|header| (header.rows, header.dim)), Ok((3, 4)));
        for shape in ["(3, -4)", "(3.5, 4)", "(3 4)", "[3, 4]", "(18446744073709551616, 1)", "(3, 4", "None"] {
            assert!(with("'<f4'", shape).starts_with("has a header that no float array has"), "{shape}");
        }
        for text in ["", "{", "[]", "{'descr': '<f4", "{'descr': '<f4' 'shape': ()}", "{1: 2}", "{'descr': f4}"] {
            assert!(parse(text).unwrap_err().starts_with("has a header that no float array has"), "{text}");
        }
        assert_eq!(parse("{}").unwrap_err(), "holds elements of type \"\"");
        assert_eq!(parse("{'dtype': '<f4'}").unwrap_err(), "has a header with an unknown key \"dtype\"");
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() {
        let whole = Header::float32(3, 4);
        assert!(Header::parse(&whole).is_ok());
        for len in 0..whole.len() {
            assert!(Header::parse(&whole[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let parse = |bytes: &[u8]| Header::parse(bytes).unwrap_err();
        assert_eq!(parse(b""), "is empty");
        assert_eq!(parse(b"PK\x03\x04 a zip file"), "does not begin like a .npy file");
        assert_eq!(parse(&file([4, 0], "{}")), "is of .npy version 4.0, which is not known");
        assert_eq!(parse(b"\x93NUMPY\x01\x00\x02\x00\xff\xff"), "has a header that is not text");
        let long = file([2, 0], &" ".repeat(10_001));
        assert_eq!(parse(&long), "has a header of 10001 bytes, where NumPy itself stops at 10000");
        assert_eq!(parse(b"\x93NUMPY\x03\x00\xff\xff\xff\xff"), parse(&long).replace("10001", "4294967295"));
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        for open in ["[", "(", "{", "{'descr': ", "{'descr': [", "{'descr': '<f4', 'shape': (("] {
            let text = open.repeat(9_990 / open.len());
            assert!(parse(&text).is_err());
        }
    }

    #[test]
    fn writes_the_header_that_numpy_writes() {
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }");
        expected.resize(127, b' ');
        expected.push(b'\n');
        assert_eq!(Header::float32(3, 4), expected);
        let largest = Header::float32(usize::MAX, usize::MAX);
        assert_eq!((largest.len() % 64, Header::parse(&largest).unwrap().rows), (0, u64::MAX));
    }
}
