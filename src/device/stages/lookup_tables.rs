//! Look-up tables of queries.

use crate::device::data::buffer::{Buffer, Matrix};
use crate::device::data::lookup_tables::{Entries, LookupTables, Probes, Shape};
use crate::device::data::pq::{CENTROIDS, Codebooks};
use crate::device::{Device, Engine, Pending, cpu, gpu};
use crate::error::{Error, Result};
use crate::factory::Metric;

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
