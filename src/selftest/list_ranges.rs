//! The rows of the lists that each query visits: which they are is seen by what exact_topk and fast_scan find among them.

use std::ops::Range;
use std::sync::Arc;

use super::Failed;
use crate::device::{BLOCK_ROWS, Buffer, Device, ListPlaces, Pending, RowRanges, ScanRequest, ScanTopK, TopK};
use crate::factory::Metric;

use super::Listed;
use super::oracle::ensure;

/// Lengths around those of tasks, with empty lists and some of the same length.
const UNEVEN: [u32; 13] = [0, 1, 63, 64, 65, 130, 0, 7, 300, 300, 2047, 2049, 1];

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    let mut case = |name: &str, lists: Vec<u32>, queries: usize, nprobe: usize, k: usize| {
        let asked = Asked { lists, queries, nprobe, k };
        cases.push((name.into(), Box::new(move |device| asked.check(device))));
    };
    for (queries, nprobe) in [(0, 2), (1, 1), (16, 1), (17, 1), (40, 3), (130, 2), (33, 13)] {
        case(&format!("uneven_{queries}_queries_nprobe{nprobe}"), UNEVEN.into(), queries, nprobe, 20);
    }
    case("all_rows_found", UNEVEN[..9].into(), 50, 4, 1024);
    case("one_list", vec![100], 300, 1, 8);
    case("lists_of_one_length", vec![64; 40], 100, 8, 600);
    case("lists_of_one_row", vec![1; 500], 70, 130, 130);
    case("empty_lists", vec![0; 5], 9, 3, 2);
    // More keys than are written at a time, and more than one workgroup selects from.
    let long = |length: u32, others: usize| [&[length][..], &vec![3; others]].concat();
    case("long_list_in_runs", long(140_000, 50), 200, 1, 9);
    case("long_list_to_merge", long(70_000, 9), 6, 3, 1024);
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

struct Asked {
    lists: Vec<u32>,
    queries: usize,
    nprobe: usize,
    k: usize,
}

impl Asked {
    /// Where each list's rows are when each starts at a multiple of `align`, and where the last one ends.
    fn places(&self, align: u32) -> (Vec<Range<u32>>, usize) {
        let mut end: u32 = 0;
        let place = |&rows: &u32| {
            let start = end.next_multiple_of(align);
            end = start + rows;
            start..end
        };
        (self.lists.iter().map(place).collect(), end.next_multiple_of(align) as usize)
    }

    /// Lists of a query, each of another one; every seventh query visits none.
    fn probes_of(&self, query: usize) -> impl Iterator<Item = u32> {
        let nlist = self.lists.len();
        (0..self.nprobe)
            .map(move |probe| if query % 7 == 5 { TopK::NONE } else { ((query * 5 + probe) % nlist) as u32 })
    }

    fn check(&self, device: &Device) -> Result<(), Failed> {
        let probes: Vec<u32> = (0..self.queries).flat_map(|query| self.probes_of(query)).collect();
        let probes = device.upload_values(&probes)?;
        self.check_rows(device, &probes)?;
        // There are no tables of no queries.
        if self.queries == 0 { Ok(()) } else { self.check_codes(device, &probes) }
    }

    /// Inner products with rows of one number each, no two the same, and queries of 1 and −1: the largest and the smallest
    /// numbers that a query is compared with.
    fn check_rows(&self, device: &Device, probes: &Buffer<u32>) -> Result<(), Failed> {
        let (places, rows) = self.places(1);
        let number = |row: u32| ((u64::from(row) * 7919) % 1_000_003) as f32;
        let set = device.row_set(&Arc::new((0..rows as u32).map(number).collect()), 1)?;
        let sign = |query: usize| if query.is_multiple_of(2) { 1.0 } else { -1.0 };
        let queries: Vec<f32> = (0..self.queries).map(sign).collect();
        let mut ranges = RowRanges::default();
        device.list_ranges_into(&resident(device, &places)?, probes, self.nprobe, &mut ranges)?;
        let found = device.exact_topk(&device.upload(&queries, 1)?, &set, &ranges, Metric::InnerProduct, self.k)?;
        for (query, &sign) in queries.iter().enumerate() {
            let lists = self.probes_of(query).filter_map(|list| places.get(list as usize));
            let mut expected: Vec<u32> = lists.cloned().flatten().collect();
            expected.sort_by(|&a, &b| (sign * number(b)).total_cmp(&(sign * number(a))));
            expected.resize(expected.len().max(self.k), TopK::NONE);
            same(&found.rows[query * self.k..][..self.k], &expected[..self.k], query)?;
        }
        Ok(())
    }

    /// Codes of zero, so that all sums of a query in a list are the same, and another for each list.
    fn check_codes(&self, device: &Device, probes: &Buffer<u32>) -> Result<(), Failed> {
        let (places, slots) = self.places(BLOCK_ROWS as u32);
        let codes = device.code_set(&Arc::new(vec![0; slots]), 1)?;
        let visits = self.queries * self.nprobe;
        let entry = |visit: usize| (visit * 37 % 251) as u32;
        let bias = |visit: usize| (visit * 977 % 4093) as u32;
        let tables: Vec<u8> = (0..visits).flat_map(|visit| [entry(visit) as u8; 16]).collect();
        let biases: Vec<u32> = (0..visits).map(bias).collect();
        let tables = device.upload_tables(1, self.nprobe, &tables, &biases)?;
        let mut request = ScanRequest::new(self.nprobe);
        device.list_ranges_into(&resident(device, &places)?, probes, self.nprobe, &mut request.ranges)?;
        let mut found = ScanTopK::default();
        let pending = &mut Pending::default();
        device.fast_scan_into((&codes, &tables), &request, Metric::L2, self.k, &mut found, pending)?;
        ensure(found.scales == [0.0, 1.0].repeat(self.queries), || format!("scales {:?}", found.scales))?;
        for query in 0..self.queries {
            let mut expected: Vec<(u32, u32)> = Vec::new();
            for (list, visit) in self.probes_of(query).zip(query * self.nprobe..) {
                let slots = places.get(list as usize).cloned().unwrap_or_default();
                expected.extend(slots.map(|slot| (entry(visit) + bias(visit), slot)));
            }
            expected.sort_unstable();
            expected.resize(expected.len().max(self.k), (0, TopK::NONE));
            let at = query * self.k..(query + 1) * self.k;
            let found: Vec<_> = found.sums[at.clone()].iter().copied().zip(found.slots[at].iter().copied()).collect();
            same(&found, &expected[..self.k], query)?;
        }
        Ok(())
    }
}

fn resident(device: &Device, places: &[Range<u32>]) -> Result<ListPlaces, Failed> {
    Ok(device.list_places(places.iter().cloned())?)
}

fn same<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T], query: usize) -> Result<(), Failed> {
    match (0..expected.len()).find(|&rank| found[rank] != expected[rank]) {
        Some(rank) => {
            Err(format!("query {query} rank {rank}: {:?}, expected {:?}", found[rank], expected[rank]).into())
        }
        None => Ok(()),
    }
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    let lists = resident(device, &[0..3, 3..3])?;
    let probes = device.upload_values(&[0u32, 1, 0, 1])?;
    for nprobe in [0, 3] {
        let taken = device.list_ranges_into(&lists, &probes, nprobe, &mut RowRanges::default());
        ensure(taken.is_err(), || format!("nprobe {nprobe} was taken"))?;
    }
    // Lists of more rows than there are.
    let mut ranges = RowRanges::default();
    device.list_ranges_into(&lists, &probes, 1, &mut ranges)?;
    let (set, queries) = (device.row_set(&Arc::new(vec![0.0; 2]), 1)?, device.upload(&[0.0; 4], 1)?);
    ensure(device.exact_topk(&queries, &set, &ranges, Metric::L2, 1).is_err(), || "rows past the end".into())
}
