//! The rows of the lists that each query visits.

use crate::device::data::buffer::Buffer;
use crate::device::data::ranges::{ListPlaces, RowRanges};
use crate::error::Result;

pub(crate) fn list_ranges(
    lists: &ListPlaces,
    probes: &Buffer<u32>,
    nprobe: usize,
    ranges: &mut RowRanges,
) -> Result<()> {
    let name = "list_ranges";
    let places = lists.places.host(name)?;
    for probes in probes.host(name)?.chunks_exact(nprobe) {
        let places = probes.iter().map(|&list| places.get(list as usize).copied().unwrap_or_default());
        ranges.push(places.map(|[first, rows]| first..first + rows));
    }
    Ok(())
}
