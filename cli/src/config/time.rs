//! How long something may take, as people write it: `500ms`, `1s`, `2m`, `1h`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

const FORM: &str = r#"a time such as "500ms", "1s" or "2m""#;

pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

/// As it could have been written.
pub fn spell(time: Duration) -> String {
    match time.as_millis() {
        0 => "0s".into(),
        hours if hours % 3_600_000 == 0 => format!("{}h", hours / 3_600_000),
        minutes if minutes % 60_000 == 0 => format!("{}m", minutes / 60_000),
        seconds if seconds % 1_000 == 0 => format!("{}s", seconds / 1_000),
        milliseconds => format!("{milliseconds}ms"),
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        parse(text).map(Time).ok_or_else(|| E::custom(format_args!("`{text}` is not a time; write {FORM}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_and_a_unit() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1s"), Some(Duration::from_secs(1)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse("1 h"), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_time_is_spelt_as_it_could_be_written() {
        for text in ["0s", "10ms", "1500ms", "90s", "10m", "2h"] {
            assert_eq!(spell(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        for text in ["", "500", "ms", "-1s", "1.5s", "1 fortnight", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
