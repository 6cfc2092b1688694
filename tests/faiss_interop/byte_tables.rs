//! What a scan of 4-bit codes has to find, worked out in float64: the byte tables of a query, and from them the sum of
//! every row in the lists it visits.
//!
//! faiss and this crate make the same float32 tables by other formulas and in another order of operations, so an entry
//! that lies halfway between two bytes may become either. Such bytes are *undecided*: within the rounding error of one
//! float32 evaluation from the border. A row whose code picks some has a range of sums, any other row has one sum.

use std::cmp::Ordering;

use rvc_gpu_index::factory::Metric;
use rvc_gpu_index::index::{CODEWORDS, Index, IndexKind, ProductQuantizer};

/// Half a unit in the last place of a float32, relatively.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// From here on faiss finds distances to codewords by norms and a matrix product.
const BLAS_DSUB: usize = 16;

/// How far a float32 sum of `terms` products may be off, relatively to the sum of their magnitudes. Errors of either sign
/// cancel, so they grow with the root; three more for the operations on each term.
fn rounding(terms: usize) -> f64 {
    UNIT * ((terms as f64).sqrt() + 3.0)
}

/// A number, and how far float32 arithmetic may end up from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Near {
    pub value: f64,
    pub error: f64,
}

/// A term of a sum: its value, the magnitude of what is added up where it is worked out, and by how much it grows when
/// the query does.
struct Term {
    value: f64,
    magnitude: f64,
    slope: f64,
}

impl Near {
    /// A sum over `terms` for a query whose length is known up to the factor 1 ± `stretch`.
    fn sum(stretch: f64, terms: impl ExactSizeIterator<Item = Term>) -> Self {
        let rounding = rounding(terms.len());
        terms.fold(Self::default(), |sum, Term { value, magnitude, slope }| Self {
            value: sum.value + value,
            error: sum.error + rounding * magnitude + stretch * slope,
        })
    }

    fn touches(self, other: Self) -> bool {
        (self.value - other.value).abs() <= self.error + other.error
    }
}

/// A query as an index compares it.
pub struct Query {
    x: Vec<f64>,
    /// The error of its length, relatively.
    stretch: f64,
}

impl Query {
    pub fn new(query: &[f32], l2norm: bool) -> Self {
        let x: Vec<f64> = query.iter().map(|&x| x.into()).collect();
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        match l2norm && norm > 0.0 {
            // The root halves the error of the sum.
            true => Self { stretch: rounding(x.len()) / 2.0, x: x.iter().map(|x| x / norm).collect() },
            false => Self { stretch: 0.0, x },
        }
    }

    pub fn dim(&self) -> usize {
        self.x.len()
    }

    /// Its distance to a row, found either directly or, `by_norms`, as ‖x‖² + ‖c‖² − 2 x · c.
    pub fn distance(&self, metric: Metric, row: &[f32], by_norms: bool) -> Near {
        let terms = self.x.iter().zip(row).map(|(&x, &c)| match (metric, f64::from(c)) {
            (Metric::L2, c) => squared(x, c, by_norms),
            (Metric::InnerProduct, c) => product(x, c),
        });
        Near::sum(self.stretch, terms)
    }

    /// What the codeword `r` of the part that starts at float `start` adds; `centroid` is that of the list for codes of
    /// residuals by L2, for which faiss adds up r² + 2 c · r and −2 x · r.
    fn entry(&self, metric: Metric, start: usize, r: &[f32], centroid: Option<&[f32]>) -> Near {
        let dsub = r.len();
        let terms = r.iter().enumerate().map(|(i, &r)| {
            let (x, r, c) = (self.x[start + i], f64::from(r), centroid.map(|c| f64::from(c[start + i])));
            match (metric, c) {
                (Metric::InnerProduct, _) => product(x, r),
                (Metric::L2, None) => squared(x, r, dsub >= BLAS_DSUB),
                (Metric::L2, Some(c)) => Term {
                    value: r * (r - 2.0 * (x - c)),
                    magnitude: r.abs() * (r.abs() + 2.0 * (c.abs() + x.abs())),
                    slope: 2.0 * (r * x).abs(),
                },
            }
        });
        Near::sum(self.stretch, terms)
    }
}

fn product(x: f64, r: f64) -> Term {
    Term { value: x * r, magnitude: (x * r).abs(), slope: (x * r).abs() }
}

fn squared(x: f64, r: f64, by_norms: bool) -> Term {
    let (value, norms) = ((x - r).powi(2), (x.abs() + r.abs()).powi(2));
    Term { value, magnitude: if by_norms { norms } else { value }, slope: 2.0 * (x * (x - r)).abs() }
}

/// An index of 4-bit codes, unpacked.
pub struct ByteTables<'a> {
    index: &'a Index,
    pq: &'a ProductQuantizer,
    /// None without lists.
    centroids: Option<&'a [f32]>,
    by_residual: bool,
    lists: Vec<List>,
}

struct List {
    ids: Vec<i64>,
    /// Rows × M, a byte each.
    codes: Vec<u8>,
}

/// What a query has to find in the lists it visits.
pub struct Scan {
    pub rows: Vec<ScannedRow>,
    /// Sums a unit of distance; 0 where no two entries differ.
    pub scale: Near,
    /// The distance of a sum of 0.
    pub offset: Near,
}

/// A row, and the sum of its bytes: at least and at most.
#[derive(Clone, Copy)]
pub struct ScannedRow {
    pub id: i64,
    pub least: u32,
    pub most: u32,
}

impl<'a> ByteTables<'a> {
    /// None for an index without codes.
    pub fn of(index: &'a Index) -> Option<Self> {
        let unpack = |pq: &ProductQuantizer, codes: Vec<u8>| {
            let parts = |code: &[u8]| (0..pq.m()).map(|part| code[part / 2] >> (part % 2 * 4) & 15).collect::<Vec<_>>();
            codes.chunks_exact(pq.code_size()).flat_map(parts).collect()
        };
        Some(match index.kind() {
            IndexKind::PqFastScan(whole) => {
                let rows = whole.ntotal();
                let list =
                    List { ids: (0..rows as i64).collect(), codes: unpack(whole.pq(), whole.codes().unpack(0..rows)) };
                Self { index, pq: whole.pq(), centroids: None, by_residual: false, lists: vec![list] }
            }
            IndexKind::IvfPqFastScan(ivf) => {
                let lists = ivf.lists();
                let list = |number| List {
                    ids: lists.ids()[lists.places(number)].to_vec(),
                    codes: unpack(ivf.pq(), lists.codes().unpack(lists.places(number))),
                };
                let (centroids, by_residual) = (Some(ivf.centroids()), ivf.by_residual());
                Self { index, pq: ivf.pq(), centroids, by_residual, lists: (0..lists.nlist()).map(list).collect() }
            }
            _ => return None,
        })
    }

    /// What `query` has to find in its `nprobe` nearest lists; `None` where it is undecided which these are.
    pub fn scan(&self, query: &[f32], nprobe: usize) -> Option<Scan> {
        let (metric, query) = (self.index.metric(), Query::new(query, self.index.l2norm()));
        let probes = self.probes(&query, nprobe)?;
        let tables: Vec<Table> = match (self.by_residual, metric) {
            (true, Metric::L2) => probes.iter().map(|probe| self.table(&query, probe.centroid)).collect(),
            _ => vec![self.table(&query, None)],
        };
        // Only codes of residuals leave something to a list as a whole.
        let bias = |probe: &Probe| if self.by_residual { probe.distance } else { Near::default() };
        let biases: Vec<Near> = probes.iter().map(bias).collect();
        let table = |list: usize| &tables[if tables.len() == 1 { 0 } else { list }];
        let offsets: Vec<Near> = (0..probes.len()).map(|list| table(list).offset(biases[list])).collect();
        let offset = offsets.iter().copied().min_by(by_value)?;
        let scale = self.scale(&tables, &biases);
        // What all lists have in common is no part of their biases.
        let biases = if tables.len() == 1 { biases } else { offsets };
        let least = biases.iter().copied().min_by(by_value)?;

        let bytes: Vec<Vec<Range>> = tables.iter().map(|table| table.bytes(scale)).collect();
        let mut rows = Vec::new();
        for (list, probe) in probes.iter().enumerate() {
            let bytes = &bytes[if tables.len() == 1 { 0 } else { list }];
            let bias = Range::of(biases[list], least, scale);
            let List { ids, codes } = &self.lists[probe.list];
            rows.extend(ids.iter().zip(codes.chunks_exact(self.pq.m())).map(|(&id, code)| {
                let picked = bytes.chunks_exact(CODEWORDS).zip(code).map(|(bytes, &code)| bytes[usize::from(code)]);
                let sum = picked.fold(bias, |sum, byte| Range(sum.0 + byte.0, sum.1 + byte.1));
                ScannedRow { id, least: sum.0, most: sum.1 }
            }));
        }
        Some(Scan { rows, scale, offset })
    }

    /// The lists that a query visits. Without lists, that is the one of all rows.
    fn probes(&self, query: &Query, nprobe: usize) -> Option<Vec<Probe<'a>>> {
        let Some(centroids) = self.centroids else {
            return Some(vec![Probe { list: 0, distance: Near::default(), centroid: None }]);
        };
        let metric = self.index.metric();
        let probe = |(list, centroid)| Probe {
            list,
            // faiss multiplies matrices for more than a few queries.
            distance: query.distance(metric, centroid, true),
            centroid: Some(centroid),
        };
        let mut probes: Vec<Probe> = centroids.chunks_exact(self.index.dim()).enumerate().map(probe).collect();
        probes.sort_by(|a, b| match metric {
            Metric::L2 => by_value(&a.distance, &b.distance),
            Metric::InnerProduct => by_value(&b.distance, &a.distance),
        });
        let border = probes.get(nprobe - 1).zip(probes.get(nprobe));
        if border.is_some_and(|(last, next)| last.distance.touches(next.distance)) {
            return None;
        }
        probes.truncate(nprobe);
        Some(probes)
    }

    fn table(&self, query: &Query, centroid: Option<&[f32]>) -> Table {
        let (metric, dsub) = (self.index.metric(), self.pq.dsub());
        let codewords = self.pq.codebooks().chunks_exact(dsub).enumerate();
        let entries = codewords.map(|(i, r)| query.entry(metric, i / CODEWORDS * dsub, r, centroid)).collect();
        Table::new(entries)
    }

    /// 255 over the widest span; with lists at most 65535 over the widest sum.
    fn scale(&self, tables: &[Table], biases: &[Near]) -> Near {
        let relative = |bound: f64, span: Near| Near { value: bound / span.value, error: span.error / span.value };
        let mut widest = tables.iter().flat_map(|table| &table.spans).copied().max_by(by_value).unwrap_or_default();
        widest.error += UNIT * widest.value;
        if widest.value <= widest.error {
            return Near::default();
        }
        let scale = relative(255.0, widest);
        if self.centroids.is_none() {
            return scale;
        }
        let least = biases.iter().copied().min_by(by_value).unwrap_or_default();
        let total = |(list, bias): (usize, &Near)| {
            let spans = &tables[if tables.len() == 1 { 0 } else { list }].spans;
            Near {
                value: bias.value - least.value + spans.iter().map(|span| span.value).sum::<f64>(),
                error: bias.error + least.error + spans.iter().map(|span| span.error).sum::<f64>(),
            }
        };
        let mut total = biases.iter().enumerate().map(total).max_by(by_value).unwrap_or_default();
        total.error += rounding(self.pq.m()) * total.value;
        let bounded = relative(65535.0, total);
        Near { value: scale.value.min(bounded.value), error: scale.error.max(bounded.error) }
    }
}

/// A list that is visited.
struct Probe<'a> {
    list: usize,
    distance: Near,
    /// None for an index without lists.
    centroid: Option<&'a [f32]>,
}

/// A table of floats.
struct Table {
    /// [M][16].
    entries: Vec<Near>,
    /// Least entry of each sub-quantizer.
    minima: Vec<Near>,
    spans: Vec<Near>,
}

impl Table {
    fn new(entries: Vec<Near>) -> Self {
        let (mut minima, mut spans) = (Vec::new(), Vec::new());
        for part in entries.chunks_exact(CODEWORDS) {
            // Whichever entry is the least one to float32, it is no further off than the worst of them.
            let error = part.iter().map(|entry| entry.error).fold(0.0, f64::max);
            let least = part.iter().map(|entry| entry.value).fold(f64::INFINITY, f64::min);
            let most = part.iter().map(|entry| entry.value).fold(f64::NEG_INFINITY, f64::max);
            minima.push(Near { value: least, error });
            spans.push(Near { value: most - least, error: 2.0 * error });
        }
        Self { entries, minima, spans }
    }

    /// The distance of a row that has the least entry everywhere, for a list with the given bias.
    fn offset(&self, bias: Near) -> Near {
        let magnitude = bias.value.abs() + self.minima.iter().map(|least| least.value.abs()).sum::<f64>();
        let sum = self
            .minima
            .iter()
            .fold(bias, |sum, least| Near { value: sum.value + least.value, error: sum.error + least.error });
        Near { error: sum.error + rounding(self.minima.len()) * magnitude, ..sum }
    }

    fn bytes(&self, scale: Near) -> Vec<Range> {
        let entries = self.entries.chunks_exact(CODEWORDS).zip(&self.minima);
        entries.flat_map(|(part, &least)| part.iter().map(move |&entry| Range::of(entry, least, scale))).collect()
    }
}

/// The least and the greatest whole number that a rounded one may be.
#[derive(Clone, Copy)]
struct Range(u32, u32);

impl Range {
    /// (`number` − `least`) · `scale`, rounded.
    fn of(number: Near, least: Near, scale: Near) -> Self {
        let steps = (number.value - least.value) * scale.value;
        // The least number itself becomes 0 on either side: it is its own difference.
        let differs = if steps == 0.0 { 0.0 } else { (number.error + least.error) * scale.value };
        let error = differs + steps * (scale.error + 3.0 * UNIT);
        let round = |steps: f64| (steps + 0.5).floor().max(0.0) as u32;
        Self(round(steps - error), round(steps + error))
    }
}

fn by_value(a: &Near, b: &Near) -> Ordering {
    a.value.total_cmp(&b.value)
}
