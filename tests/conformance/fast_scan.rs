//! The best rows of each query by the sums of its u8 tables: whole numbers, so the same everywhere, bit for bit.

use std::sync::Arc;

use libtest_mimic::Failed;
use rvc_gpu_index::device::{Device, ScanRequest, TopK, Visit};
use rvc_gpu_index::factory::Metric;

use super::Case;
use super::oracle::{ensure, random};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for m in [1, 2, 3, 7, 64, 127, 128, 129, 384, 600] {
        cases.push((format!("m{m}"), Box::new(move |device| check(device, m, &[70], 5, 9))));
    }
    for rows in [0, 1, 31, 32, 33, 2047, 2048, 2049, 5000] {
        cases.push((format!("{rows}_rows"), Box::new(move |device| check(device, 6, &[rows], 3, 20))));
    }
    cases.push(("lists".into(), Box::new(|device| check(device, 9, &[0, 1, 33, 0, 64, 500, 2100], 40, 300))));
    cases.push(("largest_k".into(), Box::new(|device| check(device, 4, &[3000], 2, 1024))));
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    random(count, seed).into_iter().map(|x| (x * 128.0 + 128.0) as u8).collect()
}

/// The 4-bit code of sub-quantizer `s` for row `v` of a block, by faiss's layout: byte (s / 2) · 32 + 16 if s is odd +
/// p(v mod 16) with p(w) = 2w for w < 8, else 2(w − 8) + 1; the high nibble when v ≥ 16.
fn code(block: &[u8], s: usize, v: usize) -> usize {
    let w = v % 16;
    let place = if w < 8 { 2 * w } else { 2 * (w - 8) + 1 };
    let byte = block[s / 2 * 32 + s % 2 * 16 + place];
    usize::from(if v >= 16 { byte >> 4 } else { byte & 15 })
}

/// Lists of the given lengths; query q visits every list but each (q + 1)-th, with a table and a bias of its own.
fn check(device: &Device, m: usize, lists: &[usize], queries: usize, k: usize) -> Result<(), Failed> {
    let block_bytes = m.div_ceil(2) * 32;
    let blocks: usize = lists.iter().map(|rows| rows.div_ceil(32)).sum();
    let codes = bytes(blocks * block_bytes, 60);
    let set = device.code_set(&Arc::new(codes.clone()), m)?;
    ensure(set.slots() == blocks * 32, || format!("{} slots", set.slots()))?;

    let mut request = ScanRequest::new(m);
    let mut asked = Vec::new();
    for query in 0..queries {
        let (mut visits, mut slot) = (Vec::new(), 0);
        for (number, &rows) in lists.iter().enumerate() {
            // Some queries share a table, as without residuals; 255 everywhere finds sums that overflow.
            let table = if query % 3 == 2 { vec![255; m * 16] } else { bytes(m * 16, (query * 100 + number) as u64) };
            let table_number = request.add_table(&table)?;
            if lists.len() == 1 || number % (query + 2) != 0 {
                let bias = (query * 977 + number * 31) as u16;
                visits.push((Visit { slots: slot..slot + rows as u32, table: table_number, bias }, table));
            }
            slot += rows.next_multiple_of(32) as u32;
        }
        request.add_query(&visits.iter().map(|(visit, _)| visit.clone()).collect::<Vec<_>>())?;
        asked.push(visits);
    }
    for metric in [Metric::L2, Metric::InnerProduct] {
        let found = device.fast_scan(&set, &request, metric, k)?;
        for (query, visits) in asked.iter().enumerate() {
            let mut expected: Vec<(u32, u32)> = Vec::new();
            for (visit, table) in visits {
                for slot in visit.slots.clone() {
                    let block = &codes[slot as usize / 32 * block_bytes..][..block_bytes];
                    let entry = |s: usize| u32::from(table[s * 16 + code(block, s, slot as usize % 32)]);
                    expected.push(((0..m).map(entry).sum::<u32>() + u32::from(visit.bias), slot));
                }
            }
            expected.sort_by_key(|&(sum, slot)| match metric {
                Metric::L2 => (i64::from(sum), slot),
                Metric::InnerProduct => (-i64::from(sum), slot),
            });
            expected.resize(expected.len().max(k), (0, TopK::NONE));
            for (rank, &expected) in expected.iter().take(k).enumerate() {
                let at = query * k + rank;
                let pair = (found.sums[at], found.slots[at]);
                ensure(pair == expected, || {
                    format!("{metric} query {query} rank {rank}: {pair:?}, expected {expected:?}")
                })?;
            }
        }
    }
    Ok(())
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    ensure(device.code_set(&Arc::new(vec![0; 33]), 2).is_err(), || "33 bytes were taken".into())?;
    ensure(device.code_set(&Arc::new(Vec::new()), 0).is_err(), || "m 0 was taken".into())?;
    let mut request = ScanRequest::new(2);
    ensure(request.add_table(&[0; 31]).is_err(), || "a short table was taken".into())?;
    let table = request.add_table(&[0; 32])?;
    for (slots, table) in [(1..2, table), (0..1, table + 1)] {
        let visit = Visit { slots, table, bias: 0 };
        ensure(request.add_query(std::slice::from_ref(&visit)).is_err(), || format!("{visit:?} was taken"))?;
    }
    request.add_query(&[Visit { slots: 0..33, table, bias: 0 }])?;
    let set = device.code_set(&Arc::new(vec![0; 32]), 2)?;
    ensure(device.fast_scan(&set, &request, Metric::L2, 1).is_err(), || "rows past the end were taken".into())
}
