//! Points in time, as result files name them.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A second in UTC, as RFC 3339 writes it: `2026-11-22T14:03:05Z`. Earlier ones are less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime(String);

impl UtcTime {
    /// This second, by the system's clock.
    pub fn now() -> Self {
        Self::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// Seconds since 1970. The date is found by Howard Hinnant's `civil_from_days`.
    fn from_unix(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        Self(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
    }

    /// The day alone: `2026-11-22`.
    pub fn date(&self) -> &str {
        self.0.split('T').next().unwrap_or_default()
    }
}

impl Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
        let number = |from: usize| text.get(from..from + 2).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let within = |from, range: std::ops::RangeInclusive<u8>| range.contains(&number(from));
        let a_time = shape.eq(*b"0000-00-00T00:00:00Z")
            && within(5, 1..=12)
            && within(8, 1..=31)
            && within(11, 0..=23)
            && within(14, 0..=59)
            // 60 is a leap second.
            && within(17, 0..=60);
        match a_time {
            true => Ok(Self(text.into())),
            false => Err(Error::parameter("time", format!("{text:?}"), "write it as 2026-11-22T14:03:05Z, in UTC")),
        }
    }
}

impl TryFrom<String> for UtcTime {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        // By `date -u -d @…`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_795_356_185, "2026-11-22T14:03:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = UtcTime::from_unix(seconds);
            assert_eq!((time.to_string().as_str(), time.date()), (expected, &expected[..10]));
            assert_eq!(expected.parse::<UtcTime>().unwrap(), time);
        }
        assert!(UtcTime::now() > UtcTime::from_unix(1_700_000_000));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 14:03:05Z",
            "2026-11-22T14:03:05",
            "2026-11-22T14:03:05+01:00",
            "2026-13-22T14:03:05Z",
            "2026-00-22T14:03:05Z",
            "2026-11-32T14:03:05Z",
            "2026-11-22T24:03:05Z",
            "2026-11-22T14:60:05Z",
            "２０２６-11-22T14:03:05Z",
        ] {
            assert!(text.parse::<UtcTime>().is_err(), "{text}");
        }
    }
}
