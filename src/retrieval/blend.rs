//! RVC's blend: each frame is drawn towards its neighbours in an index.

use rayon::prelude::*;

use crate::device::{BlendOutcome, Neighborhood, check_blend, exact_distance};
use crate::error::Result;
use crate::factory::Metric;
use crate::features::FeatureSource;
use crate::index::{IndexRows, SearchParams, Searcher};
use crate::memory;

/// How frames are blended; by default as RVC does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlendParams {
    /// Neighbours a frame.
    pub k: usize,
    /// Share of the neighbours in the blend, 0 to 1.
    pub index_rate: f32,
    /// A neighbour with the score s weighs (1 / s)^power.
    pub power: f32,
    /// How the index is searched.
    pub search: SearchParams,
}

impl Default for BlendParams {
    fn default() -> Self {
        Self { k: 8, index_rate: 0.75, power: 2.0, search: SearchParams::default() }
    }
}

/// Blended frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blended {
    /// Row-major, in the order of the frames that were given.
    pub frames: Vec<f32>,
    /// Frames of NaN or infinity, which are as they were given.
    pub passed_through: usize,
    /// Frames that found no neighbour, which are as they were given, too.
    pub without_neighbors: usize,
}

/// Blends frames with the rows of an index.
///
/// For a frame x with neighbours r₁ … r_k and their scores s₁ … s_k, the blend is
/// index_rate · Σ wᵢ rᵢ + (1 − index_rate) · x with wᵢ = (1 / sᵢ)^power / Σⱼ (1 / sⱼ)^power, as RVC computes it. Where
/// that is no number, there is a rule:
///
/// - a row that equals the frame (s = 0) is the only one that counts; several of them are averaged;
/// - a neighbour that is missing, or so far away that its score is infinite, does not count;
/// - a frame without any neighbour, and a frame of NaN or infinity, stay as they are.
///
/// Scores are the squared L2 distances of the search. An inner product, and a distance after `L2norm,`, are none between
/// the frame and the row, so such an index finds the neighbours by its own metric and their squared L2 distances are
/// computed for the blend. Rows are those of [`IndexRows`].
///
/// ```
/// use rvc_gpu_index::device::Device;
/// use rvc_gpu_index::factory::Metric;
/// use rvc_gpu_index::index::{Index, Searcher};
/// use rvc_gpu_index::retrieval::{BlendParams, Blender};
///
/// let index = Index::flat(1, Metric::L2, vec![1.0, 5.0])?;
/// let blender = Blender::new(Searcher::new(index, &Device::cpu())?);
/// // Scores 1 and 9, weights 81/82 and 1/82.
/// let blended = blender.blend(&[2.0], &BlendParams { k: 2, ..BlendParams::default() })?;
/// assert!((blended.frames[0] - (0.75 * 86.0 / 82.0 + 0.25 * 2.0)).abs() < 1e-6);
/// # Ok::<(), rvc_gpu_index::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Blender {
    searcher: Searcher,
    /// Finds row numbers, as ids may occur twice.
    by_row: Searcher,
    rows: IndexRows,
}

impl Blender {
    /// Blends with the rows that `searcher` finds.
    pub fn new(searcher: Searcher) -> Self {
        Self { rows: searcher.rows(), by_row: searcher.by_row(), searcher }
    }

    /// The searcher.
    pub fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// Blends frames; `frames` is row-major.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) where index_rate is not 0 to 1 or power is not above 0 and finite; as
    /// [`Searcher::search`].
    pub fn blend(&self, frames: &[f32], params: &BlendParams) -> Result<Blended> {
        check_blend(params.index_rate, params.power)?;
        let found = self.by_row.search(frames, params.k, &params.search)?;
        let mut blended = memory::copied(frames, "the blended frames")?;
        let neighbors = found.ids.par_chunks_exact(params.k).zip(found.distances.par_chunks_exact(params.k));
        let frames = blended.par_chunks_exact_mut(self.rows.dim()).zip(neighbors);
        let outcomes: Vec<BlendOutcome> = frames
            .map_init(Neighborhood::default, |near, (frame, (numbers, scores))| {
                self.gather(frame, numbers, scores, near);
                near.blend(frame, params.index_rate, params.power)
            })
            .collect();
        Ok(Blended::new(blended, &outcomes))
    }

    /// The neighbours of a frame.
    fn gather(&self, frame: &[f32], numbers: &[i64], scores: &[f32], near: &mut Neighborhood) {
        let index = self.searcher.index();
        let scored = index.metric() == Metric::L2 && !index.l2norm();
        near.clear();
        for (&number, &score) in numbers.iter().zip(scores) {
            near.push(frame.len(), |row| {
                self.rows.copy_number(usize::try_from(number).ok()?, row);
                Some(if scored { score } else { exact_distance(Metric::L2, frame, row) })
            });
        }
    }
}

impl Blended {
    pub(super) fn new(frames: Vec<f32>, outcomes: &[BlendOutcome]) -> Self {
        let count = |outcome| outcomes.iter().filter(|&&other| other == outcome).count();
        let passed_through = count(BlendOutcome::PassedThrough);
        Self { frames, passed_through, without_neighbors: count(BlendOutcome::WithoutNeighbors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::index::Index;

    fn blend(metric: Metric, rows: &[f32], frames: &[f32], params: BlendParams) -> Blended {
        let searcher = Searcher::new(Index::flat(2, metric, rows.to_vec()).unwrap(), &Device::cpu()).unwrap();
        Blender::new(searcher).blend(frames, &params).unwrap()
    }

    #[test]
    fn frames_worked_out_by_hand() {
        let params = BlendParams { k: 2, index_rate: 0.5, ..BlendParams::default() };
        let rows = [0.0, 0.0, 0.0, 2.0];
        // Scores 1 and 1; 0 and 4; 4 and 8.
        let blended = blend(Metric::L2, &rows, &[0.0, 1.0, 0.0, 2.0, -2.0, 0.0], params);
        assert_eq!(blended.frames, [0.0, 1.0, 0.0, 2.0, -1.0, 0.2]);
        assert_eq!((blended.passed_through, blended.without_neighbors), (0, 0));
        // Of the inner product's neighbours, too, the squared distances count.
        let blended = blend(Metric::InnerProduct, &rows, &[0.0, 1.0, 0.0, 2.0], params);
        assert_eq!(blended.frames, [0.0, 1.0, 0.0, 2.0]);
    }

    #[test]
    fn what_has_no_blend_stays() {
        let params = BlendParams { k: 3, index_rate: 1.0, ..BlendParams::default() };
        let frames = [f32::NAN, 1.0, f32::NEG_INFINITY, 0.0, 3.0, 4.0];
        let blended = blend(Metric::L2, &[1.0, 1.0], &frames, params);
        assert_eq!((blended.passed_through, blended.without_neighbors), (2, 0));
        assert!(blended.frames[0].is_nan());
        assert_eq!(blended.frames[1..], [1.0, f32::NEG_INFINITY, 0.0, 1.0, 1.0]);
        let blended = blend(Metric::L2, &[], &frames[2..], params);
        assert_eq!((&blended.frames[..], blended.passed_through, blended.without_neighbors), (&frames[2..], 1, 1));
        // So far away that no score is finite.
        for metric in [Metric::L2, Metric::InnerProduct] {
            let blended = blend(metric, &[1.0, 1.0], &[f32::MAX, f32::MIN], params);
            assert_eq!((&blended.frames[..], blended.without_neighbors), (&[f32::MAX, f32::MIN][..], 1));
        }
        assert_eq!(blend(Metric::L2, &[1.0, 1.0], &[], params), Blended::default());
    }

    #[test]
    fn parameters_that_cannot_be() {
        let blender =
            Blender::new(Searcher::new(Index::flat(1, Metric::L2, vec![1.0]).unwrap(), &Device::cpu()).unwrap());
        let refused = |params: BlendParams, said: &str| {
            let error = blender.blend(&[0.0], &params).unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with(said), "{error}");
        };
        for index_rate in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            refused(BlendParams { index_rate, ..BlendParams::default() }, "index_rate: ");
        }
        for power in [0.0, -2.0, f32::NAN, f32::INFINITY] {
            refused(BlendParams { power, ..BlendParams::default() }, "power: ");
        }
        for k in [0, 1025] {
            refused(BlendParams { k, ..BlendParams::default() }, "k: ");
        }
    }
}
