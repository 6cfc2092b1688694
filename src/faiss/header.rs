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
        let ntotal = index.ntotal() + index.unlisted;
        Self { dim: index.dim, ntotal, is_trained: index.is_trained(), metric: index.metric }
    }

    /// Reads the header of the object that `fourcc` opened.
    pub(super) fn read(reader: &mut Reader, fourcc: FourCc) -> Result<Self> {
        let dim = reader.i32(format_args!("d of {fourcc}"))?;
        let ntotal = reader.i64(format_args!("ntotal of {fourcc}"))?;
        for _ in 0..2 {
            reader.i64(format_args!("the header of {fourcc}"))?;
        }
        let is_trained = reader.bool(format_args!("is_trained of {fourcc}"))?;
        let metric = reader.i32(format_args!("metric of {fourcc}"))?;
        let metric = match (metric, metric_name(metric)) {
            (0, _) => Metric::InnerProduct,
            (1, _) => Metric::L2,
            (_, Some(name)) => {
                let kind = fourcc.meaning().unwrap_or("an index");
                return Err(reader.unread(format_args!("the index is {kind} ({fourcc}) by the metric {name}")));
            }
            (other, None) => {
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

/// faiss's other metrics.
fn metric_name(metric: i32) -> Option<&'static str> {
    Some(match metric {
        2 => "L1",
        3 => "Linf",
        4 => "Lp",
        20 => "Canberra",
        21 => "BrayCurtis",
        22 => "JensenShannon",
        23 => "Jaccard",
        24 => "NaNEuclidean",
        25 => "GOWER",
        _ => return None,
    })
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dim, ntotal, is_trained, metric } = self;
        write!(f, "d = {dim}, ntotal = {ntotal}, is_trained = {is_trained}, metric = {metric:?}")
    }
}
