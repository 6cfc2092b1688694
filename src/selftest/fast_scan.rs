//! The best rows of each query by the sums of its u8 tables: whole numbers, so the same everywhere, bit for bit.

use std::sync::Arc;

use super::Failed;
use crate::device::{Device, ScanRequest, TopK};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
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

/// Lists of the given lengths; query q visits every list but each (q + 2)-th, with a bias of its own and a table of its
/// own or the query's only one.
fn check(device: &Device, m: usize, lists: &[usize], queries: usize, k: usize) -> Result<(), Failed> {
    check_tables(device, m, lists, queries, k, false)?;
    check_tables(device, m, lists, queries, k, true)
}

fn check_tables(
    device: &Device,
    m: usize,
    lists: &[usize],
    queries: usize,
    k: usize,
    one_table: bool,
) -> Result<(), Failed> {
    let block_bytes = m.div_ceil(2) * 32;
    let blocks: usize = lists.iter().map(|rows| rows.div_ceil(32)).sum();
    let codes = bytes(blocks * block_bytes, 60);
    let set = device.code_set(&Arc::new(codes.clone()), m)?;
    ensure(set.slots() == blocks * 32, || format!("{} slots", set.slots()))?;

    let mut request = ScanRequest::new(lists.len());
    let (mut tables, mut biases, mut visits) = (Vec::new(), Vec::new(), Vec::new());
    for query in 0..queries {
        let mut slot = 0;
        let first = visits.len();
        for (number, &rows) in lists.iter().enumerate() {
            if number == 0 || !one_table {
                // 255 everywhere finds sums that overflow.
                let table = bytes(m * 16, (query * 100 + number) as u64);
                tables.push(if query % 3 == 2 { vec![255; m * 16] } else { table });
            }
            biases.push((query * 977 + number * 31) as u32);
            let visited = lists.len() == 1 || number % (query + 2) != 0;
            visits.push(slot..if visited { slot + rows as u32 } else { slot });
            slot += rows.next_multiple_of(32) as u32;
        }
        request.add_query(&visits[first..])?;
    }
    let uploaded = device.upload_tables(m, lists.len(), &tables.concat(), &biases)?;
    for metric in [Metric::L2, Metric::InnerProduct] {
        let found = device.fast_scan(&set, &uploaded, &request, metric, k)?;
        for query in 0..queries {
            let mut expected: Vec<(u32, u32)> = Vec::new();
            for list in query * lists.len()..(query + 1) * lists.len() {
                let table = &tables[if one_table { query } else { list }];
                for slot in visits[list].clone() {
                    let block = &codes[slot as usize / 32 * block_bytes..][..block_bytes];
                    let entry = |s: usize| u32::from(table[s * 16 + code(block, s, slot as usize % 32)]);
                    expected.push(((0..m).map(entry).sum::<u32>() + biases[list], slot));
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
    for (entries, biases) in [(31, 1), (32, 3), (96, 2), (0, 2), (32, 0)] {
        let taken = device.upload_tables(2, 2, &vec![0; entries], &vec![0; biases]);
        ensure(taken.is_err(), || format!("{entries} entries and {biases} biases were taken"))?;
    }
    let mut request = ScanRequest::new(2);
    for lists in [&[][..], &[0..1, 1..2], &[0..1, 32..33, 64..65]] {
        ensure(request.add_query(lists).is_err(), || format!("{lists:?} was taken"))?;
    }
    request.add_query(&[0..33, 0..0])?;
    let set = device.code_set(&Arc::new(vec![0; 32]), 2)?;
    let tables = device.upload_tables(2, 2, &[0; 32], &[0; 2])?;
    let scan = |request: &_, tables: &_| device.fast_scan(&set, tables, request, Metric::L2, 1);
    ensure(scan(&request, &tables).is_err(), || "rows past the end were taken".into())?;
    ensure(scan(&ScanRequest::new(2), &tables).is_err(), || "tables of more queries were taken".into())?;
    let wide = device.upload_tables(4, 2, &[0; 64], &[0; 2])?;
    ensure(scan(&request, &wide).is_err(), || "tables for other codes were taken".into())
}
