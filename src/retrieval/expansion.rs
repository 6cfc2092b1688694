//! Alpha query expansion: each row becomes a weighted sum of its nearest rows.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::Serialize;

use crate::device::{BatchPlan, Device, MAX_K, WeightedSum, arch};
use crate::error::{Error, Result};
use crate::factory::Metric;
use crate::features::{FeatureSource, Normalized, l2_normalize, rows_asked};
use crate::index::{ExactSearch, Neighbors};

/// Floats of the rows that they are compared with that are on the device at a time where not all can be.
const RESIDENT: usize = 1 << 26;

/// How rows are expanded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExpandParams {
    /// A neighbour with the cosine c weighs max(c, 0)^alpha.
    pub alpha: f32,
    /// Neighbours a row.
    pub num_expand: usize,
}

impl Default for ExpandParams {
    fn default() -> Self {
        Self { alpha: 3.0, num_expand: 3 }
    }
}

/// Rows under alpha query expansion, computed as they are read.
///
/// With all vectors scaled to unit length, a row x becomes x' = Σ max(x · rᵢ, 0)^α · rᵢ over its `num_expand` nearest
/// rows rᵢ, and x' is scaled to unit length again. Rows that are expanded by themselves are among their own neighbours,
/// with the weight 1; queries that are expanded by the rows of an index are not, and move to where the rows are.
///
/// The formula is that of RVC's tuning tips of 2023, which refer to [arXiv 2007.08019](https://arxiv.org/abs/2007.08019);
/// there α is 3. The neighbours are exact here. Where the tips give no number or would turn away from a neighbour, there
/// is a rule: a negative cosine weighs nothing, and a row without any weight, such as a zero vector, stays as it is,
/// scaled to unit length or zero.
///
/// **Expansion helps some data and hurts other**: it evens out noise between frames, and with it what tells near frames
/// apart. Measure it on a voice before using it. The lengths of the rows are lost, so what is blended with expanded rows
/// is drawn towards unit vectors.
///
/// ```
/// use rvc_gpu_index::device::Device;
/// use rvc_gpu_index::features::{FeatureSource, MemoryRows};
/// use rvc_gpu_index::retrieval::{ExpandParams, Expanded};
///
/// let rows = MemoryRows::new(&[2.0, 0.0, 0.6, 0.8, -3.0, 0.0], 2)?;
/// let params = ExpandParams { alpha: 1.0, num_expand: 2 };
/// let expanded = Expanded::new(&Device::cpu(), &rows, &rows, params, None, |_| ())?;
/// let mut first = [0.0; 2];
/// expanded.read(0, &mut first)?;
/// // 1 · (1, 0) + 0.6 · (0.6, 0.8) = (1.36, 0.48)
/// let norm = f32::hypot(1.36, 0.48);
/// assert!((first[0] - 1.36 / norm).abs() < 1e-6 && (first[1] - 0.48 / norm).abs() < 1e-6);
/// # Ok::<(), rvc_gpu_index::Error>(())
/// ```
pub struct Expanded<'a> {
    rows: Normalized<'a>,
    by: Normalized<'a>,
    params: ExpandParams,
    /// By inner product; where a row of NaN has none, the cosine weighs nothing.
    nearest: Neighbors,
}

impl<'a> Expanded<'a> {
    /// Finds the nearest rows of `by` for each of `rows`, which may be the same. `batch_rows` bounds what is in memory at
    /// a time, beside `num_expand` neighbours for each row; `progress` is told how many rows have all of theirs.
    ///
    /// # Errors
    /// [`Error::Parameter`] where alpha is not above 0 and finite, `num_expand` is not 1 to the number of rows in `by` or
    /// is above [`MAX_K`], or the widths differ; what the sources or the device report.
    pub fn new(
        device: &Device,
        rows: &'a dyn FeatureSource,
        by: &'a dyn FeatureSource,
        params: ExpandParams,
        batch_rows: Option<usize>,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        params.check_for(by.rows())?;
        if rows.dim() != by.dim() {
            let found = format!("{} floats wide", rows.dim());
            return Err(Error::parameter("rows", found, format!("they are expanded by rows of {}", by.dim())));
        }
        let (rows, by) = (Normalized(rows), Normalized(by));
        let BatchPlan { resident, .. } = device.batch_plan(by.rows(), by.dim(), 1, batch_rows);
        let search = ExactSearch {
            device,
            queries: &rows,
            rows: &by,
            metric: Metric::InnerProduct,
            k: params.num_expand,
            plan: BatchPlan { batch_rows: batch_rows.unwrap_or((RESIDENT / by.dim()).max(1)), resident },
        };
        // Rows that were compared with half of the others are half done.
        let nearest = search.run(&[], |share| progress((share * rows.rows() as f64).round() as usize))?;
        Ok(Self { rows, by, params, nearest })
    }

    /// One row: itself in `out`, replaced by its expansion.
    fn expand(&self, number: usize, out: &mut [f32], scratch: &mut Vec<f32>) -> Result<()> {
        let places = number * self.nearest.k..(number + 1) * self.nearest.k;
        let (ids, cosines) = (&self.nearest.ids[places.clone()], &self.nearest.distances[places]);
        let greatest = cosines.iter().copied().fold(0.0, f32::max);
        if greatest == 0.0 {
            return Ok(());
        }
        // Relative to the greatest, which the scaling to unit length takes out again, so that they do not all vanish.
        let weights: Vec<f32> = cosines.iter().map(|c| (c.max(0.0) / greatest).powf(self.params.alpha)).collect();
        scratch.resize(ids.len() * out.len(), 0.0);
        for ((&id, &weight), neighbor) in ids.iter().zip(&weights).zip(scratch.chunks_exact_mut(out.len())) {
            if weight != 0.0 {
                self.by.read(id as usize, neighbor)?;
            }
        }
        let dim = out.len();
        arch().dispatch(WeightedSum { own: 0.0, out, weights: &weights, rows: scratch });
        l2_normalize(out, dim);
        Ok(())
    }
}

impl FeatureSource for Expanded<'_> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let rows = rows_asked(self, start, out.len())?;
        self.rows.read(start, out)?;
        let out = out.par_chunks_exact_mut(self.dim()).enumerate();
        out.try_for_each_init(Vec::new, |scratch, (at, out)| self.expand(rows.start + at, out, scratch))
    }
}

impl ExpandParams {
    /// Fails where rows cannot be expanded so by as many others.
    ///
    /// # Errors
    /// [`Error::Parameter`] as for [`Expanded::new`].
    pub fn check_for(&self, rows: usize) -> Result<()> {
        self.check()?;
        if self.num_expand > rows {
            let found = format!("{} neighbours among {rows} rows", self.num_expand);
            return Err(Error::parameter("num_expand", found, "choose no more than there are rows"));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(Error::parameter("alpha", self.alpha, "choose a number above 0; the tuning tips have 3"));
        }
        if self.num_expand == 0 || self.num_expand > MAX_K {
            return Err(Error::parameter("num_expand", self.num_expand, format!("choose 1 to {MAX_K}")));
        }
        Ok(())
    }
}

/// Reads `ALPHA,K`, as in `3,3`.
impl FromStr for ExpandParams {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once(',').and_then(|(alpha, k)| Some((alpha.parse().ok()?, k.parse().ok()?)));
        let Some((alpha, num_expand)) = numbers else {
            let remedy = "write alpha and the number of neighbours, as in 3,3";
            return Err(Error::parameter("expand", format!("{text:?}"), remedy));
        };
        let params = Self { alpha, num_expand };
        params.check().map(|()| params)
    }
}

impl fmt::Display for ExpandParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.alpha, self.num_expand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::MemoryRows;

    fn expand(rows: &[f32], by: &[f32], alpha: f32, num_expand: usize, batch_rows: Option<usize>) -> Result<Vec<f32>> {
        let (rows, by) = (MemoryRows::new(rows, 2)?, MemoryRows::new(by, 2)?);
        let params = ExpandParams { alpha, num_expand };
        let expanded = Expanded::new(&Device::cpu(), &rows, &by, params, batch_rows, |_| ())?;
        let mut out = vec![f32::NAN; rows.rows() * 2];
        expanded.read(0, &mut out).map(|()| out)
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        let near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{found:?} is not {expected:?}");
    }

    /// Cosines: 0.6 of the first two, 0 of the first and the third, 0.8 of the last two.
    const ROWS: [f32; 6] = [10.0, 0.0, 3.0, 4.0, 0.0, 0.5];

    #[test]
    fn rows_worked_out_by_hand() {
        // 1³ and 0.6³ = 0.216; 1, 0.8³ = 0.512; 1, 0.8³.
        let sums = [1.0 + 0.216 * 0.6, 0.216 * 0.8, 0.6, 0.8 + 0.512, 0.512 * 0.6, 1.0 + 0.512 * 0.8];
        let mut expected = sums;
        l2_normalize(&mut expected, 2);
        for batch_rows in [None, Some(1), Some(2)] {
            assert_near(&expand(&ROWS, &ROWS, 3.0, 2, batch_rows).unwrap(), &expected);
        }
        // By themselves alone.
        assert_near(&expand(&ROWS, &ROWS, 3.0, 1, None).unwrap(), &[1.0, 0.0, 0.6, 0.8, 0.0, 1.0]);
        // 0.96³⁰⁰⁰ is no float, and what is nearest still counts.
        assert_near(&expand(&[0.8, 0.6], &ROWS, 3000.0, 3, None).unwrap(), &[0.6, 0.8]);
    }

    #[test]
    fn queries_move_to_the_rows() {
        // The cosines 0.96 and 0.8 of the nearest two, without the query itself.
        let mut expected = [0.96 * 0.6 + 0.8, 0.96 * 0.8];
        l2_normalize(&mut expected, 2);
        assert_near(&expand(&[8.0, 6.0], &ROWS, 1.0, 2, None).unwrap(), &expected);
    }

    #[test]
    fn rows_without_weight_stay() {
        let rows = [0.0, 0.0, -2.0, 0.0, f32::NAN, 1.0];
        let expanded = expand(&rows, &ROWS, 3.0, 3, None).unwrap();
        assert_eq!(expanded[..4], [0.0, 0.0, -1.0, 0.0]);
        assert!(expanded[4].is_nan());
        // As neighbours, they harm none.
        assert_eq!(expand(&rows, &rows, 3.0, 3, None).unwrap()[..4], [0.0, 0.0, -1.0, 0.0]);
    }

    #[test]
    fn params_are_read_as_they_are_written() {
        let params: ExpandParams = "2.5,4".parse().unwrap();
        assert_eq!((params, params.to_string()), (ExpandParams { alpha: 2.5, num_expand: 4 }, "2.5,4".into()));
        for (text, said) in [
            ("3", "expand: \"3\""),
            ("3,many", "expand: "),
            ("3,-1", "expand: "),
            ("0,3", "alpha: 0;"),
            ("-1,3", "alpha: -1;"),
            ("NaN,3", "alpha: NaN;"),
            ("inf,3", "alpha: inf;"),
            ("3,0", "num_expand: 0;"),
            ("3,1025", "num_expand: 1025;"),
        ] {
            let error = text.parse::<ExpandParams>().unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with(said), "{text}: {error}");
        }
    }

    #[test]
    fn parameters_that_cannot_be() {
        for (alpha, num_expand) in [(0.0, 2), (f32::NAN, 2), (3.0, 0), (3.0, 4)] {
            assert!(expand(&ROWS, &ROWS, alpha, num_expand, None).unwrap_err().is_usage(), "{alpha} {num_expand}");
        }
        let wide = MemoryRows::new(&ROWS, 3).unwrap();
        let rows = MemoryRows::new(&ROWS, 2).unwrap();
        let params = ExpandParams { alpha: 3.0, num_expand: 2 };
        assert!(Expanded::new(&Device::cpu(), &rows, &wide, params, None, |_| ()).is_err());
    }
}
