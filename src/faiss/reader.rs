//! Reads the fields of a file and never past its end.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytemuck::Pod;

use super::fourcc::FourCc;
use crate::error::{Error, Result};
use crate::index::{MappedFloats, RefineRows};
use crate::memory;

// Floats and ids go from the file straight into the vectors that are searched, without a pass that swaps their bytes.
const _: () = assert!(cfg!(target_endian = "little"), "faiss files are little-endian and are read in place");

const DAMAGED: &str = "the file is damaged: copy it again, or build the index again";

/// A file, and the number of its bytes not yet read. A count in the file is compared with that number before anything
/// is allocated for it.
pub(super) struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    size: u64,
    left: u64,
    /// The rows of a refinement stay in the file, as this maps them.
    map: Option<Map>,
}

/// [`MappedFloats::new`], where it is to be used.
pub(super) type Map = fn(&File, u64, usize) -> io::Result<MappedFloats>;

impl<'a> Reader<'a> {
    pub(super) fn open(path: &'a Path, map: Option<Map>) -> Result<Self> {
        // Before opening: a pipe would wait for its writer.
        if !fs::metadata(path).map_err(Error::io(path, "read"))?.is_file() {
            return Err(Error::input(path, "is not a regular file", "name a .index file"));
        }
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let size = file.metadata().map_err(Error::io(path, "read"))?.len();
        Ok(Self { path, file: BufReader::new(file), size, left: size, map })
    }

    /// Succeeds where the whole file was read.
    pub(super) fn finish(self) -> Result<()> {
        match self.left {
            0 => Ok(()),
            left => Err(self.damaged(format_args!("goes on after the end of the index, by {left} bytes"))),
        }
    }

    pub(super) fn fourcc(&mut self, field: impl Display) -> Result<FourCc> {
        self.bytes(field).map(FourCc)
    }

    pub(super) fn u8(&mut self, field: impl Display) -> Result<u8> {
        self.bytes(field).map(u8::from_le_bytes)
    }

    pub(super) fn i32(&mut self, field: impl Display) -> Result<i32> {
        self.bytes(field).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, field: impl Display) -> Result<i64> {
        self.bytes(field).map(i64::from_le_bytes)
    }

    pub(super) fn f32(&mut self, field: impl Display) -> Result<f32> {
        self.bytes(field).map(f32::from_le_bytes)
    }

    pub(super) fn bool(&mut self, field: impl Display) -> Result<bool> {
        match self.u8(&field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.damaged(format_args!("{field} is {other}, where 0 or 1 belongs"))),
        }
    }

    /// A `size_t`.
    pub(super) fn count(&mut self, field: impl Display) -> Result<usize> {
        let count = self.bytes(&field).map(u64::from_le_bytes)?;
        usize::try_from(count).map_err(|_| self.damaged(format_args!("{field} is {count}, too many for this machine")))
    }

    /// A number that was read before in another place and has to come again.
    pub(super) fn expect_count(&mut self, expected: usize, field: impl Display) -> Result<()> {
        match self.count(&field)? {
            found if found == expected => Ok(()),
            found => Err(self.damaged(format_args!("{field} is {found}, where {expected} belongs"))),
        }
    }

    /// `count` items that lie in the file as they lie in memory.
    pub(super) fn items<T: Pod>(&mut self, count: usize, field: impl Display) -> Result<Vec<T>> {
        let mut items = Vec::new();
        self.append(&mut items, count, field)?;
        Ok(items)
    }

    /// `count` more items, behind those that `items` has.
    pub(super) fn append<T: Pod>(&mut self, items: &mut Vec<T>, count: usize, field: impl Display) -> Result<()> {
        self.claim(count, size_of::<T>(), field)?;
        let old = items.len();
        memory::reserve(items, count, "the arrays of an index file")?;
        items.resize(old + count, T::zeroed());
        self.file.read_exact(bytemuck::cast_slice_mut(&mut items[old..])).map_err(Error::io(self.path, "read"))
    }

    /// A count and as many items.
    pub(super) fn counted<T: Pod>(&mut self, field: impl Display) -> Result<Vec<T>> {
        let count = self.count(format_args!("the count of {field}"))?;
        self.items(count, field)
    }

    /// `count` rows of `dim` floats, all of them finite, behind those that `rows` has.
    pub(super) fn rows(&mut self, rows: &mut Vec<f32>, count: usize, dim: usize, field: impl Display) -> Result<()> {
        let old = rows.len();
        // A product that saturates is longer than any file, and refused as such.
        self.append(rows, count.saturating_mul(dim), &field)?;
        match rows[old..].chunks(dim).position(|row| !row.iter().all(|x| x.is_finite())) {
            None => Ok(()),
            Some(row) => {
                let found = format_args!("{field}: row {row} holds NaN or infinity");
                Err(self.unusable(found, "build the index from finite features"))
            }
        }
    }

    /// The `count` rows of `dim` floats behind an index. Mapped ones are not looked at.
    pub(super) fn refine_rows(&mut self, count: usize, dim: usize, field: impl Display) -> Result<RefineRows> {
        let floats = count.saturating_mul(dim);
        self.expect_room(floats, size_of::<f32>(), &field)?;
        let start = self.size - self.left;
        // Nothing cannot be mapped.
        let map = self.map.filter(|_| floats > 0);
        // What a file system does not map is read.
        let Some(Ok(rows)) = map.map(|map| map(self.file.get_ref(), start, floats)) else {
            let mut rows = Vec::new();
            self.rows(&mut rows, count, dim, field)?;
            return Ok(RefineRows::InMemory(rows.into()));
        };
        self.claim(floats, size_of::<f32>(), field)?;
        self.file.seek_relative(rows.bytes().len() as i64).map_err(Error::io(self.path, "read"))?;
        Ok(RefineRows::Mapped(rows))
    }

    /// Fails unless the file has bytes left for `count` items of `size` bytes: so much may be made room for.
    pub(super) fn expect_room(&self, count: usize, size: usize, field: impl Display) -> Result<()> {
        let needed = count as u128 * size as u128;
        if needed > u128::from(self.left) {
            return Err(self.damaged(format_args!("ends inside {field}: {needed} bytes needed, {} left", self.left)));
        }
        Ok(())
    }

    /// How many items of `size` bytes the file may still hold.
    pub(super) fn room_for(&self, size: usize) -> usize {
        usize::try_from(self.left / size as u64).unwrap_or(usize::MAX)
    }

    /// The error for content that contradicts itself.
    pub(super) fn damaged(&self, found: impl Display) -> Error {
        self.unusable(found, DAMAGED)
    }

    /// The error for content that is of no use here.
    pub(super) fn unusable(&self, found: impl Display, remedy: &str) -> Error {
        Error::input(self.path, found, remedy)
    }

    /// The error for an object that is not read in this `place`.
    pub(super) fn unsupported(&self, place: &str, fourcc: FourCc) -> Error {
        match fourcc.meaning() {
            Some(meaning) => self.unread(format_args!("{place} is {meaning} ({fourcc})")),
            None => Error::input(
                self.path,
                format_args!("{place} opens with \"{fourcc}\", which is no type of faiss's"),
                "pass a .index file that faiss or this program wrote",
            ),
        }
    }

    /// The error for what is sound and not read by this version.
    pub(super) fn unread(&self, found: impl Display) -> Error {
        let path = self.path.display();
        let remedy = format!(
            "build it again from its rows, which faiss has: \
             numpy.save(\"rows.npy\", faiss.read_index(r\"{path}\").reconstruct_n()), \
             then rvc-gpu-index build rows.npy --skip-non-finite"
        );
        Error::input(self.path, format_args!("{found}, which this version does not read"), remedy)
    }

    fn bytes<const N: usize>(&mut self, field: impl Display) -> Result<[u8; N]> {
        self.claim(N, 1, field)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(Error::io(self.path, "read"))?;
        Ok(bytes)
    }

    /// Takes `count` items of `size` bytes off the bytes that are left.
    fn claim(&mut self, count: usize, size: usize, field: impl Display) -> Result<()> {
        self.expect_room(count, size, field)?;
        self.left -= count as u64 * size as u64;
        Ok(())
    }
}
