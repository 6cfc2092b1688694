//! At which ranks a search has the neighbours that it should find.

/// Ranks at which neighbours were found, the first being 0.
#[derive(Debug, PartialEq)]
pub(super) struct Ranks {
    /// Ascending.
    found: Vec<usize>,
    missed: usize,
}

impl Ranks {
    /// `None` for a neighbour that was not found.
    pub fn new(ranks: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut found, mut missed) = (Vec::new(), 0);
        ranks.for_each(|rank| rank.map_or_else(|| missed += 1, |rank| found.push(rank)));
        found.sort_unstable();
        Self { found, missed }
    }

    /// Share of the neighbours among the first `depth`; 1 where there are none to find.
    pub fn recall(&self, depth: usize) -> f64 {
        match self.found.len() + self.missed {
            0 => 1.0,
            all => self.found.partition_point(|&rank| rank < depth) as f64 / all as f64,
        }
    }

    /// How many neighbours are not among the first `depth`.
    pub fn missed(&self, depth: usize) -> usize {
        self.found.len() + self.missed - self.found.partition_point(|&rank| rank < depth)
    }

    /// The least depth, from 1 on, that misses no more than `allowed` neighbours; `None` where no depth does.
    pub fn depth_missing(&self, allowed: usize) -> Option<usize> {
        match (self.found.len() + self.missed).saturating_sub(allowed) {
            0 => Some(1),
            wanted => self.found.get(wanted - 1).map(|rank| rank + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_worked_out_by_hand() {
        let ranks = Ranks::new([Some(0), None, Some(2), Some(0), None].into_iter());
        assert_eq!(ranks, Ranks { found: vec![0, 0, 2], missed: 2 });
        assert_eq!([0, 1, 2, 3, 9].map(|depth| ranks.recall(depth)), [0.0, 0.4, 0.4, 0.6, 0.6]);
        assert_eq!([0, 1, 2, 3, 9].map(|depth| ranks.missed(depth)), [5, 3, 3, 2, 2]);
        assert_eq!(
            [1, 2, 3, 5, 9].map(|allowed| ranks.depth_missing(allowed)),
            [None, Some(3), Some(1), Some(1), Some(1)]
        );
        let none = Ranks::new([].into_iter());
        assert_eq!((none.recall(8), none.missed(8), none.depth_missing(0)), (1.0, 0, Some(1)));
    }
}
