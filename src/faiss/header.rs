//! The header every index in a file begins with.

use std::fmt;
use std::io::{self, Write};

use super::fourcc::FourCc;
use super::reader::Reader;
use super::writer::WriteFields;
use crate::error::Result;
use crate::factory::Metric;
use crate::index::Index;

/// Two numbers that faiss writes into every header and reads from none.
const UNUSED: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
pub(super) struct Header {
    pub(super) dim: usize,
    pub(super) ntotal: usize,
    pub(super) is_trained: bool,
    pub(super) metric: Metric,
}

impl Header {
    pub(super) fn of(index: &Index) -> Self {
        Self { dim: index.dim, ntotal: index.ntotal(), is_trained: index.is_trained(), metric: index.metric }
    }

    /// Reads the header of the object that `fourcc` opened.
    pub(super) fn read(reader: &mut Reader, fourcc: FourCc) -> Result<Self> {
        let dim = reader.i32(format_args!("d of {fourcc}"))?;
        let ntotal = reader.i64(format_args!("ntotal of {fourcc}"))?;
        for _ in 0..2 {
            reader.i64(format_args!("the header of {fourcc}"))?;
        }
        let is_trained = reader.bool(format_args!("is_trained of {fourcc}"))?;
        let metric = match reader.i32(format_args!("metric of {fourcc}"))? {
            0 => Metric::InnerProduct,
            1 => Metric::L2,
            other => {
                let found = format_args!("metric of {fourcc} is {other}, where 0 (inner product) or 1 (L2) belongs");
                return Err(reader.damaged(found));
            }
        };
        match (usize::try_from(dim), usize::try_from(ntotal)) {
            (Ok(dim @ 1..), Ok(ntotal)) => Ok(Self { dim, ntotal, is_trained, metric }),
            _ => Err(reader.damaged(format_args!("{fourcc} has d = {dim} and ntotal = {ntotal}"))),
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.dim(self.dim)?;
        out.count(self.ntotal)?;
        out.count(UNUSED)?;
        out.count(UNUSED)?;
        out.bool(self.is_trained)?;
        out.i32(match self.metric {
            Metric::InnerProduct => 0,
            Metric::L2 => 1,
        })
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dim, ntotal, is_trained, metric } = self;
        write!(f, "d = {dim}, ntotal = {ntotal}, is_trained = {is_trained}, metric = {metric:?}")
    }
}
