//! Mutations of JSON files. Those of libFuzzer seldom leave JSON, and hardly ever a figure that fits the others.

use libfuzzer_sys::fuzzer_mutate;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

const FIGURES: [f64; 12] = [0.0, -0.0, 1.0, 0.5, 0.99, 101.0, 1e-300, 1e-12, 1e12, 1e18, 1e300, f64::MAX];
const TEXTS: [&str; 10] =
    ["", "cpu", "gpu:0", "Flat", "\0", "\u{1b}[0m", "<script>", "]]>&amp;\"'", "é\u{ffff}", "train"];

/// Changes values of a JSON file, or leaves it to libFuzzer.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    if let Ok(mut json) = serde_json::from_slice(&data[..size])
        && rng.random_bool(0.9)
    {
        for _ in 0..rng.random_range(1..4) {
            change(&mut json, &mut rng);
        }
        let text = json.to_string();
        if text.len() <= max_size {
            data[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
}

/// Changes this value or one in it.
fn change(value: &mut Value, rng: &mut impl Rng) {
    let deeper = rng.random_bool(0.9);
    match value {
        Value::Array(values) if deeper && !values.is_empty() => {
            let at = rng.random_range(0..values.len());
            change(&mut values[at], rng);
        }
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = rng.random_range(0..fields.len());
            fields.values_mut().nth(at).into_iter().for_each(|value| change(value, rng));
        }
        Value::Array(values) if rng.random_bool(0.5) => {
            let at = rng.random_range(0..=values.len());
            match values.get(at).cloned() {
                Some(twin) => values.insert(at, twin),
                None => drop(values.pop()),
            }
        }
        // Figures that are in order stay so.
        Value::Array(_) | Value::Object(_) => scale(value, FIGURES[rng.random_range(0..FIGURES.len())]),
        _ => *value = another(value, rng),
    }
}

fn scale(value: &mut Value, factor: f64) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| scale(value, factor)),
        Value::Object(fields) => fields.values_mut().for_each(|value| scale(value, factor)),
        Value::Number(number) if number.is_f64() => *value = json!(number.as_f64().unwrap_or(0.0) * factor),
        _ => {}
    }
}

/// Mostly a value of the same type.
fn another(value: &Value, rng: &mut impl Rng) -> Value {
    match value {
        _ if rng.random_bool(0.1) => {
            [Value::Null, json!(true), json!(1), json!("text"), json!([])][rng.random_range(0..5)].clone()
        }
        Value::Bool(value) => json!(!value),
        Value::Number(number) if number.is_f64() => json!(FIGURES[rng.random_range(0..FIGURES.len())]),
        Value::Number(_) => json!(rng.random::<u64>() >> rng.random_range(0..64)),
        Value::String(_) => json!(TEXTS[rng.random_range(0..TEXTS.len())]),
        _ => json!(rng.random_range(0.0..100.0)),
    }
}
