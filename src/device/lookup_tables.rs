//! Look-up tables: what each of a sub-quantizer's 16 centroids adds to a query's distance, in bytes.
//!
//! Entries, their scale and their rounding are faiss's (`faiss/utils/quantize_lut.cpp`): a byte is
//! ⌊(entry − least entry of its sub-quantizer) · a + ½⌋, and a distance is offset + sum / a. One scale serves all tables
//! and biases of a query, so that its sums can be compared.

use super::buffer::{Buffer, CentroidTable, Matrix};
use super::pq::{CENTROIDS, Codebooks};
use super::{Device, Engine, Pending, cpu, gpu};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// The lists that each of a batch of queries visits, and how codes in them are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Probes<'a> {
    /// The coarse quantizer.
    pub table: &'a CentroidTable,
    /// Queries × nprobe lists, as [`Device::nearest_probes`] found them.
    pub lists: &'a Buffer<u32>,
    /// True where codes are of residuals, rows less their list's centroid.
    pub by_residual: bool,
}

/// u8 look-up tables of a batch of queries, resident on a device for [`Device::fast_scan`].
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

impl Device {
    /// The look-up tables of each query: one for all its lists, or one for each where the codes are of residuals and
    /// distances are squared. Without `probes` there is one list.
    ///
    /// The order of operations is the device's, so a byte may be the next one where its entry lies at a rounding edge.
    ///
    /// # Errors
    /// [`Error::Parameter`] where shapes differ; as [`Device::upload`].
    pub fn lookup_tables(
        &self,
        queries: &Matrix,
        codebooks: &Codebooks,
        metric: Metric,
        probes: Option<&Probes<'_>>,
    ) -> Result<LookupTables> {
        let (mut made, mut pending) = (LookupTables::default(), Pending::default());
        self.lookup_tables_into(queries, codebooks, metric, probes, &mut made, &mut pending)?;
        self.submit("lookup_tables", pending)?;
        Ok(made)
    }

    /// The same into tables that are there, whose memory is used again, once what is pending was submitted.
    pub(crate) fn lookup_tables_into(
        &self,
        queries: &Matrix,
        codebooks: &Codebooks,
        metric: Metric,
        probes: Option<&Probes<'_>>,
        made: &mut LookupTables,
        pending: &mut Pending,
    ) -> Result<()> {
        if queries.dim != codebooks.dim() {
            let found = format!("{} floats wide", queries.dim);
            return Err(Error::parameter("queries", found, format!("the codebooks have {}", codebooks.dim())));
        }
        if let Some(Probes { table, lists, .. }) = probes
            && (table.dim() != queries.dim || lists.len().checked_rem(queries.rows).is_some_and(|rest| rest != 0))
        {
            let found = format!("{} lists of centroids of {}", lists.len(), table.dim());
            let remedy = format!("pass as many for each of the {} queries of {}", queries.rows, queries.dim);
            return Err(Error::parameter("probes", found, remedy));
        }
        let shape = Shape::new(queries, metric, probes);
        match &self.engine {
            Engine::Cpu => cpu::lookup_tables::lookup_tables(queries, codebooks, probes, shape, made)?,
            Engine::Gpu(gpu) => {
                let sink = &mut pending.sink();
                *made = gpu::lookup_tables::lookup_tables(gpu, queries, codebooks, probes, shape, sink)?;
            }
        }
        Ok(())
    }

    /// Tables that were made elsewhere: `entries` are tables × M × 16 for one table a query or one a list, `biases`
    /// queries × lists. Their sums stand for themselves.
    ///
    /// # Errors
    /// [`Error::Parameter`] for entries or biases of another number; as [`Device::upload`].
    pub fn upload_tables(&self, m: usize, lists: usize, entries: &[u8], biases: &[u32]) -> Result<LookupTables> {
        let queries = biases.len().checked_div(lists).unwrap_or(0);
        let tables = (entries.len() / CENTROIDS).checked_div(m * queries).unwrap_or(0);
        let whole = queries * tables * m * CENTROIDS == entries.len() && queries * lists == biases.len();
        if !whole || (tables != 1 && tables != lists) {
            let found = format!("{} entries and {} biases for M = {m}", entries.len(), biases.len());
            return Err(Error::parameter(
                "tables",
                found,
                format!("pass 1 or {lists} tables, and {lists} biases a query"),
            ));
        }
        let (pairs, mut padded) = (m.div_ceil(2), Vec::with_capacity(queries * tables * m.div_ceil(2) * 2 * CENTROIDS));
        for table in entries.chunks_exact(m * CENTROIDS) {
            padded.extend_from_slice(table);
            padded.resize(padded.len().next_multiple_of(pairs * 2 * CENTROIDS), 0);
        }
        let scales = [0.0, 1.0].repeat(queries);
        let (entries, biases, scales) = match &self.engine {
            Engine::Cpu => {
                let biases = Buffer::on_host(biases.to_vec());
                (Entries::Bytes(Buffer::on_host(padded)), biases, Buffer::on_host(scales))
            }
            Engine::Gpu(gpu) => {
                let words: Vec<u32> = padded.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
                (Entries::Words(gpu.upload(&words)?), gpu.upload(biases)?, gpu.upload(&scales)?)
            }
        };
        Ok(LookupTables { entries, biases, scales, queries, lists, tables, pairs })
    }

    /// Reads the entries back, \[table\]\[2 · ⌈M / 2⌉\]\[16\].
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_tables(&self, tables: &LookupTables) -> Result<Vec<u8>> {
        match &tables.entries {
            Entries::Bytes(bytes) => self.download(bytes),
            Entries::Words(words) => Ok(self.download(words)?.into_iter().flat_map(u32::to_le_bytes).collect()),
        }
    }
}
