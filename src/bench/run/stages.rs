//! Every stage on the workload's rows, and what it has to compute and to move.
//!
//! Counted, of N rows, d floats a row, q queries or segments, m sub-quantizers:
//! `nearest_centroid` 2·N·nlist·d flops and 4·d·(N + nlist) bytes; `centroid_update` N·d flops and 4·d·(N + 2·nlist)
//! bytes; `exact_topk` 3·q·N·d flops and 4·d·N bytes; `pq_encode` 3·16·N·d flops and N·(4·d + m/2) bytes;
//! `lookup_tables` 3·16·N·d flops and N·(4·d + 16·m) bytes; `fast_scan` N·m/2 bytes, look-ups not counted; `select_topk`
//! 8·q·N bytes, which a GPU gets from the host. Those that find something have its way to the host timed, too.

use std::slice;
use std::sync::Arc;

use super::sample::{sample, summary, wall};
use super::{Machine, patience};
use crate::bench::{Bound, Ceilings, Clock, StageResult};
use crate::device::{Device, Method, PQ_CENTROIDS, RowRanges, ScanRequest, Shares, Tile};
use crate::error::Result;
use crate::factory::Metric;

/// Queries of a live call.
const LIVE: usize = 16;
/// Queries whose look-up tables are made at once.
const TABLES: usize = 2048;
/// The rows that a stage is first tried with: no tile has more.
const FEWEST: usize = 128;
/// Words that bounds mark centroids in, at most: any GPU has room for them.
const MARKS: usize = 1 << 24;
/// Candidates that codes leave, and neighbours.
const CANDIDATES: usize = 64;
const K: usize = 8;

/// What a stage has to do at the least: floating-point operations, bytes of the device's memory, bytes from the host.
type Work = (f64, f64, f64);
/// A stage with its inputs made, ready to be run again and again.
type Run<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

pub(super) struct Stage<'a> {
    name: &'static str,
    variant: Option<String>,
    /// What is compared with it, in words.
    shape: String,
    /// Rows where the device is fast enough; other sizes stay.
    rows: usize,
    /// True where the stage itself waits for its answer.
    answers: bool,
    work: Box<dyn Fn(f64) -> Work + 'a>,
    make: Box<dyn Fn(usize) -> Result<Run<'a>> + 'a>,
}

impl Stage<'_> {
    /// With as many rows as let it be run some times while patience lasts.
    pub(super) fn measure(&self, machine: &Machine, ceilings: &Ceilings, quick: bool) -> Result<StageResult> {
        let clock = if self.answers { Clock::Wall } else { machine.clock() };
        let time = |run: &mut Run| match &machine.host {
            Some(host) if clock == Clock::Gpu => host.time(run),
            Some(host) => wall(|| run().and_then(|()| host.wait())),
            None => wall(run),
        };
        let patience = patience(quick);
        let mut rows = FEWEST.min(self.rows);
        let mut run = (self.make)(rows)?;
        // The first run compiles.
        time(&mut run)?;
        while rows < self.rows && time(&mut run)? < patience.as_secs_f64() / 20.0 {
            drop(run);
            rows = self.rows.min(4 * rows);
            run = (self.make)(rows)?;
        }
        let seconds = summary(&sample(patience, || time(&mut run))?)?;
        let (flops, bytes, uploaded) = (self.work)(rows as f64);
        let upload = ceilings.upload.map_or(0.0, |upload| uploaded / upload.median);
        let times = [
            (Bound::Flops, flops / ceilings.flops.median),
            (Bound::Copy, bytes / ceilings.copy.median),
            (Bound::Upload, upload),
        ];
        let (bound, least) = times.into_iter().fold((Bound::Copy, 0.0), |a, b| if b.1 > a.1 { b } else { a });
        Ok(StageResult {
            stage: self.name.into(),
            variant: self.variant.clone(),
            shape: self.shape.clone(),
            rows,
            clock,
            seconds,
            flops,
            bytes,
            uploaded,
            bound,
            share: least / seconds.median,
        })
    }
}

/// What the stages are made for.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub device: &'a Device,
    /// Row-major.
    pub rows: &'a [f32],
    pub dim: usize,
    pub nlist: usize,
    pub m: usize,
}

impl<'a> Shape<'a> {
    /// The stages in the order in which a build and a search need them.
    pub(super) fn stages(self) -> Vec<Stage<'a>> {
        let mut stages = Vec::new();
        stages.extend(self.methods().into_iter().map(|method| self.nearest_centroid(Some(method))));
        stages.extend([self.nearest_centroid(None), self.centroid_update(), self.exact_topk(), self.pq_encode()]);
        stages.extend([self.lookup_tables(), self.fast_scan(), self.select_topk()]);
        stages
    }

    /// The methods that a GPU chooses from.
    fn methods(&self) -> Vec<Method> {
        if self.device.is_cpu() {
            return Vec::new();
        }
        let mut methods: Vec<_> = Tile::ALL.map(Method::Tile).into();
        let comparisons = || {
            let row = self.device.upload(self.first(1), self.dim)?;
            let table = self.device.centroid_table(&self.centroids(), self.dim, Metric::L2)?;
            self.device.comparisons(&row, &table, Shares::Floats)
        };
        if matches!(comparisons(), Ok(Some(_))) {
            methods.extend(self.device.shares().iter().copied().map(Method::Sketches));
        }
        methods
    }

    fn count(&self) -> usize {
        self.rows.len() / self.dim
    }

    fn first(&self, rows: usize) -> &'a [f32] {
        &self.rows[..rows.min(self.count()) * self.dim]
    }

    /// Rows that training gives a device at a time.
    fn batch(&self) -> usize {
        self.device.batch_plan(self.count(), self.dim, self.nlist, None).batch_rows
    }

    /// Rows from all over the voice, as k-means begins with.
    fn centroids(&self) -> Vec<f32> {
        let step = self.count() / self.nlist;
        self.rows.chunks_exact(self.dim).step_by(step.max(1)).take(self.nlist).flatten().copied().collect()
    }

    fn nearest_centroid(self, method: Option<Method>) -> Stage<'a> {
        let Self { device, dim, nlist, .. } = self;
        let make = move |rows| {
            let batch = device.upload(self.first(rows), dim)?;
            let table = device.centroid_table(&self.centroids(), dim, Metric::L2)?;
            let run = move || {
                match method {
                    Some(method) => device.nearest_centroid_by(&batch, &table, method),
                    None => device.nearest_centroid(&batch, &table),
                }
                .map(drop)
            };
            Ok(Box::new(run) as Run)
        };
        let (d, lists) = (dim as f64, nlist as f64);
        let most = if let Some(Method::Sketches(_)) = method { MARKS / nlist.div_ceil(32) } else { usize::MAX };
        Stage {
            name: "nearest_centroid",
            variant: Some(method.map_or("as a build does".into(), |method| method.to_string())),
            shape: format!("d {dim}, {nlist} lists"),
            rows: self.batch().min(most),
            answers: false,
            work: Box::new(move |rows| (2.0 * rows * lists * d, 4.0 * d * (rows + lists), 0.0)),
            make: Box::new(make),
        }
    }

    fn centroid_update(self) -> Stage<'a> {
        let Self { device, dim, nlist, .. } = self;
        let make = move |rows| {
            let batch = device.upload(self.first(rows), dim)?;
            let table = device.centroid_table(&self.centroids(), dim, Metric::L2)?;
            let nearest = device.nearest_centroid(&batch, &table)?;
            let mut sums = device.cluster_sums(nlist, dim)?;
            Ok(Box::new(move || device.centroid_update(&batch, &nearest, &mut sums)) as Run)
        };
        let (d, lists) = (dim as f64, nlist as f64);
        Stage {
            name: "centroid_update",
            variant: None,
            shape: format!("d {dim}, {nlist} lists"),
            rows: self.batch(),
            answers: false,
            work: Box::new(move |rows| (rows * d, 4.0 * d * (rows + 2.0 * lists), 0.0)),
            make: Box::new(make),
        }
    }

    fn exact_topk(self) -> Stage<'a> {
        let Self { device, dim, .. } = self;
        let make = move |rows| {
            let set = device.row_set(&Arc::new(self.first(rows).to_vec()), dim)?;
            let queries = device.upload(self.first(LIVE), dim)?;
            let ranges = RowRanges::all(queries.rows(), set.rows() as u32);
            Ok(Box::new(move || device.exact_topk(&queries, &set, &ranges, Metric::L2, K).map(drop)) as Run)
        };
        let (d, queries) = (dim as f64, LIVE as f64);
        Stage {
            name: "exact_topk",
            variant: None,
            shape: format!("d {dim}, {LIVE} queries"),
            rows: self.count(),
            answers: true,
            work: Box::new(move |rows| (3.0 * queries * rows * d, 4.0 * d * rows, 0.0)),
            make: Box::new(make),
        }
    }

    fn pq_encode(self) -> Stage<'a> {
        let Self { device, dim, m, .. } = self;
        let make = move |rows| {
            let batch = device.upload(self.first(rows), dim)?;
            let codebooks = device.codebooks(self.first(PQ_CENTROIDS), m)?;
            Ok(Box::new(move || device.pq_encode(&batch, &codebooks, None).map(drop)) as Run)
        };
        let (d, subs) = (dim as f64, m as f64);
        Stage {
            name: "pq_encode",
            variant: None,
            shape: format!("d {dim}, m {m}"),
            rows: self.batch(),
            answers: false,
            work: Box::new(move |rows| (3.0 * PQ_CENTROIDS as f64 * rows * d, rows * (4.0 * d + subs / 2.0), 0.0)),
            make: Box::new(make),
        }
    }

    fn lookup_tables(self) -> Stage<'a> {
        let Self { device, dim, m, .. } = self;
        let make = move |rows| {
            let queries = device.upload(self.first(rows), dim)?;
            let codebooks = device.codebooks(self.first(PQ_CENTROIDS), m)?;
            Ok(Box::new(move || device.lookup_tables(&queries, &codebooks, Metric::L2, None).map(drop)) as Run)
        };
        let (d, entries) = (dim as f64, (PQ_CENTROIDS * m) as f64);
        Stage {
            name: "lookup_tables",
            variant: None,
            shape: format!("d {dim}, m {m}"),
            rows: TABLES.min(self.count()),
            answers: false,
            work: Box::new(move |rows| (3.0 * PQ_CENTROIDS as f64 * rows * d, rows * (4.0 * d + entries), 0.0)),
            make: Box::new(make),
        }
    }

    fn fast_scan(self) -> Stage<'a> {
        let Self { device, m, .. } = self;
        let make = move |rows: usize| {
            let codes = device.code_set(&Arc::new(bytes(rows.next_multiple_of(32) * m.div_ceil(2))), m)?;
            let tables = device.upload_tables(m, 1, &bytes(LIVE * m * PQ_CENTROIDS), &[0; LIVE])?;
            let mut request = ScanRequest::new(1);
            (0..LIVE).try_for_each(|_| request.add_query(slice::from_ref(&(0..rows as u32))))?;
            let run = move || device.fast_scan(&codes, &tables, &request, Metric::L2, CANDIDATES).map(drop);
            Ok(Box::new(run) as Run)
        };
        Stage {
            name: "fast_scan",
            variant: None,
            shape: format!("m {m}, {LIVE} queries"),
            rows: self.count(),
            answers: true,
            // Whole numbers are looked up and added: no arithmetic of the kind that has a ceiling here.
            work: Box::new(move |rows| (0.0, rows * m as f64 / 2.0, 0.0)),
            make: Box::new(make),
        }
    }

    fn select_topk(self) -> Stage<'a> {
        let device = self.device;
        let make = move |rows: usize| {
            let keys: Vec<f32> =
                bytes(4 * LIVE * rows).chunks_exact(4).map(|b| f32::from(b[0]) * 256.0 + f32::from(b[2])).collect();
            let candidates: Vec<u32> = (0..keys.len() as u32).collect();
            let segments: Vec<_> = (0..LIVE).map(|i| ((i * rows) as u32, rows as u32)).collect();
            Ok(Box::new(move || device.select_topk(&keys, &candidates, &segments, K).map(drop)) as Run)
        };
        Stage {
            name: "select_topk",
            variant: None,
            shape: format!("{LIVE} segments, k {K}"),
            rows: self.count(),
            answers: true,
            work: Box::new(|rows| {
                let bytes = 8.0 * LIVE as f64 * rows;
                (0.0, bytes, bytes)
            }),
            make: Box::new(make),
        }
    }
}

/// Bytes without a pattern that a cache or a branch predictor could learn.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519) >> 24) as u8)
        .collect()
}
