//! Series: a device in a result, with a number, a colour and a marker of its own through the whole page.

use maud::{Markup, PreEscaped, html};

use super::Run;
use crate::bench::plot::swatch;
use crate::bench::result::DeviceResult;

pub struct Series<'a> {
    /// From 0; the page counts from 1.
    pub number: usize,
    pub run: &'a Run,
    /// The result's number.
    pub run_number: usize,
    pub device: &'a DeviceResult,
    /// Where it stands in the result's JSON, as a JSON pointer.
    pub place: String,
    /// The number of the latest series before this one of the same device and the same work.
    pub earlier: Option<usize>,
}

impl Series<'_> {
    /// Number and name, and the warning that belongs to every figure.
    pub fn name(&self) -> String {
        format!("{}{}", self.warning(), self.title())
    }

    /// The same without what stands in brackets, where room is short.
    pub fn short_name(&self) -> String {
        let title = self.title();
        format!("{}{}", self.warning(), title.split(" (").next().unwrap_or(&title))
    }

    fn warning(&self) -> &'static str {
        if self.device.fails_selftest() { "⚠ " } else { "" }
    }

    /// Number and name, where the warning stands beside them.
    pub fn title(&self) -> String {
        format!("{} {}", self.number + 1, self.device.info.name)
    }

    /// True where their figures can be compared.
    fn same_work(&self, other: &Series) -> bool {
        let (a, b) = (&self.run.result, &other.run.result);
        a.workload == b.workload && a.quick == b.quick
    }
}

/// All series of results in the order of their time.
pub fn all(runs: &[Run]) -> Vec<Series<'_>> {
    let mut all: Vec<Series> = Vec::new();
    for (run_number, run) in runs.iter().enumerate() {
        for (place, device) in run.result.devices.iter().enumerate() {
            let place = format!("/devices/{place}");
            let mut series = Series { number: all.len(), run, run_number, device, place, earlier: None };
            let same =
                |other: &&Series| other.run.identity(other.device) == run.identity(device) && other.same_work(&series);
            series.earlier = all.iter().rev().find(same).map(|other| other.number);
            all.push(series);
        }
    }
    all
}

/// Series by their work, which is what can be drawn in one plot.
pub fn groups<'s, 'a>(all: &'s [Series<'a>]) -> Vec<Vec<&'s Series<'a>>> {
    let mut groups: Vec<Vec<&Series>> = Vec::new();
    for series in all {
        match groups.iter_mut().find(|group| group[0].same_work(series)) {
            Some(group) => group.push(series),
            None => groups.push(vec![series]),
        }
    }
    groups
}

/// A series' line, marker and number.
pub fn tag(series: &Series) -> Markup {
    // What cannot be drawn still has its number.
    let swatch = swatch(series.number).unwrap_or_default();
    html! { span.tag { (PreEscaped(swatch)) " " (series.number + 1) } }
}
