//! Sums of u8 look-up tables over 4-bit codes.

use std::ops::Range;

use rayon::prelude::*;

use super::block_sums::{Ask, BlockSums, Keys, QUERIES, block_sums};
use super::smallest::Smallest;
use super::workspace::Workspace;
use crate::device::TopK;
use crate::device::data::codes::{BLOCK_ROWS, CodeParts, CodeSet, ScanRequest, ScanTopK};
use crate::device::data::lookup_tables::{Entries, LookupTables};
use crate::device::data::ranges::{Group, GroupVisit, groups};
use crate::error::{Error, Result};
use crate::factory::Metric;

/// Queries that one thread takes at a time.
const SHARE: usize = 64;
/// Bytes of codes that stay in a core's cache while all queries of a group look at them.
const TILE: usize = 128 << 10;

pub(crate) fn fast_scan(
    codes: &CodeSet,
    tables: &LookupTables,
    request: &ScanRequest,
    metric: Metric,
    k: usize,
    top: &mut ScanTopK,
) -> Result<()> {
    let name = "fast_scan";
    let (CodeParts::Host(codes), Entries::Bytes(entries)) = (&codes.parts, &tables.entries) else {
        return Err(Error::ForeignBuffer { stage: name });
    };
    let queries = request.ranges.queries();
    let scan = Scan {
        codes: codes.host(name)?,
        entries: entries.host(name)?,
        biases: tables.biases.host(name)?,
        tables,
        request,
        flip: if metric == Metric::L2 { 0 } else { u32::MAX },
        block_sums: block_sums(),
    };
    top.slots.resize(queries * k, 0);
    top.sums.resize(queries * k, 0);
    top.scales.clear();
    top.scales.extend_from_slice(tables.scales.host(name)?);
    // Few queries are spread over the cores one by one.
    let share = queries.div_ceil(rayon::current_num_threads()).clamp(1, SHARE);
    top.slots
        .par_chunks_mut(share * k)
        .zip(top.sums.par_chunks_mut(share * k))
        .enumerate()
        .for_each(|(chunk, (slots, sums))| scan.queries(chunk * share, k, slots, sums));
    Ok(())
}

/// Everything on the host.
struct Scan<'a> {
    codes: &'a [u8],
    entries: &'a [u8],
    biases: &'a [u32],
    tables: &'a LookupTables,
    request: &'a ScanRequest,
    /// Turns the bits of a sum over where the largest is the best.
    flip: u32,
    block_sums: BlockSums,
}

impl Scan<'_> {
    /// Writes the best slots and their sums of the queries from `first` on.
    fn queries(&self, first: usize, k: usize, slots: &mut [u32], sums: &mut [u32]) {
        let queries = slots.len() / k;
        let block_bytes = self.tables.pairs * BLOCK_ROWS;
        let tile = (TILE / block_bytes).max(1) * BLOCK_ROWS;
        slots.fill(TopK::NONE);
        sums.fill(0);
        Workspace::with(|workspace| {
            let (pools, visits) = (workspace.pools.renew(queries, k), &mut workspace.visits);
            self.request.ranges.visits(first..first + queries, visits);
            for group in groups(visits) {
                for start in group.rows.clone().step_by(tile) {
                    let rows = start..group.rows.end.min(start.saturating_add(tile as u32));
                    self.tile(&group, rows, first, pools);
                }
            }
            for ((pool, slots), sums) in pools.iter_mut().zip(slots.chunks_mut(k)).zip(sums.chunks_mut(k)) {
                for (((key, found), slot), sum) in pool.sorted().zip(slots).zip(sums) {
                    (*slot, *sum) = (found, key ^ self.flip);
                }
            }
        });
    }

    /// Some blocks of a group under the tables of all its queries.
    fn tile(&self, group: &Group<'_>, rows: Range<u32>, first_query: usize, best: &mut [Smallest]) {
        let block_bytes = self.tables.pairs * BLOCK_ROWS;
        let mut keys = [Keys::NONE; QUERIES];
        for visits in group.visits.chunks(QUERIES) {
            let mut asks = [Ask { table: &[], bias: 0, bound: 0 }; QUERIES];
            for (ask, visit) in asks.iter_mut().zip(visits) {
                *ask = self.ask(visit, best[visit.query as usize - first_query].bound());
            }
            for start in rows.clone().step_by(BLOCK_ROWS) {
                let block = &self.codes[start as usize / BLOCK_ROWS * block_bytes..][..block_bytes];
                (self.block_sums)(block, &asks[..visits.len()], self.flip, &mut keys);
                let here = u32::MAX >> (BLOCK_ROWS as u32 - (rows.end - start).min(BLOCK_ROWS as u32));
                for ((keys, ask), visit) in keys.iter().zip(&mut asks).zip(visits) {
                    let mut within = keys.within & here;
                    if within != 0 {
                        let best = &mut best[visit.query as usize - first_query];
                        while within != 0 {
                            let row = within.trailing_zeros();
                            best.offer(keys.keys[row as usize], start + row);
                            within &= within - 1;
                        }
                        ask.bound = best.bound();
                    }
                }
            }
        }
    }

    fn ask(&self, visit: &GroupVisit, bound: u32) -> Ask<'_> {
        let list = visit.number;
        let table_bytes = self.tables.pairs * BLOCK_ROWS;
        let table = &self.entries[self.tables.table_of(list) as usize * table_bytes..][..table_bytes];
        Ask { table, bias: self.biases[list as usize], bound }
    }
}
