//! Shares over what they cost: recall against time, or against queries a second.

use plotters::prelude::*;

use super::axis::Axis;
use super::{Area, Drawn, FONT, LETTERS, Margins, SHOWN, axes, color, markers, svg};
use crate::error::Result;

/// Turns black on white round where the reader's screen is dark.
const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { \
    rect[fill=\"#FFFFFF\"] { fill: #16181c } text[fill=\"#000000\"] { fill: #e4e4e4 } \
    [stroke=\"#000000\"] { stroke: #9a9a9a } }</style>";

/// Lines of shares, 1 at most, over a logarithmic axis.
pub struct Plot {
    /// Stands above it in a document; a page has its own captions.
    pub title: String,
    /// With its unit.
    pub x_title: String,
    /// With its unit.
    pub y_title: String,
    /// In the order of the legend.
    pub lines: Vec<Line>,
}

/// A line of a [`Plot`].
pub struct Line {
    /// For the legend.
    pub name: String,
    /// Which of the colours and markers is its own.
    pub series: usize,
    /// (x, y) with x above 0, joined in this order.
    pub points: Vec<(f64, f64)>,
    /// Points beside the line.
    pub others: Vec<(f64, f64)>,
}

impl Plot {
    /// An SVG document of its own, with a legend where there are several lines.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) where it cannot be drawn.
    pub fn document(&self) -> Result<String> {
        let mut svg = svg((860, 520), |area| {
            area.fill(&WHITE).map_err(|error| error.to_string())?;
            self.draw(area, &self.title, self.lines.len() > 1).map_err(|error| error.to_string())
        })?;
        // Behind the tag that opens the document.
        let at = svg.find("<svg").and_then(|start| svg[start..].find('>').map(|end| start + end + 1));
        svg.insert_str(at.unwrap_or(svg.len()), STYLE);
        Ok(svg)
    }

    /// A smaller one without background, title and legend, for a page that has them.
    pub(in crate::bench) fn panel(&self) -> Result<String> {
        svg((440, 320), |area| self.draw(area, "", false).map_err(|error| error.to_string()))
    }

    fn draw<'a>(&self, area: &'a Area, title: &str, legend: bool) -> Drawn<'a> {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().chain(&line.others));
        let x = Axis::log(&self.x_title, all().map(|point| point.0));
        let least = all().map(|point| point.1).fold(1.0, f64::min);
        // A little room above 1, so that points there are whole.
        let y = Axis::linear(&self.y_title, (least - 0.05).max(0.0)..1.0 + 0.04 * (1.0 - least).max(0.1));
        let mut chart = axes(area, title, &Margins { left: 68, right: 6 }, x, y)?;
        let shown =
            |points: &[(f64, f64)]| points.iter().copied().filter(|point| SHOWN.contains(&point.0)).collect::<Vec<_>>();
        for line in &self.lines {
            let style = color(line.series).stroke_width(2);
            let drawn = chart.draw_series(LineSeries::new(shown(&line.points), style))?;
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            let points = shown(&line.points).into_iter().chain(shown(&line.others));
            markers(&mut chart, line.series, points)?;
        }
        if legend {
            // Lines end low on one side, and the legend stands on the other.
            let lowest = all().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
            let (least, most) = all().fold((f64::MAX, 0.0f64), |(least, most), at| (least.min(at.0), most.max(at.0)));
            let position = match lowest.0 * lowest.0 > least * most {
                true => SeriesLabelPosition::LowerLeft,
                false => SeriesLabelPosition::LowerRight,
            };
            chart.configure_series_labels().position(position).label_font((FONT, LETTERS)).margin(12).draw()?;
        }
        Ok(())
    }
}
