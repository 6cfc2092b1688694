//! Plots as SVG: lines of points, with a logarithmic axis of time.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 520);
/// Legible on white and on near-black; beyond these they come again.
const COLORS: [RGBColor; 8] = [
    RGBColor(0x2f, 0x7e, 0xc7),
    RGBColor(0xdd, 0x6b, 0x20),
    RGBColor(0x2c, 0x99, 0x5f),
    RGBColor(0xc0, 0x4a, 0x9b),
    RGBColor(0x8a, 0x74, 0xd6),
    RGBColor(0xa8, 0x86, 0x1c),
    RGBColor(0xd0, 0x4a, 0x4a),
    RGBColor(0x2a, 0x9c, 0xa5),
];
/// Turns black on white round where the reader's screen is dark.
const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { \
    rect[fill=\"#FFFFFF\"] { fill: #16181c } text[fill=\"#000000\"] { fill: #e4e4e4 } \
    [stroke=\"#000000\"] { stroke: #9a9a9a } }</style>";

/// Lines over time.
pub struct Plot {
    pub title: String,
    /// With its unit.
    pub x_title: String,
    pub y_title: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    /// (x, y) with x above 0.
    pub points: Vec<(f64, f64)>,
}

impl Plot {
    /// The plot as an SVG document.
    pub fn svg(&self) -> rvc_gpu_index::Result<String> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area()).map_err(|error| {
            rvc_gpu_index::Error::Parameter {
                name: "svg",
                found: format!("cannot be drawn: {error}"),
                remedy: "leave it out".into(),
            }
        })?;
        // Behind the tag that opens the document.
        let at = svg.find("<svg").and_then(|start| svg[start..].find('>').map(|end| start + end + 1));
        svg.insert_str(at.unwrap_or(svg.len()), STYLE);
        Ok(svg)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>) -> Result<(), Box<dyn Error + '_>> {
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = around(points().map(|point| point.0));
        let least = points().map(|point| point.1).fold(1.0, f64::min);
        // A little room above 1, so that points there are whole.
        let y = (least - 0.05).max(0.0)..1.0 + 0.04 * (1.0 - least).max(0.1);
        let digits = if least > 0.9 { 3 } else { 2 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 21))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(68)
            .build_cartesian_2d(x.log_scale(), y)?;
        let number = |value: &f64| format!("{value:.*}", if *value < 10.0 { 1 } else { 0 });
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .label_style(("sans-serif", 17))
            .x_desc(&self.x_title)
            .y_desc(&self.y_title)
            .x_label_formatter(&number)
            .y_label_formatter(&|value| format!("{value:.digits$}"))
            .draw()?;
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let drawn = chart.draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?;
            drawn
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 4, color.filled())))?;
        }
        if self.lines.len() > 1 {
            let legend = SeriesLabelPosition::LowerRight;
            chart.configure_series_labels().position(legend).label_font(("sans-serif", 17)).margin(12).draw()?;
        }
        area.present()?;
        Ok(())
    }
}

/// A range with room around all of the values, by a tenth of them.
fn around(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
    let most = values.fold(least, f64::max);
    if least.is_finite() { least / 1.2..most * 1.2 } else { 1.0..10.0 }
}
