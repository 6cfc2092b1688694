//! Tables, whose cells look their figures up in the result's JSON.

use maud::{Markup, html};
use serde_json::Value;

use super::Run;
use super::changes::{Better, Change};
use super::figures::{ONE, Unit};
use super::series::{Series, tag};
use crate::bench::result::Summary;

/// A table with a row a thing that was measured.
pub struct Table<'a> {
    /// Its anchor.
    pub id: String,
    pub title: &'static str,
    /// What tells the rows of one series apart.
    pub keys: Vec<Column>,
    pub columns: Vec<Column>,
    /// The figure that was measured several times.
    pub timed: Option<Timed>,
    pub rows: Vec<Row<'a>>,
}

pub struct Column {
    heading: &'static str,
    /// From the row's place on, as a JSON pointer; `../` leads to what the row is part of, an array's name being a step.
    at: String,
    unit: Unit,
}

pub struct Timed {
    pub at: &'static str,
    pub unit: Unit,
    pub better: Better,
}

pub struct Row<'a> {
    pub run: &'a Run,
    pub run_number: usize,
    /// None for what is said of a result, not of a device.
    pub series: Option<&'a Series<'a>>,
    /// A JSON pointer.
    pub place: String,
}

/// A column of figures in a unit, or of text.
pub fn column(heading: &'static str, at: &str, unit: Unit) -> Column {
    Column { heading, at: at.into(), unit }
}

/// A column of whole numbers, of figures without a unit, or of text.
pub fn plain(heading: &'static str, at: &str) -> Column {
    column(heading, at, ONE)
}

impl Column {
    /// What it says of a row, in words; `None` where that is nothing.
    fn text(&self, row: &Row) -> Option<String> {
        match row.look_up(&self.at)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(format!("{} {}", self.heading, self.unit.show(number))),
            _ => None,
        }
    }

    fn heading(&self) -> Markup {
        html! { th scope="col" { (self.heading) @if !self.unit.name.is_empty() { ", " span.unit { (self.unit.name) } } } }
    }
}

impl Row<'_> {
    fn pointer(&self, mut at: &str) -> String {
        let mut place = self.place.as_str();
        while let Some(rest) = at.strip_prefix("../") {
            place = place.rsplit_once('/').map_or("", |(parent, _)| parent);
            at = rest;
        }
        format!("{place}/{at}")
    }

    /// True where there is something.
    pub fn has(&self, at: &str) -> bool {
        self.look_up(at).is_some_and(|value| !value.is_null())
    }

    fn look_up(&self, at: &str) -> Option<&Value> {
        self.run.json.pointer(&self.pointer(at))
    }

    fn cell(&self, column: &Column) -> Markup {
        let warned = self.series.is_some_and(|series| series.device.fails_selftest());
        let pointer = self.pointer(&column.at);
        let value = self.run.json.pointer(&pointer);
        let is_number = value.is_some_and(|value| value.is_number() || value.is_array());
        html! {
            td.number[is_number] .nothing[value.is_none_or(Value::is_null)] {
                (self.value(value, &pointer, column.unit))
                @if warned && is_number { " " abbr.warning title="this device fails selftest" { "⚠" } }
            }
        }
    }

    /// A value of the JSON; figures carry it exactly, and say where they come from.
    fn value(&self, value: Option<&Value>, pointer: &str, unit: Unit) -> Markup {
        match value {
            Some(Value::Number(number)) => html! {
                data title=(number) value=(number) data-source=(format!("{}{pointer}", self.run_number + 1)) {
                    (unit.show(number))
                }
            },
            Some(Value::String(text)) => html! { (text) },
            Some(Value::Bool(yes)) => html! { (if *yes { "yes" } else { "no" }) },
            Some(Value::Array(values)) => html! {
                @for (i, value) in values.iter().enumerate() {
                    @if i > 0 { ", " }
                    (self.value(Some(value), &format!("{pointer}/{i}"), unit))
                }
            },
            _ => html! { "–" },
        }
    }
}

impl Table<'_> {
    /// What changed since the row of the same keys in the earlier series, and when that was.
    fn change(&self, row: &Row) -> Option<(Change, &str)> {
        let (timed, earlier) = (self.timed.as_ref()?, row.series?.earlier?);
        let keys = |row: &Row| self.keys.iter().map(|key| row.look_up(&key.at).cloned()).collect::<Vec<_>>();
        let is_earlier = |other: &&Row| other.series.is_some_and(|series| series.number == earlier);
        let before = self.rows.iter().filter(is_earlier).find(|other| keys(other) == keys(row))?;
        let summary = |row: &Row| serde_json::from_value::<Summary>(row.look_up(timed.at)?.clone()).ok();
        let change = Change::between(&summary(before)?, &summary(row)?, timed.better)?;
        Some((change, before.run.result.time.date()))
    }

    /// All changes, each with its row's keys.
    pub fn changes(&self) -> Vec<Markup> {
        let changed = self.rows.iter().filter_map(|row| Some((row, row.series?, self.change(row)?)));
        let line = |(row, series, (change, since)): (&Row, &Series, _)| {
            let keys: Vec<_> = self.keys.iter().filter_map(|key| key.text(row)).collect();
            html! {
                (tag(series)) " " (series.device.info.name) ": " a href={ "#" (self.id) } { (self.title) }
                @if !keys.is_empty() { ", " (keys.join(", ")) }
                ": " (marked(&change)) " than on " (since)
            }
        };
        changed.map(line).collect()
    }

    pub fn html(&self) -> Markup {
        let summary = self.timed.as_ref().map_or(Vec::new(), Timed::columns);
        let columns = || self.keys.iter().chain(&summary).chain(&self.columns);
        // Where nothing is earlier, nothing can have changed.
        let earlier = |row: &Row| row.series.is_some_and(|series| series.earlier.is_some());
        let compared = self.timed.is_some() && self.rows.iter().any(earlier);
        html! {
            @if !self.rows.is_empty() {
                h4 id=(self.id) { a href={ "#" (self.id) } { (self.title) } }
                div.scroll tabindex="0" role="region" aria-labelledby=(self.id) {
                    table {
                        thead { tr {
                            th scope="col" { @if self.rows[0].series.is_some() { "device" } @else { "result" } }
                            @for column in columns() { (column.heading()) }
                            @if compared { th scope="col" { "change" } }
                        } }
                        tbody { @for row in &self.rows { tr {
                            (name(row))
                            @for column in columns() { (row.cell(column)) }
                            @if compared { td { @if let Some((change, since)) = self.change(row) {
                                (marked(&change)) " than on " (since)
                            } } }
                        } } }
                    }
                }
            }
        }
    }
}

impl Timed {
    fn columns(&self) -> Vec<Column> {
        let part = |heading, name, unit| column(heading, &format!("{}/{name}", self.at), unit);
        let quantiles = [("median", "median"), ("1st quartile", "q1"), ("3rd quartile", "q3"), ("least", "min")];
        let quantiles = quantiles.into_iter().chain([("greatest", "max")]);
        quantiles
            .map(|(heading, name)| part(heading, name, self.unit))
            .chain([part("repeats", "repeats", ONE)])
            .collect()
    }
}

/// The first cell of a row.
fn name(row: &Row) -> Markup {
    html! {
        th scope="row" {
            @match row.series {
                None => { (row.run.path.display()) },
                Some(series) => {
                    (tag(series)) " " (series.device.info.name)
                    @if series.device.fails_selftest() { " " span.warning { "⚠ fails selftest" } }
                },
            }
        }
    }
}

fn marked(change: &Change) -> Markup {
    let (class, word) = if change.is_better() { ("better", "better") } else { ("worse", "worse") };
    html! { strong class=(class) { (change.text()) " (" (word) ")" } }
}
