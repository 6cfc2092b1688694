//! Axes: a range of values, where its ticks stand, and what they say.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::SHOWN;

/// Ticks that an axis has about.
const TICKS: f64 = 5.0;

#[derive(Clone)]
pub struct Axis {
    /// With its unit.
    pub title: String,
    log: bool,
    range: Range<f64>,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    pub fn linear(title: &str, range: Range<f64>) -> Self {
        let ticks = even_ticks(&range);
        Self { title: title.into(), log: false, range, ticks }
    }

    /// A logarithmic axis with some room around all of the values above 0.
    pub fn log(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let shown = values.filter(|value| SHOWN.contains(value));
        let least = shown.clone().fold(f64::INFINITY, f64::min);
        let range = if least.is_finite() { least / 1.2..shown.fold(least, f64::max) * 1.2 } else { 1.0..10.0 };
        Self { title: title.into(), log: true, ticks: log_ticks(&range), range }
    }

    /// An axis of rows from the top down, which have names instead of ticks.
    pub fn rows(count: usize) -> Self {
        Self { title: String::new(), log: false, range: count.max(1) as f64..0.0, ticks: Vec::new() }
    }

    pub fn label(&self, at: f64) -> String {
        self.ticks.iter().find(|(tick, _)| *tick == at).map(|(_, label)| label.clone()).unwrap_or_default()
    }

    /// Where a value lies between the ends, as a share; what is beyond them lies there.
    fn share(&self, value: f64) -> f64 {
        let [value, start, end] = [value, self.range.start, self.range.end]
            .map(|value| if self.log { value.max(SHOWN.start).ln() } else { value });
        ((value - start) / (end - start)).clamp(0.0, 1.0)
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.share(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let ticks = if hint.weight().allow_light_points() { &[] } else { &self.ticks[..] };
        ticks.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn even_ticks(range: &Range<f64>) -> Vec<(f64, String)> {
    let about = (range.end - range.start) / TICKS;
    let power = 10f64.powf(about.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= about);
    let (Some(step), true) = (step, about > 0.0 && power > 0.0) else { return Vec::new() };
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((range.start / step - 1e-9).ceil() as i64, (range.end / step + 1e-9).floor() as i64);
    let label = |value: f64| if value >= 1e4 { short(value) } else { format!("{value:.digits$}") };
    (first..=last).map(|count| count as f64 * step).map(|value| (value, label(value))).collect()
}

fn log_ticks(range: &Range<f64>) -> Vec<(f64, String)> {
    let decades = (range.end / range.start).log10();
    if decades < 1.0 {
        return even_ticks(range).into_iter().map(|(value, _)| (value, short(value))).collect();
    }
    let factors: &[f64] = match decades {
        ..2.5 => &[1.0, 2.0, 5.0],
        ..4.0 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let every = (decades / (TICKS + 1.0)).ceil() as usize;
    let powers = (range.start.log10().floor() as i32..=range.end.log10().ceil() as i32).step_by(every);
    let values = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    values.filter(|value| range.contains(value)).map(|value| (value, short(value))).collect()
}

/// Three digits: `0.025`, `250`, `25k`, `2.5M`.
pub fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    let (factor, unit) = units.into_iter().find(|(least, _)| value >= *least).unwrap_or((1.0, ""));
    let value = value / if unit == "k" { 1e3 } else { factor };
    let digits = if value > 0.0 { (2.0 - value.log10().floor()).clamp(0.0, 14.0) as usize } else { 0 };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn every_range_has_ticks() {
        let linear = |range| labels(&Axis::linear("", range)).join(" ");
        assert_eq!(linear(0.0..1.0), "0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(linear(0.93..1.003), "0.94 0.96 0.98 1.00");
        assert_eq!(linear(0.0..130_000.0), "0 50k 100k");
        let log = |values: &[f64]| labels(&Axis::log("", values.iter().copied())).join(" ");
        assert_eq!(log(&[1200.0, 4100.0]), "1000 2000 3000 4000");
        assert_eq!(log(&[1.0, 90.0]), "1 2 5 10 20 50 100");
        assert_eq!(log(&[2.0, 900.0]), "3 10 30 100 300 1000");
        assert_eq!(log(&[1e-3, 1e6]), "0.01 1 100 10k 1M");
        assert_eq!(log(&[]), "1 2 5");
        assert_eq!(log(&[7.0]), "6 7 8");
        for values in [[f64::MIN_POSITIVE, f64::MAX], [0.0, 0.0], [1e-12, 9e17]] {
            assert!(Axis::log("", values.into_iter()).ticks.len() < 20);
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.0254, 2.5, 100.0, 9999.0, 10_000.0, 2.54e6, 1e9].map(short);
        assert_eq!(shown, ["0", "0.0254", "2.5", "100", "9999", "10k", "2.54M", "1G"]);
    }
}
