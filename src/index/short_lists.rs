//! Lists that are too short for a search that visits one list: they are dissolved, so that no query comes away with fewer
//! neighbours than it asked for.

use super::{BlockLists, Index, IndexKind, InvertedLists, Progress};
use crate::cluster::{self, RowSample};
use crate::device::{CentroidTable, Device, TopK};
use crate::error::{Error, Result};
use crate::features::{FeatureSource, Normalized, for_each_batch};

/// How many of a row's nearest centroids are looked at for a new list. A row whose nearest ones are all dissolved falls to
/// one of the lists that are left in the end.
const NEXT: usize = 32;
/// Rows whose distances to all centroids are in memory at a time.
const PROBED: usize = 256;

impl Index {
    /// Takes out centroids to which fewer than `min_list` rows of `source` would fall, the ones with the fewest rows
    /// first, so that these rows fall to the next nearest centroids and may fill up other short lists. One list is left
    /// at least; nprobe becomes at most the number of lists. Returns how many were dissolved: none of an index without
    /// lists.
    ///
    /// `labels` are the lists of the rows, where they are known, and none where not; what [`Index::add_labelled`] takes
    /// next is put there: of two lists that are equally near within rounding, [`Index::add`] may take the other one.
    /// `progress` is told [`Progress::Assigning`] while lists that are not known are found.
    ///
    /// # Errors
    /// [`Error::Parameter`] where the widths differ, the index is not trained or has rows, or labels are not one a row;
    /// what the source or the device reports. After an error the index and the labels are as they were.
    pub fn dissolve_short_lists(
        &mut self,
        device: &Device,
        source: &dyn FeatureSource,
        labels: &mut Vec<u32>,
        min_list: usize,
        batch_rows: Option<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<usize> {
        self.check_width(source)?;
        if !labels.is_empty() {
            self.check_labels(source, labels)?;
        }
        if !self.is_trained() || self.ntotal() > 0 {
            let found = format!("trained: {}, {} rows", self.is_trained(), self.ntotal());
            return Err(Error::parameter("min_list", found, "dissolve lists after training and before adding"));
        }
        let normalized = Normalized(source);
        let source: &dyn FeatureSource = if self.l2norm { &normalized } else { source };
        let centroids: &[f32] = match &self.kind {
            IndexKind::IvfFlat(ivf) if min_list > 0 => &ivf.centroids,
            IndexKind::IvfPqFastScan(ivf) if min_list > 0 => &ivf.centroids,
            _ => return Ok(0),
        };
        let table = device.centroid_table(centroids, self.dim, self.metric)?;
        let mut found = labels.clone();
        if found.is_empty() {
            let report = |rows| progress(Progress::Assigning { rows });
            found = cluster::assign(device, source, &table, batch_rows, report)?;
        }
        let mut lists = Lists::new(device, source, &table, &found, min_list)?;
        let kept = lists.dissolve(min_list);
        let dissolved = kept.iter().filter(|&&kept| !kept).count();
        if dissolved > 0 {
            let left = centroids.chunks_exact(self.dim).zip(&kept).filter(|(_, kept)| **kept);
            let left: Vec<f32> = left.flat_map(|(centroid, _)| centroid).copied().collect();
            let homeless = lists.move_rows(&kept, &mut found);
            if !homeless.is_empty() {
                let table = device.centroid_table(&left, self.dim, self.metric)?;
                let rows = RowSample::of(source, homeless.clone());
                let nearest = cluster::assign(device, &rows, &table, batch_rows, |_| ())?;
                homeless.into_iter().zip(nearest).for_each(|(row, label)| found[row] = label);
            }
            self.set_centroids(left)?;
        }
        *labels = found;
        Ok(dissolved)
    }

    /// Another coarse quantizer for an index without rows.
    fn set_centroids(&mut self, centroids: Vec<f32>) -> Result<()> {
        let nlist = centroids.len() / self.dim;
        match &mut self.kind {
            IndexKind::Flat { .. } | IndexKind::PqFastScan(_) => {}
            IndexKind::IvfFlat(ivf) => {
                ivf.lists = InvertedLists::new(nlist, self.dim);
                (ivf.centroids, ivf.nprobe) = (centroids, ivf.nprobe.min(nlist));
            }
            IndexKind::IvfPqFastScan(ivf) => {
                ivf.lists = BlockLists::from_codes(ivf.pq.m(), nlist, &[], &[])?;
                (ivf.centroids, ivf.nprobe) = (centroids, ivf.nprobe.min(nlist));
            }
        }
        Ok(())
    }
}

/// Lists, and the rows that may move between them: those of short lists.
struct Lists {
    sizes: Vec<usize>,
    /// The numbers of the movable rows.
    rows: Vec<usize>,
    /// The movable rows in each list, and those in none.
    members: Vec<Vec<usize>>,
    homeless: Vec<usize>,
    /// The nearest centroids of each movable row, `next` a row.
    nearest: Vec<u32>,
    next: usize,
}

impl Lists {
    fn new(
        device: &Device,
        source: &dyn FeatureSource,
        table: &CentroidTable,
        labels: &[u32],
        min_list: usize,
    ) -> Result<Self> {
        let (nlist, next) = (table.nlist(), NEXT.min(table.nlist()));
        let mut sizes = vec![0; nlist];
        labels.iter().for_each(|&label| sizes[label as usize] += 1);
        let rows: Vec<usize> = (0..labels.len()).filter(|&row| sizes[labels[row] as usize] < min_list).collect();
        let mut members = vec![Vec::new(); nlist];
        rows.iter().enumerate().for_each(|(member, &row)| members[labels[row] as usize].push(member));
        let mut nearest = Vec::with_capacity(rows.len() * next);
        for_each_batch(&RowSample::of(source, rows.clone()), PROBED, |_, rows| {
            let probes = device.nearest_probes(&device.upload(rows, source.dim())?, table, next)?;
            nearest.extend(device.download(&probes)?);
            Ok(())
        })?;
        Ok(Self { sizes, rows, members, homeless: Vec::new(), nearest, next })
    }

    /// Dissolves what is short, the shortest list first, of equally short ones the first. Returns which lists are kept.
    fn dissolve(&mut self, min_list: usize) -> Vec<bool> {
        let mut kept = vec![true; self.sizes.len()];
        for _ in 1..self.sizes.len() {
            let short = (0..kept.len()).filter(|&list| kept[list] && self.sizes[list] < min_list);
            let Some(list) = short.min_by_key(|&list| self.sizes[list]) else { break };
            kept[list] = false;
            for member in std::mem::take(&mut self.members[list]) {
                let mut nearest = self.nearest[member * self.next..][..self.next].iter();
                if let Some(&next) = nearest.find(|&&next| next != TopK::NONE && kept[next as usize]) {
                    self.sizes[next as usize] += 1;
                    self.members[next as usize].push(member);
                } else {
                    self.homeless.push(member);
                }
            }
        }
        kept
    }

    /// Turns the lists of all rows before into those after, numbered as they are left. A row whose list was kept stays: of
    /// fewer lists its own is still the nearest. Returns the rows that are in no list, in rising order.
    fn move_rows(&self, kept: &[bool], labels: &mut [u32]) -> Vec<usize> {
        let mut left = 0..;
        let numbers: Vec<u32> = kept.iter().map(|&kept| if kept { left.next().unwrap_or(0) } else { 0 }).collect();
        labels.iter_mut().for_each(|label| *label = numbers[*label as usize]);
        for (members, &number) in self.members.iter().zip(&numbers) {
            members.iter().for_each(|&member| labels[self.rows[member]] = number);
        }
        let mut homeless: Vec<usize> = self.homeless.iter().map(|&member| self.rows[member]).collect();
        homeless.sort_unstable();
        homeless
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::Metric;
    use crate::features::MemoryRows;

    /// Centroids 0, 10, 20 and 30, of which a search visits three.
    fn index() -> Index {
        Index::ivf_flat(Metric::L2, vec![0.0, 10.0, 20.0, 30.0], 3, InvertedLists::new(4, 1)).unwrap()
    }

    /// How many lists were dissolved, the centroids that are left, and the rows that fall to each.
    fn dissolved(rows: &[f32], min_list: usize) -> (usize, Vec<f32>, Vec<usize>) {
        let (mut index, rows, device) = (index(), MemoryRows::new(rows, 1).unwrap(), Device::cpu());
        let dissolved =
            index.dissolve_short_lists(&device, &rows, &mut Vec::new(), min_list, Some(3), &mut |_| ()).unwrap();
        assert_eq!((index.nlist(), index.nprobe()), (Some(4 - dissolved), Some((4 - dissolved).min(3))));
        index.add(&device, &rows, None, &mut |_| ()).unwrap();
        let IndexKind::IvfFlat(ivf) = index.kind() else { panic!("{:?}", index.kind()) };
        (dissolved, ivf.centroids().to_vec(), ivf.lists().iter().map(|list| list.ids.len()).collect())
    }

    #[test]
    fn the_shortest_list_fills_up_its_neighbours() {
        // Lists of 3, 2, 1 and 3 rows. 22 falls to the list of 20; dissolved, it goes to 30.
        let rows = [0.0, 1.0, 2.0, 11.0, 12.0, 22.0, 29.0, 30.0, 31.0];
        assert_eq!(dissolved(&rows, 0), (0, vec![0.0, 10.0, 20.0, 30.0], vec![3, 2, 1, 3]));
        assert_eq!(dissolved(&rows, 1), (0, vec![0.0, 10.0, 20.0, 30.0], vec![3, 2, 1, 3]));
        assert_eq!(dissolved(&rows, 2), (1, vec![0.0, 10.0, 30.0], vec![3, 2, 4]));
        // 18 goes to 10 first, which then is long enough.
        let rows = [0.0, 1.0, 2.0, 11.0, 12.0, 18.0, 29.0, 30.0, 31.0];
        assert_eq!(dissolved(&rows, 3), (1, vec![0.0, 10.0, 30.0], vec![3, 3, 3]));
        // A row moves again where its next list is dissolved, too: 14 from 10 to 20, and on to 0.
        let rows = [0.0, 1.0, 2.0, 3.0, 14.0, 16.0, 24.0, 28.0, 30.0, 31.0];
        assert_eq!(dissolved(&rows, 3), (1, vec![0.0, 20.0, 30.0], vec![4, 3, 3]));
        assert_eq!(dissolved(&rows, 4), (2, vec![0.0, 30.0], vec![5, 5]));
    }

    #[test]
    fn lists_without_rows_are_dissolved_first() {
        assert_eq!(dissolved(&[0.0, 31.0, 32.0], 1), (2, vec![0.0, 30.0], vec![1, 2]));
        assert_eq!(dissolved(&[10.0; 5], 1), (3, vec![10.0], vec![5]));
    }

    #[test]
    fn one_list_is_left() {
        assert_eq!(dissolved(&[0.0, 11.0, 12.0, 31.0], 8), (3, vec![10.0], vec![4]));
        assert_eq!(dissolved(&[31.0], 8), (3, vec![30.0], vec![1]));
        assert_eq!(dissolved(&[], 8), (3, vec![30.0], vec![0]));
    }

    #[test]
    fn rows_of_nan_harm_nothing() {
        let (count, _, sizes) = dissolved(&[f32::NAN, 1.0, 2.0, 31.0, 32.0, 33.0], 2);
        assert_eq!((count, sizes.iter().sum::<usize>()), (2, 6));
    }

    #[test]
    fn what_has_rows_or_no_lists() {
        let (rows, device) = (MemoryRows::new(&[1.0], 1).unwrap(), Device::cpu());
        let dissolve = |index: &mut Index, rows: &MemoryRows| {
            index
                .dissolve_short_lists(&device, rows, &mut Vec::new(), 8, None, &mut |_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(dissolve(&mut Index::flat(1, Metric::L2, Vec::new()).unwrap(), &rows), Ok(0));
        let refused = |index: &mut Index, rows: &MemoryRows| dissolve(index, rows).unwrap_err();
        let mut full = index();
        full.add(&device, &rows, None, &mut |_| ()).unwrap();
        assert!(refused(&mut full, &rows).starts_with("min_list: trained: true, 1 rows"));
        let mut untrained = Index::ivf_flat(Metric::L2, Vec::new(), 1, InvertedLists::new(4, 1)).unwrap();
        assert!(refused(&mut untrained, &rows).starts_with("min_list: trained: false, 0 rows"));
        assert!(refused(&mut index(), &MemoryRows::new(&[0.0; 2], 2).unwrap()).starts_with("rows: 2 floats wide"));
    }
}
