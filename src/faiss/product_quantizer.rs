//! The product quantizer: an object without a fourcc, inside those that keep its codes.

use std::io::{self, Write};

use super::header::Header;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::index::{CODEWORDS, ProductQuantizer};

/// Bits a code of one sub-quantizer.
const NBITS: usize = CODEWORDS.ilog2() as usize;

/// Reads the quantizer of the index with the given header.
pub(super) fn read(reader: &mut Reader, index: &Header) -> Result<ProductQuantizer> {
    let dim = index.dim;
    reader.expect_count(dim, "d of the product quantizer")?;
    let m = reader.count("M of the product quantizer")?;
    if dim.checked_rem(m) != Some(0) {
        return Err(reader.damaged(format_args!("M of the product quantizer is {m}, which does not divide d = {dim}")));
    }
    reader.expect_count(NBITS, "nbits of the product quantizer")?;
    reader.expect_count(dim.saturating_mul(CODEWORDS), "the number of floats in the codebooks")?;
    let mut codebooks = Vec::new();
    reader.rows(&mut codebooks, m.saturating_mul(CODEWORDS), dim / m, "the codebooks")?;
    if !index.is_trained {
        // faiss makes room for the codewords before it has any.
        codebooks.clear();
    }
    ProductQuantizer::new(dim, m, codebooks)
}

pub(super) fn write(pq: &ProductQuantizer, out: &mut impl Write) -> io::Result<()> {
    out.count(pq.dim())?;
    out.count(pq.m())?;
    out.count(NBITS)?;
    if pq.is_trained() {
        return out.counted(pq.codebooks());
    }
    out.count(pq.dim() * CODEWORDS)?;
    (0..pq.dim()).try_for_each(|_| out.items(&[0_f32; CODEWORDS]))
}
