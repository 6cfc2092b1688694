//! A roofline: what stages achieve, below what their device can do.

use std::ops::Range;

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{Area, Drawn, FONT, LETTERS, Margins, SHOWN, axes, fitting, markers, svg};
use crate::error::Result;

const SIZE: (u32, u32) = (640, 340);
/// Pixels above and below the plot itself.
const AROUND: u32 = 80;
/// Pixels of the names beside the plot, and of a line of them.
const NAMES: u32 = 276;
const LINE: i32 = 18;

/// Stages by their arithmetic intensity, under the two ceilings of a device.
pub struct Roofline {
    /// Which of the colours is the device's.
    pub series: usize,
    /// Floating-point operations a second.
    pub flops: f64,
    /// Bytes a second.
    pub copy: f64,
    pub points: Vec<Point>,
}

pub struct Point {
    pub name: String,
    /// Operations a byte.
    pub intensity: f64,
    /// Operations a second.
    pub flops: f64,
}

impl Roofline {
    pub fn svg(&self) -> Result<String> {
        let names = u32::try_from(self.points.len()).unwrap_or(u32::MAX).min(1000) * LINE as u32;
        svg((SIZE.0, SIZE.1.max(names + AROUND)), |area| self.draw(area).map_err(|error| error.to_string()))
    }

    fn draw<'a>(&self, area: &'a Area) -> Drawn<'a> {
        let giga = |flops: f64| flops / 1e9;
        let drawable = |point: &&Point| SHOWN.contains(&point.intensity) && SHOWN.contains(&giga(point.flops));
        let points: Vec<_> = self.points.iter().filter(drawable).collect();
        let ridge = self.flops / self.copy;
        let intensities = points.iter().map(|point| point.intensity);
        let x = Axis::log("arithmetic intensity in FLOP/byte", intensities.chain([ridge / 4.0, ridge * 4.0]));
        let roof = |intensity: f64| giga(self.flops.min(self.copy * intensity));
        let Range { start: first, end: last } = x.range();
        let heights = points.iter().map(|point| giga(point.flops));
        let y = Axis::log("GFLOP/s", heights.chain([roof(first), roof(last)]));
        let mut chart = axes(area, "", &Margins { left: 68, right: NAMES }, x, y)?;
        let corners = [first, ridge, last].map(|intensity| (intensity, roof(intensity)));
        chart.draw_series(LineSeries::new(corners, BLACK.stroke_width(2)))?;
        let place = |point: &Point| (point.intensity, giga(point.flops));
        let pixel = |point: &Point| chart.plotting_area().map_coordinate(&place(point));
        let mut named: Vec<_> = points.iter().map(|point| (pixel(point), point.name.as_str())).collect();
        markers(&mut chart, self.series, points.iter().map(|point| place(point)))?;

        named.sort_by_key(|((_, y), _)| *y);
        let wanted: Vec<_> = named.iter().map(|((_, y), _)| *y).collect();
        let edge = chart.plotting_area().get_pixel_range();
        let lines = spread(&wanted, edge.1.start + LINE / 2..edge.1.end - LINE / 2);
        let letters = (FONT, LETTERS).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        for (((from_x, from_y), name), line) in named.into_iter().zip(lines) {
            let leader = [(from_x + 6, from_y), (edge.0.end, line), (edge.0.end + 10, line)];
            area.draw(&PathElement::new(leader, BLACK.mix(0.35)))?;
            area.draw(&Text::new(fitting(name, NAMES - 10), (edge.0.end + 14, line), letters.clone()))?;
        }
        Ok(())
    }
}

/// Places for names that want to stand at `wanted`, in ascending order: as near as leaves each a line of its own within
/// `range`, or beyond its end where they are too many.
fn spread(wanted: &[i32], range: Range<i32>) -> Vec<i32> {
    let mut lines: Vec<i32> = Vec::new();
    for &y in wanted {
        lines.push(y.max(lines.last().map_or(range.start, |above| above + LINE)));
    }
    let mut floor = range.end;
    for line in lines.iter_mut().rev() {
        *line = (*line).min(floor);
        floor = *line - LINE;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn names_do_not_overlap() {
        assert_eq!(spread(&[20, 60, 100], 10..200), [20, 60, 100]);
        assert_eq!(spread(&[50, 50, 55], 10..200), [50, 68, 86]);
        assert_eq!(spread(&[190, 195, 199], 10..200), [164, 182, 200]);
        assert_eq!(spread(&[0, 5], 10..200), [10, 28]);
        assert_eq!(spread(&[], 10..200), [0; 0]);
    }
}
