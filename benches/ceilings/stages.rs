//! Every stage at a voice's size, and what it has to compute and to move.

use std::sync::Arc;
use std::time::Duration;

use rvc_gpu_index::device::{Device, Method, PQ_CENTROIDS, RowRanges, ScanRequest, Tile};
use rvc_gpu_index::factory::Metric;

use super::report::{Ceilings, Measured};
use super::sample::{Clock, Seconds, wall};
use super::values::{bytes, values};
use super::{Machine, Outcome};

/// A long voice of RVC's, and its rule's number of lists.
const ROWS: usize = 125_000;
const DIM: usize = 768;
const NLIST: usize = 3205;
/// Sub-quantizers, and queries of a live call.
const M: usize = DIM / 2;
const LIVE: usize = 16;
/// Queries whose look-up tables are made at once.
const TABLES: usize = 2048;
/// The rows that a stage is first tried with: no tile has more.
const FEWEST: usize = 128;

/// How long the same is measured.
pub fn patience(quick: bool) -> Duration {
    Duration::from_millis(if quick { 200 } else { 2000 })
}

/// What a stage has to do at the least.
#[derive(Clone, Copy)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read from and written to the device's memory.
    pub bytes: f64,
    /// Bytes that come from the host.
    pub uploaded: f64,
}

/// A stage with its inputs made, ready to be run again and again.
type Run<'a> = Box<dyn FnMut() -> Outcome<()> + 'a>;

pub struct Stage<'a> {
    pub name: &'static str,
    /// What is compared with it, in words.
    pub shape: String,
    /// Rows where the device is fast enough; other sizes stay.
    rows: usize,
    /// True where the stage itself waits for its answer.
    answers: bool,
    work: fn(f64) -> Work,
    make: Box<dyn Fn(usize) -> Outcome<Run<'a>> + 'a>,
}

impl Stage<'_> {
    /// With as many rows as let it be run some times while patience lasts.
    pub fn measure(&self, machine: &Machine, ceilings: &Ceilings, quick: bool) -> Outcome<Measured> {
        let patience = patience(quick);
        let wanted = if quick { self.rows / 4 } else { self.rows };
        let clock = if self.answers { Clock::Wall } else { machine.clock() };
        let time = |run: &mut Run| match &machine.host {
            Some(host) if clock == Clock::Gpu => host.time(run),
            Some(host) => wall(|| run().and_then(|()| host.wait())),
            None => wall(run),
        };
        let mut rows = FEWEST.min(wanted);
        let mut run = (self.make)(rows)?;
        // The first run compiles.
        time(&mut run)?;
        while rows < wanted && time(&mut run)? < patience.as_secs_f64() / 20.0 {
            drop(run);
            rows = wanted.min(4 * rows);
            run = (self.make)(rows)?;
        }
        let seconds = Seconds::of(patience, || time(&mut run))?;
        Ok(Measured::new(self, rows, clock, seconds, (self.work)(rows as f64), ceilings))
    }
}

/// The stages in the order in which a build and a search need them.
pub fn all(device: &Device) -> Vec<Stage<'_>> {
    let mut stages = Vec::new();
    if !device.is_cpu() {
        stages.extend(Tile::ALL.map(|tile| nearest_centroid(device, Some(tile))));
    }
    stages.push(nearest_centroid(device, None));
    stages.extend([centroid_update(device), exact_topk(device), pq_encode(device), lookup_tables(device)]);
    stages.extend([fast_scan(device), select_topk(device)]);
    stages
}

/// Rows that training gives a device at a time.
fn batch(device: &Device) -> usize {
    device.batch_plan(ROWS, DIM, NLIST, None).batch_rows
}

fn nearest_centroid(device: &Device, tile: Option<Tile>) -> Stage<'_> {
    let by = match tile {
        Some(tile) => format!(", tile {tile}"),
        None => device.tune().map(|tile| format!(", as tuned: {tile}")).unwrap_or_default(),
    };
    let make = move |rows| {
        let batch = device.upload(&values(rows * DIM, 1), DIM)?;
        let table = device.centroid_table(&values(NLIST * DIM, 2), DIM, Metric::L2)?;
        let run = move || {
            match tile {
                Some(tile) => device.nearest_centroid_by(&batch, &table, Method::Tile(tile))?,
                None => device.nearest_centroid(&batch, &table)?,
            };
            Ok(())
        };
        Ok(Box::new(run) as Run)
    };
    Stage {
        name: "nearest_centroid",
        shape: format!("{DIM}, {NLIST} lists{by}"),
        rows: batch(device),
        answers: false,
        work: |rows| {
            let (d, nlist) = (DIM as f64, NLIST as f64);
            Work { flops: 2.0 * rows * nlist * d, bytes: 4.0 * d * (rows + nlist), uploaded: 0.0 }
        },
        make: Box::new(make),
    }
}

fn centroid_update(device: &Device) -> Stage<'_> {
    let make = move |rows| {
        let batch = device.upload(&values(rows * DIM, 1), DIM)?;
        let table = device.centroid_table(&values(NLIST * DIM, 2), DIM, Metric::L2)?;
        let nearest = device.nearest_centroid(&batch, &table)?;
        let mut sums = device.cluster_sums(NLIST, DIM)?;
        Ok(Box::new(move || Ok(device.centroid_update(&batch, &nearest, &mut sums)?)) as Run)
    };
    Stage {
        name: "centroid_update",
        shape: format!("{DIM}, {NLIST} lists"),
        rows: batch(device),
        answers: false,
        work: |rows| {
            let (d, nlist) = (DIM as f64, NLIST as f64);
            Work { flops: rows * d, bytes: 4.0 * d * (rows + 2.0 * nlist), uploaded: 0.0 }
        },
        make: Box::new(make),
    }
}

fn exact_topk(device: &Device) -> Stage<'_> {
    let make = move |rows| {
        let set = device.row_set(&Arc::new(values(rows * DIM, 1)), DIM)?;
        let queries = device.upload(&values(LIVE * DIM, 2), DIM)?;
        let ranges = RowRanges::all(LIVE, rows as u32);
        Ok(Box::new(move || Ok(device.exact_topk(&queries, &set, &ranges, Metric::L2, 8).map(drop)?)) as Run)
    };
    Stage {
        name: "exact_topk",
        shape: format!("{DIM}, {LIVE} queries"),
        rows: ROWS,
        answers: true,
        work: |rows| {
            let (d, queries) = (DIM as f64, LIVE as f64);
            Work { flops: 3.0 * queries * rows * d, bytes: 4.0 * d * rows, uploaded: 0.0 }
        },
        make: Box::new(make),
    }
}

fn pq_encode(device: &Device) -> Stage<'_> {
    let make = move |rows| {
        let batch = device.upload(&values(rows * DIM, 1), DIM)?;
        let codebooks = device.codebooks(&values(PQ_CENTROIDS * DIM, 2), M)?;
        Ok(Box::new(move || Ok(device.pq_encode(&batch, &codebooks, None).map(drop)?)) as Run)
    };
    Stage {
        name: "pq_encode",
        shape: format!("{DIM}, m = {M}"),
        rows: batch(device),
        answers: false,
        work: |rows| {
            let (d, m) = (DIM as f64, M as f64);
            Work { flops: 3.0 * PQ_CENTROIDS as f64 * rows * d, bytes: rows * (4.0 * d + m / 2.0), uploaded: 0.0 }
        },
        make: Box::new(make),
    }
}

fn lookup_tables(device: &Device) -> Stage<'_> {
    let make = move |rows| {
        let queries = device.upload(&values(rows * DIM, 1), DIM)?;
        let codebooks = device.codebooks(&values(PQ_CENTROIDS * DIM, 2), M)?;
        Ok(Box::new(move || Ok(device.lookup_tables(&queries, &codebooks, Metric::L2, None).map(drop)?)) as Run)
    };
    Stage {
        name: "lookup_tables",
        shape: format!("{DIM}, m = {M}"),
        rows: TABLES,
        answers: false,
        work: |rows| {
            let (d, entries) = (DIM as f64, (PQ_CENTROIDS * M) as f64);
            Work { flops: 3.0 * PQ_CENTROIDS as f64 * rows * d, bytes: rows * (4.0 * d + entries), uploaded: 0.0 }
        },
        make: Box::new(make),
    }
}

fn fast_scan(device: &Device) -> Stage<'_> {
    let make = move |rows: usize| {
        let codes = device.code_set(&Arc::new(bytes(rows.next_multiple_of(32) * M / 2, 1)), M)?;
        let tables = device.upload_tables(M, 1, &bytes(LIVE * M * PQ_CENTROIDS, 2), &[0; LIVE])?;
        let mut request = ScanRequest::new(1);
        (0..LIVE).try_for_each(|_| request.add_query(std::slice::from_ref(&(0..rows as u32))))?;
        Ok(Box::new(move || Ok(device.fast_scan(&codes, &tables, &request, Metric::L2, 64).map(drop)?)) as Run)
    };
    Stage {
        name: "fast_scan",
        shape: format!("m = {M}, {LIVE} queries"),
        rows: ROWS,
        answers: true,
        // Whole numbers are looked up and added: no arithmetic of the kind that has a ceiling here.
        work: |rows| Work { flops: 0.0, bytes: rows * M as f64 / 2.0, uploaded: 0.0 },
        make: Box::new(make),
    }
}

fn select_topk(device: &Device) -> Stage<'_> {
    let make = move |rows: usize| {
        let keys = values(LIVE * rows, 3);
        let candidates: Vec<u32> = (0..keys.len() as u32).collect();
        let segments: Vec<_> = (0..LIVE).map(|i| ((i * rows) as u32, rows as u32)).collect();
        Ok(Box::new(move || Ok(device.select_topk(&keys, &candidates, &segments, 8).map(drop)?)) as Run)
    };
    Stage {
        name: "select_topk",
        shape: format!("{LIVE} segments, k = 8"),
        rows: ROWS,
        answers: true,
        work: |rows| {
            let bytes = 8.0 * LIVE as f64 * rows;
            Work { flops: 0.0, bytes, uploaded: bytes }
        },
        make: Box::new(make),
    }
}
