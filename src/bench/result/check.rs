//! What a result cannot be, although its fields are all there.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{BenchResult, SCHEMA};

/// The first thing that is wrong, by its place in the file.
pub fn fault(result: &BenchResult) -> Option<String> {
    if result.schema != SCHEMA {
        return Some(format!("schema is {}, and {SCHEMA} is what this version knows", result.schema));
    }
    let json = match serde_json::to_value(result) {
        Ok(json) => json,
        Err(error) => return Some(error.to_string()),
    };
    fault_of(&json, "").or_else(|| twin(result))
}

/// Figures are all counts, times, rates or shares: none is below 0.
fn fault_of(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::Number(number) => {
            number.as_f64().filter(|number| *number < 0.0).map(|number| format!("{place} is {number}, below 0"))
        }
        Value::Array(values) => {
            values.iter().enumerate().find_map(|(i, value)| fault_of(value, &format!("{place}[{i}]")))
        }
        Value::Object(fields) => {
            let dot = if place.is_empty() { "" } else { "." };
            let mut inner = fields.iter().map(|(name, value)| fault_of(value, &format!("{place}{dot}{name}")));
            inner.find_map(|fault| fault).or_else(|| disorder(fields, place))
        }
        _ => None,
    }
}

/// Figures that do not go together.
fn disorder(fields: &Map<String, Value>, place: &str) -> Option<String> {
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    let quantiles: Vec<f64> = ["min", "q1", "median", "q3", "max"].iter().filter_map(|name| number(name)).collect();
    if !quantiles.is_sorted() {
        return Some(format!("{place} has quantiles that do not go up from min to max"));
    }
    if number("repeats") == Some(0.0) {
        return Some(format!("{place}.repeats is 0"));
    }
    if number("recall").is_some_and(|recall| recall > 1.0) {
        return Some(format!("{place}.recall is above 1"));
    }
    let percentiles: Vec<f64> = fields.get("percentiles")?.as_array()?.iter().filter_map(Value::as_f64).collect();
    (percentiles.len() != 101 || !percentiles.is_sorted())
        .then(|| format!("{place}.percentiles are not 101 figures, from the least to the greatest"))
}

/// A device that is there twice could not be told from itself.
fn twin(result: &BenchResult) -> Option<String> {
    let mut seen = HashSet::new();
    let twin = result.devices.iter().find(|device| !seen.insert(device.identity()))?;
    Some(format!("has the device {} ({}) twice", twin.info.selector, twin.info.name))
}
