//! Changes since an earlier result: marked where they are beyond the spread of both.

use crate::bench::result::Summary;

/// Medians nearer than this share are the same, however small the spread.
const LEAST: f64 = 0.02;

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Seconds.
    Less,
    /// Rates.
    More,
}

/// A change of a median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// New median by old, less 1.
    share: f64,
    better: Better,
}

impl Change {
    /// `None` where the quartile ranges overlap, or the medians are nearly the same.
    pub fn between(earlier: &Summary, now: &Summary, better: Better) -> Option<Self> {
        let share = now.median / earlier.median - 1.0;
        let apart = now.q1 > earlier.q3 || now.q3 < earlier.q1;
        (apart && share.is_finite() && share.abs() > LEAST).then_some(Self { share, better })
    }

    pub fn is_better(&self) -> bool {
        (self.share > 0.0) == (self.better == Better::More)
    }

    /// Direction and per cent: `▲ 12.5 % longer`.
    pub fn text(&self) -> String {
        let (arrow, up) = if self.share > 0.0 { ("▲", true) } else { ("▼", false) };
        let word = match (self.better, up) {
            (Better::Less, true) => "longer",
            (Better::Less, false) => "shorter",
            (Better::More, true) => "more",
            (Better::More, false) => "less",
        };
        format!("{arrow} {:.1} % {word}", 100.0 * self.share.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(q1: f64, median: f64, q3: f64) -> Summary {
        Summary { median, q1, q3, min: q1, max: q3, repeats: 5 }
    }

    #[test]
    fn a_change_is_beyond_both_spreads() {
        let earlier = summary(9.5, 10.0, 10.5);
        let text = |q1, median, q3, better| {
            Change::between(&earlier, &summary(q1, median, q3), better)
                .map(|change| (change.text(), change.is_better()))
        };
        let some = |text: &str, better| Some((text.to_string(), better));
        assert_eq!(text(11.0, 11.5, 12.0, Better::Less), some("▲ 15.0 % longer", false));
        assert_eq!(text(7.0, 7.5, 8.0, Better::Less), some("▼ 25.0 % shorter", true));
        assert_eq!(text(11.0, 11.5, 12.0, Better::More), some("▲ 15.0 % more", true));
        assert_eq!(text(7.0, 7.5, 8.0, Better::More), some("▼ 25.0 % less", false));
        // The ranges touch, or overlap.
        assert_eq!(text(10.5, 11.5, 12.0, Better::Less), None);
        assert_eq!(text(9.0, 12.0, 13.0, Better::Less), None);
    }

    #[test]
    fn what_is_nearly_the_same_is_no_change() {
        let (earlier, exact) = (summary(100.0, 100.0, 100.0), |x| summary(x, x, x));
        assert_eq!(Change::between(&earlier, &exact(101.9), Better::Less), None);
        assert_eq!(Change::between(&earlier, &exact(98.1), Better::Less), None);
        assert!(Change::between(&earlier, &exact(102.5), Better::Less).is_some());
        assert_eq!(Change::between(&exact(0.0), &exact(1.0), Better::Less), None);
    }
}
