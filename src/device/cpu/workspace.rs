//! What a thread of the CPU engine works in, kept from call to call.

use std::cell::RefCell;

use super::pruning::{Bounding, Sketches};
use super::smallest::Pools;
use crate::device::data::ranges::GroupVisit;

/// Pairs, visits or floats that a thread keeps room for, at most: a live call needs less, and one large search is not to
/// hold its memory for ever.
const KEPT: usize = 1 << 19;

/// What a thread picks the nearest of some queries with, kept from call to call so that a search allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub pools: Pools,
    /// What the queries visit.
    pub visits: Vec<GroupVisit>,
    /// Rows made ready for [`Scores`](crate::device::simd::scores::Scores).
    pub packed: Vec<f32>,
    /// What [`SketchTable`](super::pruning::SketchTable) works in.
    pub sketches: Sketches,
    pub bounding: Bounding,
}

impl Workspace {
    /// Lends this thread's workspace to `work`, which calls nothing that may do so again.
    pub fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
        WORKSPACE.with_borrow_mut(|workspace| {
            let result = work(workspace);
            let floats = workspace
                .packed
                .capacity()
                .max(workspace.sketches.floats.capacity())
                .max(workspace.bounding.capacity());
            if workspace.pools.capacity().max(workspace.visits.capacity()).max(floats) > KEPT {
                *workspace = Self::default();
            }
            result
        })
    }
}
