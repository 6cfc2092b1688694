//! Look-up tables: what each of a sub-quantizer's 16 centroids adds to a query's distance, in bytes.
//!
//! Entries, their scale and their rounding are faiss's (`faiss/utils/quantize_lut.cpp`): a byte is
//! ⌊(entry − least entry of its sub-quantizer) · a + ½⌋, and a distance is offset + sum / a. One scale serves all tables
//! and biases of a query, so that its sums can be compared.

use super::buffer::{Buffer, CentroidTable, Matrix};
use crate::factory::Metric;

/// The lists that each of a batch of queries visits, and how codes in them are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Probes<'a> {
    /// The coarse quantizer.
    pub table: &'a CentroidTable,
    /// Queries × nprobe lists, as [`Device::nearest_probes`](crate::device::Device::nearest_probes) found them.
    pub lists: &'a Buffer<u32>,
    /// True where codes are of residuals, rows less their list's centroid.
    pub by_residual: bool,
}

/// u8 look-up tables of a batch of queries, resident on a device for [`Device::fast_scan`](crate::device::Device::fast_scan).
#[derive(Clone, Debug)]
pub struct LookupTables {
    pub(crate) entries: Entries,
    /// Added to the sums of each list, queries × lists.
    pub(crate) biases: Buffer<u32>,
    /// Offset and step of each query, queries × 2.
    pub(crate) scales: Buffer<f32>,
    pub(crate) queries: usize,
    /// Lists a query.
    pub(crate) lists: usize,
    /// Tables a query: one for all lists, or one for each.
    pub(crate) tables: usize,
    pub(crate) pairs: usize,
}

/// \[table\]\[2 · pairs\]\[16\]; an odd M is filled up with zeros.
#[derive(Clone, Debug)]
pub(crate) enum Entries {
    Bytes(Buffer<u8>),
    /// Four entries a word, the first in the lowest bits.
    Words(Buffer<u32>),
}

/// What an entry is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// ‖x − r‖² for a query's sub-vector x and centroid r.
    Distance,
    /// x · r.
    Product,
    /// ‖r‖² − 2 y · r for the residual y = x − c: with ‖y‖², the bias, they add up to ‖x − (c + r)‖².
    Residual,
}

/// Everything that decides the tables but the numbers themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub entry: Entry,
    /// Lists a query, at least one.
    pub lists: usize,
    /// Tables a query.
    pub tables: usize,
    /// The distances of lists are added to their sums.
    pub biased: bool,
    /// Sums with their biases are kept within 16 bits, as faiss does with lists.
    pub bounded: bool,
}

impl Shape {
    pub fn new(queries: &Matrix, metric: Metric, probes: Option<&Probes>) -> Self {
        let lists = probes.map_or(1, |probes| (probes.lists.len() / queries.rows.max(1)).max(1));
        let biased = probes.is_some_and(|probes| probes.by_residual);
        let entry = match (metric, biased) {
            (Metric::InnerProduct, _) => Entry::Product,
            (Metric::L2, false) => Entry::Distance,
            (Metric::L2, true) => Entry::Residual,
        };
        let tables = if entry == Entry::Residual { lists } else { 1 };
        Self { entry, lists, tables, biased, bounded: probes.is_some() }
    }
}

impl Default for LookupTables {
    fn default() -> Self {
        let (biases, scales) = (Buffer::default(), Buffer::default());
        let entries = Entries::Bytes(Buffer::default());
        Self { entries, biases, scales, queries: 0, lists: 0, tables: 0, pairs: 0 }
    }
}

impl LookupTables {
    /// Makes these tables of a shape on the host; what they hold is still to be written.
    pub(crate) fn renew(&mut self, queries: usize, shape: Shape, pairs: usize) {
        (self.queries, self.lists, self.tables, self.pairs) = (queries, shape.lists, shape.tables, pairs);
        if let Entries::Words(_) = self.entries {
            self.entries = Entries::Bytes(Buffer::default());
        }
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Lists a query.
    pub fn lists(&self) -> usize {
        self.lists
    }

    /// Offset and step of each query, queries × 2: a sum stands for the distance offset + step · sum.
    pub fn scales(&self) -> &Buffer<f32> {
        &self.scales
    }

    /// The table for a list, numbered among those of all queries.
    pub(crate) fn table_of(&self, list: u32) -> u32 {
        if self.tables == 1 { list / self.lists as u32 } else { list }
    }

    /// What is added to the sums of each list, queries × lists.
    pub fn biases(&self) -> &Buffer<u32> {
        &self.biases
    }
}
