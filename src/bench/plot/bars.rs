//! Rows of bars: times by phase, shares, and how calls are distributed.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{Area, Drawn, FONT, LETTERS, Margins, SHOWN, axes, color, fitting, svg};
use crate::error::Result;

const WIDTH: u32 = 440;
/// Pixels of a row, of the names beside the rows, and of the notes behind them.
const ROW: u32 = 24;
const NAMES: u32 = 178;
const NOTES: u32 = 64;

/// Rows of bars over one axis.
pub struct Bars {
    /// With its unit.
    pub x_title: String,
    /// Bars begin at 0, unless the axis is logarithmic.
    pub log: bool,
    /// What an axis from 0 reaches at least.
    pub reach: f64,
    pub rows: Vec<BarRow>,
}

pub struct BarRow {
    pub name: String,
    /// Which of the colours is its own; `None` for a heading.
    pub series: Option<usize>,
    pub marks: Vec<Mark>,
    /// Stands behind the bars.
    pub note: String,
}

/// A part of a row.
pub enum Mark {
    /// From one value to another, as a share of the row's height, in a share of its colour.
    Bar { from: f64, to: f64, height: f64, opacity: f64 },
    /// A line across the row.
    Tick { at: f64 },
}

impl BarRow {
    /// The name of what the rows below have in common.
    pub fn heading(name: String) -> Self {
        Self { name, series: None, marks: Vec::new(), note: String::new() }
    }
}

impl Bars {
    pub fn svg(&self) -> Result<String> {
        let rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX).min(10_000);
        svg((WIDTH, rows * ROW + 76), |area| self.draw(area).map_err(|error| error.to_string()))
    }

    fn draw<'a>(&self, area: &'a Area) -> Drawn<'a> {
        let values = self.rows.iter().flat_map(|row| &row.marks).flat_map(|mark| match mark {
            Mark::Bar { from, to, .. } => [*from, *to],
            Mark::Tick { at } => [*at; 2],
        });
        let most = values.clone().filter(|value| SHOWN.contains(value)).fold(self.reach, f64::max);
        let x = match self.log {
            true => Axis::log(&self.x_title, values),
            false => Axis::linear(&self.x_title, 0.0..if most > 0.0 { most } else { 1.0 }),
        };
        let ends = x.range();
        let mut chart = axes(area, "", &Margins { left: NAMES, right: NOTES }, x, Axis::rows(self.rows.len()))?;
        for (row, top) in self.rows.iter().zip(0u32..) {
            let middle = f64::from(top) + 0.5;
            let color = color(row.series.unwrap_or(0));
            for mark in &row.marks {
                match *mark {
                    Mark::Bar { from, to, height, opacity } => {
                        let corners = [(from, middle - height / 2.0), (to, middle + height / 2.0)];
                        chart.draw_series([Rectangle::new(corners, color.mix(opacity).filled())])?;
                    }
                    Mark::Tick { at } => {
                        let ends = [(at, middle - 0.4), (at, middle + 0.4)];
                        chart.draw_series([PathElement::new(ends, BLACK.stroke_width(2))])?;
                    }
                }
            }
            let (left, y) = chart.plotting_area().map_coordinate(&(ends.start, middle));
            let right = chart.plotting_area().map_coordinate(&(ends.end, middle)).0;
            let letters = (FONT, LETTERS).into_text_style(area);
            let left_of = letters.pos(Pos::new(HPos::Right, VPos::Center));
            let right_of = letters.pos(Pos::new(HPos::Left, VPos::Center));
            match row.series {
                Some(_) => area.draw(&Text::new(fitting(&row.name, NAMES), (left - 8, y), left_of))?,
                // A heading has the whole width.
                None => area.draw(&Text::new(fitting(&row.name, WIDTH - 20), (10, y), right_of.clone()))?,
            }
            area.draw(&Text::new(row.note.as_str(), (right + 6, y), right_of))?;
        }
        Ok(())
    }
}
