//! How fast nodes are compared: their clients come first.
//!
//! What a rate asks for is decided after each piece, from what that piece has shown: how long it took, how much it was, and
//! whether a node worked for others meanwhile.

use std::time::Duration;

/// Whether a server worked for others when a piece of it had been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Others {
    #[default]
    Idle,
    Busy,
}

impl Others {
    /// From the column behind those of [`Sums`](super::pieces::Sums).
    pub fn parse(column: Option<&str>) -> Self {
        if column.is_none_or(|count| count == "0") { Self::Idle } else { Self::Busy }
    }
}

/// How fast a comparison reads each node, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// As fast as it goes while a server has nothing else to do, and for a small part of the time while it has: it is
    /// looked at after each piece, so a server that is busy half of the time is left alone for half of it.
    #[default]
    Gentle,
    Unlimited,
    /// In a second.
    Rows(u64),
    /// Bytes of the rows' text, in a second.
    Bytes(u64),
}

/// How many times as long as it has worked a reader rests beside others: with two readers one is at work for a third of
/// the time.
const GENTLE_REST: u32 = 5;

impl Rate {
    /// `20MB`, `512kB`, `100000` (rows), `none`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("none") {
            return Some(Self::Unlimited);
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
        let bytes = |unit: u64| number.checked_mul(unit).map(Self::Bytes);
        match unit.trim().to_ascii_lowercase().as_str() {
            "" | "rows" => Some(Self::Rows(number)),
            "kb" => bytes(1 << 10),
            "mb" => bytes(1 << 20),
            "gb" => bytes(1 << 30),
            _ => None,
        }
    }

    /// How long it must take at least to read so much.
    pub fn least_time(self, rows: u64, bytes: u64) -> Duration {
        match self {
            Self::Gentle | Self::Unlimited => Duration::ZERO,
            Self::Rows(rate) => Duration::from_secs_f64(rows as f64 / rate.max(1) as f64),
            Self::Bytes(rate) => Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64),
        }
    }

    /// How long a reader asks nothing after a piece that took so long.
    pub fn rest(self, took: Duration, others: Others) -> Duration {
        match (self, others) {
            (Self::Gentle, Others::Busy) => took * GENTLE_REST,
            _ => Duration::ZERO,
        }
    }
}

/// Questions that a node has at the same time: about two tables, or two pieces of one.
pub const READERS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_rows_or_bytes_in_a_second() {
        assert_eq!(Rate::parse("20MB"), Some(Rate::Bytes(20 << 20)));
        assert_eq!(Rate::parse("100000"), Some(Rate::Rows(100_000)));
        assert_eq!(Rate::parse("none"), Some(Rate::Unlimited));
        for bad in ["", "0", "fast", "-1", "5 miles", "99999999999GB99"] {
            assert_eq!(Rate::parse(bad), None, "{bad}");
        }
        assert_eq!(Rate::Rows(10).least_time(25, 0), Duration::from_millis(2500));
    }

    #[test]
    fn without_a_rate_it_rests_only_while_a_node_works_for_others() {
        let worked = Duration::from_millis(70);
        assert_eq!(Rate::default().rest(worked, Others::Busy), Duration::from_millis(350));
        assert_eq!(Rate::default().rest(worked, Others::Idle), Duration::ZERO);
        assert_eq!(Rate::default().least_time(1, 64 << 20), Duration::ZERO);
        assert_eq!(Rate::Unlimited.rest(worked, Others::Busy), Duration::ZERO);
    }

    #[test]
    fn whoever_is_busy_is_counted_behind_the_sums() {
        assert_eq!(Others::parse(Some("0")), Others::Idle);
        assert_eq!(Others::parse(Some("3")), Others::Busy);
        assert_eq!(Others::parse(None), Others::Idle);
        assert_eq!([Others::Busy, Others::Idle].into_iter().max(), Some(Others::Busy));
    }
}
