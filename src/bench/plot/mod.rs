//! Plots as SVG, one way to draw for the command's plots and the report's page.

mod axis;
mod bars;
mod lines;
mod roofline;

use std::error::Error as StdError;

use plotters::coord::Shift;
use plotters::prelude::*;

use axis::Axis;
pub(super) use axis::short;
pub(super) use bars::{BarRow, Bars, Mark};
pub use lines::{Line, Plot};
pub(super) use roofline::{Point, Roofline};

use crate::error::{Error, Result};

/// Legible on white and on near-black; beyond these they come again, with other markers.
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
const FONT: &str = "sans-serif";
/// Letters of axes and labels; plotters takes a quarter more than the pixels that they get.
const LETTERS: u32 = 17;
const RADIUS: i32 = 4;
/// What a plot can show: beyond these its axis would be all that is seen.
const SHOWN: std::ops::Range<f64> = 1e-12..1e18;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
type Drawn<'a, T = ()> = Result<T, Box<dyn StdError + 'a>>;

/// Draws an SVG document.
fn svg(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<(), String>) -> Result<String> {
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present().map_err(|error| error.to_string()))
    };
    match drawn {
        Ok(()) => Ok(printable(svg)),
        Err(error) => Err(Error::parameter("svg", format!("cannot be drawn: {error}"), "leave it out")),
    }
}

/// A document with U+FFFD for what neither XML nor HTML may hold. Names of devices and work come from files.
pub(super) fn printable(document: String) -> String {
    let kept = |c: char| matches!(c, '\t' | '\n') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if document.chars().all(kept) {
        return document;
    }
    document.chars().map(|c| if kept(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Pixels between the axes and the edges of a plot.
struct Margins {
    left: u32,
    right: u32,
}

/// Axes with their ticks, titles and grid.
fn axes<'a, 'b>(area: &'a Area<'b>, caption: &str, margins: &Margins, x: Axis, y: Axis) -> Drawn<'a, Chart<'a, 'b>> {
    let mut builder = ChartBuilder::on(area);
    if !caption.is_empty() {
        builder.caption(caption, (FONT, LETTERS + 4));
    }
    let builder = builder.margin(10).margin_right(10 + margins.right).x_label_area_size(50);
    let mut chart = builder.y_label_area_size(margins.left).build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .label_style((FONT, LETTERS))
        .x_desc(&x.title)
        .y_desc(&y.title)
        .x_label_formatter(&|at| x.label(*at))
        .y_label_formatter(&|at| y.label(*at))
        .draw()?;
    Ok(chart)
}

fn color(series: usize) -> RGBColor {
    COLORS[series % COLORS.len()]
}

/// What a series is drawn with at points: circles for the first eight, then triangles, squares and crosses.
fn markers<'a>(chart: &mut Chart, series: usize, points: impl IntoIterator<Item = (f64, f64)>) -> Drawn<'a> {
    let (points, style) = (points.into_iter(), color(series).filled());
    match series / COLORS.len() % 4 {
        0 => chart.draw_series(points.map(|at| Circle::new(at, RADIUS, style))),
        1 => chart.draw_series(points.map(|at| TriangleMarker::new(at, RADIUS + 1, style))),
        2 => chart.draw_series(
            points.map(|at| EmptyElement::at(at) + Rectangle::new([(-RADIUS, -RADIUS), (RADIUS, RADIUS)], style)),
        ),
        _ => chart.draw_series(points.map(|at| Cross::new(at, RADIUS, style.stroke_width(2)))),
    }
    .map(drop)
    .map_err(|error| error.to_string().into())
}

/// A piece of a series' line with its marker, for a legend beside plots.
pub(super) fn swatch(series: usize) -> Result<String> {
    svg((36, 16), |area| {
        let range = || Axis::linear("", 0.0..1.0);
        let drawn = ChartBuilder::on(area).build_cartesian_2d(range(), range()).and_then(|mut chart| {
            chart.draw_series(LineSeries::new([(0.0, 0.5), (1.0, 0.5)], color(series).stroke_width(2)))?;
            Ok(chart)
        });
        let mut chart = drawn.map_err(|error| error.to_string())?;
        markers(&mut chart, series, [(0.5, 0.5)]).map_err(|error| error.to_string())
    })
}

/// As much of a text as fits into some pixels, by the width of letters in a wide font.
fn fitting(text: &str, pixels: u32) -> String {
    let letters = (pixels as f64 / (0.52 * f64::from(LETTERS))) as usize;
    match text.char_indices().nth(letters) {
        None => text.into(),
        Some(_) => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}
