//! Figures as people read them.

/// What a heading says behind the comma, and what the JSON's figure is multiplied by.
#[derive(Clone, Copy)]
pub struct Unit {
    pub name: &'static str,
    scale: f64,
}

const fn unit(name: &'static str, scale: f64) -> Unit {
    Unit { name, scale }
}

pub const ONE: Unit = unit("", 1.0);
pub const SECONDS: Unit = unit("s", 1.0);
pub const MILLISECONDS: Unit = unit("ms", 1e3);
pub const MICROSECONDS: Unit = unit("µs", 1e6);
pub const PER_CENT: Unit = unit("%", 1e2);
pub const GFLOP: Unit = unit("GFLOP", 1e-9);
pub const GFLOPS: Unit = unit("GFLOP/s", 1e-9);
pub const MB: Unit = unit("MB", 1e-6);
pub const GBS: Unit = unit("GB/s", 1e-9);
pub const KIB: Unit = unit("KiB", 1.0 / (1u64 << 10) as f64);
pub const MIB: Unit = unit("MiB", 1.0 / (1u64 << 20) as f64);
pub const GIB: Unit = unit("GiB", 1.0 / (1u64 << 30) as f64);
pub const QUERIES_PER_SECOND: Unit = unit("queries/s", 1.0);

impl Unit {
    /// A figure in this unit, to four digits; whole numbers whole.
    pub fn show(self, number: &serde_json::Number) -> String {
        let value = number.as_f64().unwrap_or(f64::NAN);
        match number.as_u64() {
            Some(whole) if self.scale == 1.0 => grouped(&whole.to_string()),
            _ if self.name.is_empty() && value.fract() == 0.0 && value < 1e12 => grouped(&value.to_string()),
            // What is beyond all numbers in this unit is the greatest of them.
            _ => digits((value * self.scale).min(f64::MAX)),
        }
    }
}

/// Four digits.
fn digits(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        1e-4..1e12 => {
            let decimals = (3.0 - value.log10().floor()).max(0.0) as usize;
            grouped(&format!("{value:.decimals$}"))
        }
        _ => format!("{value:.3e}"),
    }
}

/// A comma before every three digits in front of the point.
fn grouped(number: &str) -> String {
    let whole = number.split('.').next().unwrap_or_default().len();
    let comma = |place: usize| place > 0 && place < whole && (whole - place).is_multiple_of(3);
    number.chars().enumerate().flat_map(|(place, c)| [comma(place).then_some(','), Some(c)]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_have_four_digits() {
        let show = |unit: Unit, value: serde_json::Value| unit.show(value.as_number().unwrap());
        for (unit, value, shown) in [
            (ONE, json!(125_000), "125,000"),
            (ONE, json!(999), "999"),
            (ONE, json!(0), "0"),
            (ONE, json!(0.0), "0"),
            (ONE, json!(16.0), "16"),
            (SECONDS, json!(16.0), "16.00"),
            (ONE, json!(0.9954), "0.9954"),
            (ONE, json!(1234567.8), "1,234,568"),
            (SECONDS, json!(12.3456), "12.35"),
            (MILLISECONDS, json!(0.000_318_814), "0.3188"),
            (MICROSECONDS, json!(0.000_318_814), "318.8"),
            (GIB, json!(8_589_934_592_u64), "8.000"),
            (PER_CENT, json!(0.5), "50.00"),
            (ONE, json!(1e-9), "1.000e-9"),
            (ONE, json!(1e300), "1.000e300"),
        ] {
            assert_eq!(show(unit, value), shown);
        }
    }
}
