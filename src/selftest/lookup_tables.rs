//! u8 look-up tables: entries, scale and biases against faiss's formulas in float64. A byte may be off by one only where
//! its value lies so near a rounding edge that the order of float32 operations decides.

use super::Failed;
use crate::device::{Device, PQ_CENTROIDS, Probes, TopK};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{close, distance, ensure, random};
use super::pq_encode::SHAPES;

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for (m, dsub) in SHAPES {
            let name = format!("{metric}_m{m}_dsub{dsub}");
            cases.push((name.clone(), Box::new(move |device| Truth::new(metric, m, dsub, 5, None).check(device))));
            for by_residual in [false, true] {
                let lists = if by_residual { "residuals" } else { "lists" };
                let truth = move || Truth::new(metric, m, dsub, 5, Some((3, by_residual)));
                cases.push((format!("{name}_{lists}"), Box::new(move |device| truth().check(device))));
            }
        }
        for queries in [0, 1, 300] {
            let truth = move || Truth::new(metric, 9, 2, queries, Some((2, true)));
            cases.push((format!("{metric}_{queries}_queries"), Box::new(move |device| truth().check(device))));
        }
        let many = move || Truth::new(metric, 6, 2, 4, Some((300, true)));
        cases.push((format!("{metric}_300_lists"), Box::new(move |device| many().check(device))));
    }
    cases.push(("biases_keep_their_digits_beside_large_entries".into(), Box::new(large_entries)));
    cases.push(("nothing_differs".into(), Box::new(nothing_differs)));
    cases.push(("queries_without_lists".into(), Box::new(queries_without_lists)));
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

/// What is asked.
struct Truth {
    metric: Metric,
    m: usize,
    dim: usize,
    queries: Vec<f32>,
    codebooks: Vec<f32>,
    centroids: Vec<f32>,
    /// Lists a query, and whether codes are of residuals.
    lists: Option<(usize, bool)>,
}

/// Entries or biases of one query before they are scaled, with what float32 may do to them.
struct Exact {
    /// [table][M][16].
    entries: Vec<f64>,
    /// One a list.
    biases: Vec<f64>,
    /// Rounding of an entry and of a bias.
    slack: (f64, f64),
}

impl Truth {
    fn new(metric: Metric, m: usize, dsub: usize, queries: usize, lists: Option<(usize, bool)>) -> Self {
        let dim = m * dsub;
        let nlist = lists.map_or(1, |(nprobe, _)| nprobe + 2);
        let [queries, codebooks, centroids] = [(queries * dim, 70), (m * PQ_CENTROIDS * dsub, 71), (nlist * dim, 72)]
            .map(|(count, seed)| random(count, seed));
        Self { metric, m, dim, queries, codebooks, centroids, lists }
    }

    fn exact(&self, query: &[f32], lists: &[u32]) -> Exact {
        let dsub = self.dim / self.m;
        let by_residual = self.lists.is_some_and(|(_, by_residual)| by_residual);
        let centroid = |list: u32| &self.centroids[list as usize * self.dim..][..self.dim];
        let table = |list: Option<u32>| {
            self.codebooks.chunks(dsub).enumerate().map(move |(number, r)| {
                let at = number / PQ_CENTROIDS * dsub;
                let x = &query[at..at + dsub];
                match list {
                    None => distance(self.metric, x, r),
                    Some(list) => {
                        let terms = x.iter().zip(&centroid(list)[at..]).zip(r);
                        let terms = terms.map(|((&x, &c), &r)| (f64::from(x), f64::from(c), f64::from(r)));
                        terms.map(|(x, c, r)| r * r - 2.0 * (x - c) * r).sum()
                    }
                }
            })
        };
        let own_tables = by_residual && self.metric == Metric::L2;
        let entries =
            if own_tables { lists.iter().flat_map(|&list| table(Some(list))).collect() } else { table(None).collect() };
        let bias = |&list: &u32| if by_residual { distance(self.metric, query, centroid(list)) } else { 0.0 };
        let epsilon = f64::from(f32::EPSILON);
        // Values are below 1, so the terms of an entry are below 5.
        let slack = (5.0 * epsilon * (dsub as f64 + 4.0), 4.0 * epsilon * (self.dim as f64 + 4.0));
        Exact { entries, biases: lists.iter().map(bias).collect(), slack }
    }

    fn check(&self, device: &Device) -> Result<(), Failed> {
        let queries = device.upload(&self.queries, self.dim)?;
        let codebooks = device.codebooks(&self.codebooks, self.m)?;
        let table = device.centroid_table(&self.centroids, self.dim, self.metric)?;
        let probed =
            self.lists.map(|(nprobe, by_residual)| (device.nearest_probes(&queries, &table, nprobe), by_residual));
        let (mut lists, mut numbers) = (None, vec![0; queries.rows()]);
        if let Some((probed, by_residual)) = probed {
            let probed = probed?;
            numbers = device.download(&probed)?;
            lists = Some((probed, by_residual));
        }
        let probes =
            lists.as_ref().map(|(lists, by_residual)| Probes { table: &table, lists, by_residual: *by_residual });
        let tables = device.lookup_tables(&queries, &codebooks, self.metric, probes.as_ref())?;
        let (entries, biases) = (device.download_tables(&tables)?, device.download(tables.biases())?);
        let scales = device.download(tables.scales())?;
        ensure(scales.len() == 2 * queries.rows(), || format!("{} scales", scales.len()))?;
        let per_query = self.lists.map_or(1, |(nprobe, _)| nprobe);
        for (number, query) in self.queries.chunks(self.dim).enumerate() {
            let share = |all: usize| number * all / queries.rows()..(number + 1) * all / queries.rows();
            let exact = self.exact(query, &numbers[number * per_query..][..per_query]);
            let found = (&entries[share(entries.len())], &biases[share(biases.len())], &scales[share(scales.len())]);
            exact
                .check(self.m, self.lists.is_some(), found)
                .map_err(|Failed(error)| format!("query {number}: {error}"))?;
        }
        Ok(())
    }
}

impl Exact {
    fn check(&self, m: usize, bounded: bool, (bytes, biases, scale): (&[u8], &[u32], &[f32])) -> Result<(), Failed> {
        let least = |entries: &[f64]| entries.iter().copied().fold(f64::INFINITY, f64::min);
        let span = |entries: &[f64]| entries.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least(entries);
        let tables: Vec<&[f64]> = self.entries.chunks(m * PQ_CENTROIDS).collect();
        let of_list = |list: usize| tables[if tables.len() == 1 { 0 } else { list }].chunks(PQ_CENTROIDS);
        let sum = |list: usize, of: &dyn Fn(&[f64]) -> f64| of_list(list).map(of).sum::<f64>();
        let lists = 0..self.biases.len();

        let widest = lists.clone().flat_map(of_list).map(span).fold(0.0, f64::max);
        let least_bias = least(&self.biases);
        let total = lists.clone().map(|i| self.biases[i] - least_bias + sum(i, &span)).fold(0.0, f64::max);
        let a = if bounded { (255.0 / widest).min(65535.0 / total) } else { 255.0 / widest };
        let offsets: Vec<f64> = lists.map(|i| self.biases[i] + sum(i, &least)).collect();
        close(scale[1], 1.0 / a, 0.0, || "step".into())?;
        close(scale[0], least(&offsets), self.slack.1 + self.slack.0 * m as f64, || "offset".into())?;
        // A table's least sum is part of a list's bias only where each list has its own table.
        let (in_biases, of_tables) = if tables.len() == 1 { (&self.biases, 0.0) } else { (&offsets, m as f64) };
        for (number, (value, &bias)) in in_biases.iter().zip(biases).enumerate() {
            let value = (value - least(in_biases)) * a + 0.5;
            let slack = a * 2.0 * (self.slack.1 + self.slack.0 * of_tables) + 1e-6 * value;
            whole(bias, value, slack).map_err(|Failed(error)| format!("bias {number}: {error}"))?;
        }
        let padded = m.next_multiple_of(2);
        ensure(bytes.len() == tables.len() * padded * PQ_CENTROIDS, || format!("{} entries", bytes.len()))?;
        for (table, bytes) in tables.iter().zip(bytes.chunks(padded * PQ_CENTROIDS)) {
            let (bytes, padding) = bytes.split_at(m * PQ_CENTROIDS);
            ensure(padding.iter().all(|&byte| byte == 0), || format!("padding {padding:?}"))?;
            for (sub, (entries, bytes)) in table.chunks(PQ_CENTROIDS).zip(bytes.chunks(PQ_CENTROIDS)).enumerate() {
                for (entry, &byte) in entries.iter().zip(bytes) {
                    let value = (entry - least(entries)) * a + 0.5;
                    whole(byte.into(), value, a * 2.0 * self.slack.0 + 1e-6 * value)
                        .map_err(|Failed(error)| format!("sub-quantizer {sub}: {error}"))?;
                }
            }
        }
        Ok(())
    }
}

/// `found` is what is before the point of `value`, give or take `slack`.
fn whole(found: u32, value: f64, slack: f64) -> Result<(), Failed> {
    let (low, high) = ((value - slack).floor(), (value + slack).floor());
    ensure((low..=high).contains(&f64::from(found)), || format!("{found}, expected {value} ± {slack}"))
}

/// Equal centroids: no span, and a sum stands for the offset alone.
fn nothing_differs(device: &Device) -> Result<(), Failed> {
    let queries = device.upload(&[1.0, 2.0, 3.0, 5.0, 5.0, 5.0], 3)?;
    let tables = device.lookup_tables(&queries, &device.codebooks(&[2.0; 48], 3)?, Metric::L2, None)?;
    ensure(device.download_tables(&tables)?.iter().all(|&byte| byte == 0), || "entries that differ".into())?;
    let scales = device.download(tables.scales())?;
    ensure(scales == [2.0, 0.0, 27.0, 0.0], || format!("{scales:?}"))
}

/// Floats beyond 10⁷ are whole numbers. Products span 10⁷ to 10⁷ + 15, so a = 17, and list distances of 0.4, 0 and 7.6
/// become 6.8, 0 and 129.2.
fn large_entries(device: &Device) -> Result<(), Failed> {
    let queries = device.upload(&[1.0, 1.0], 2)?;
    let codebooks: Vec<f32> = (0..32).map(|i| if i < 16 { 1e7 + i as f32 } else { 0.0 }).collect();
    let table = device.centroid_table(&[0.4, 0.0, 0.0, 0.0, 7.0, 0.6], 2, Metric::InnerProduct)?;
    let lists = device.nearest_probes(&queries, &table, 3)?;
    let probes = Probes { table: &table, lists: &lists, by_residual: true };
    let tables =
        device.lookup_tables(&queries, &device.codebooks(&codebooks, 2)?, Metric::InnerProduct, Some(&probes))?;
    let biases = device.download(tables.biases())?;
    ensure(biases == [129, 7, 0], || format!("{biases:?}"))
}

/// A query that found no list, and one that found one of two: what was not found decides nothing.
fn queries_without_lists(device: &Device) -> Result<(), Failed> {
    let queries = device.upload(&[0.0, 0.0], 1)?;
    let codebooks = device.codebooks(&(0..16).map(|i| i as f32).collect::<Vec<_>>(), 1)?;
    let table = device.centroid_table(&[100.0, -3.0], 1, Metric::L2)?;
    // The labels of a nearest centroid are the lists of two searches with nprobe 1.
    let none = device.nearest_probes(&device.upload(&[f32::NAN, 0.0], 1)?, &table, 2)?;
    let numbers = device.download(&none)?;
    ensure(numbers == [TopK::NONE, TopK::NONE, 1, 0], || format!("{numbers:?}"))?;
    let probes = Probes { table: &table, lists: &none, by_residual: true };
    let tables = device.lookup_tables(&queries, &codebooks, Metric::L2, Some(&probes))?;
    let bytes = device.download_tables(&tables)?;
    ensure(bytes[..64].iter().all(|&byte| byte == 0), || format!("{:?}", &bytes[..64]))?;
    // y = 3: r² − 6 r spans −9 to 135; y = −100: r² + 200 r spans 0 to 3225 with the bias 10,000 against 9.
    let scales = device.download(tables.scales())?;
    let a = (255.0f64 / 3225.0).min(65535.0 / (9991.0 + 3225.0));
    close(scales[3], 1.0 / a, 0.0, || "step".into())?;
    close(scales[2], 0.0, 1e-4, || "offset".into())
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    let queries = device.upload(&[0.0; 12], 4)?;
    let codebooks = device.codebooks(&[0.0; 64], 2)?;
    let narrow = device.codebooks(&[0.0; 32], 2)?;
    ensure(device.lookup_tables(&queries, &narrow, Metric::L2, None).is_err(), || "narrow codebooks".into())?;
    let table = device.centroid_table(&[0.0; 8], 4, Metric::L2)?;
    let lists = device.nearest_probes(&device.upload(&[0.0; 16], 4)?, &table, 1)?;
    let probes = Probes { table: &table, lists: &lists, by_residual: false };
    let made = device.lookup_tables(&queries, &codebooks, Metric::L2, Some(&probes));
    ensure(made.is_err(), || "4 lists for 3 queries were taken".into())
}
