//! What a kernel that measures candidates is given: rows, and the visits of queries to them.

use super::kernel::wgsl_struct;
use crate::device::data::buffer::Buffer;

/// Candidates one workgroup selects from; more are split and the parts' best selected once more.
pub(super) const SLICE: u32 = 1 << 15;

/// Queries and rows of a task, at most.
#[derive(Clone, Copy)]
pub(super) struct TaskShape {
    pub queries: u32,
    pub rows: u32,
}

wgsl_struct!(
    /// Rows, and the visits to them that one workgroup sees to.
    Task { first_visit, visits, first_row, rows }
);
wgsl_struct!(
    /// A query, the number of a list of its own, and where keys go: that of row r to base + r, modulo 2³².
    Visit { query, list, base }
);

/// What a kernel measures for a run of queries.
pub(super) struct Tasks {
    /// Those that have no rows are passed over.
    pub tasks: Buffer<Task>,
    pub visits: Buffer<Visit>,
    /// Starts and lengths of the keys of each query, slice by slice.
    pub segments: Buffer<[u32; 2]>,
}

/// Slices that so many keys of a query are selected from.
pub(super) fn slices(keys: u32) -> usize {
    keys.div_ceil(SLICE).max(1) as usize
}
