//! The rows of the lists that queries visit.

use std::ops::Range;

use crate::device::data::buffer::Buffer;
use crate::device::data::ranges::{ListPlaces, RowRanges, Visited};
use crate::device::{Device, Engine, cpu};
use crate::error::{Error, Result};

impl Device {
    /// Makes the places of lists resident.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub(crate) fn list_places(&self, lists: impl Iterator<Item = Range<u32>>) -> Result<ListPlaces> {
        let places: Vec<[u32; 2]> = lists.map(|rows| [rows.start, rows.end - rows.start]).collect();
        let end = places.iter().map(|[first, rows]| first + rows).max().unwrap_or(0);
        let mut sizes: Vec<u32> = places.iter().map(|place| place[1]).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ListPlaces { places: self.upload_values(&places)?, sizes: sizes.into(), end })
    }

    /// Has `ranges` be those of the lists that each query visits, `probes` as [`Device::nearest_probes`] found them. On a
    /// GPU nothing is read back: they are made there, when rows are compared with the queries.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the probes are not as many for each query.
    pub(crate) fn list_ranges_into(
        &self,
        lists: &ListPlaces,
        probes: &Buffer<u32>,
        nprobe: usize,
        ranges: &mut RowRanges,
    ) -> Result<()> {
        if probes.len().checked_rem(nprobe) != Some(0) {
            return Err(Error::parameter("nprobe", nprobe, format!("there are {} probes", probes.len())));
        }
        ranges.clear();
        match &self.engine {
            Engine::Cpu => cpu::list_ranges::list_ranges(lists, probes, nprobe, ranges)?,
            Engine::Gpu(_) => {
                let (lists, probes, room) = (lists.clone(), probes.clone(), lists.most_pieces(nprobe, 1));
                ranges.visited = Some(Visited { lists, probes, nprobe, room });
            }
        }
        Ok(())
    }
}
