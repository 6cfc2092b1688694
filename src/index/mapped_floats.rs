//! Floats that stay in a file and are read from there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// Floats of a file, packed and little-endian, from any byte on. Only the pages that are asked for are read, and they
/// count for memory only as long as nothing else needs it.
#[derive(Clone, Debug)]
pub(crate) struct MappedFloats(Arc<Mmap>);

impl MappedFloats {
    /// The `floats` floats from byte `offset` of a file on; the caller made sure that the file holds them.
    pub(crate) fn new(file: &File, offset: u64, floats: usize) -> io::Result<Self> {
        let bytes = floats.checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the map is read-only, and its bytes are only ever decoded as floats, of which any bytes make some. The
        // file may be changed by another program meanwhile: written over, the floats are others; cut short, the system
        // ends this process (SIGBUS) when it reads behind the end. The doc of `faiss::map_index` says so. This crate
        // never does either: it writes files beside their target and renames them, which leaves the mapped one whole.
        let map = unsafe { MmapOptions::new().offset(offset).len(bytes).map(file)? };
        Ok(Self(Arc::new(map)))
    }

    /// All of them, as they lie in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() / size_of::<f32>()
    }

    /// Some of them: where they are, or decoded into `scratch` where that is no place for floats.
    pub(crate) fn get<'a>(&'a self, floats: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let bytes = &self.0[floats.start * size_of::<f32>()..floats.end * size_of::<f32>()];
        if let Ok(floats) = bytemuck::try_cast_slice(bytes) {
            return floats;
        }
        scratch.clear();
        scratch.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        scratch
    }
}
