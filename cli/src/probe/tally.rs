//! What was counted: operations that worked, those that did not and why, and how long nothing worked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::postgres::Failure;

/// How long an operation took, or why it failed.
pub type Outcome = Result<Duration, Failure>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub succeeded: u64,
    /// By kind.
    pub failures: BTreeMap<String, u64>,
    pub reconnects: u64,
    #[serde(serialize_with = "milliseconds")]
    pub slowest: Duration,
    /// The longest time from one success of a client to its next.
    #[serde(serialize_with = "milliseconds")]
    pub longest_gap: Duration,
}

/// More kinds than this are counted as one: messages may hold numbers that never repeat.
const MOST_KINDS: usize = 100;

impl Tally {
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub fn operations(&self) -> u64 {
        self.succeeded + self.failed()
    }

    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(time) => {
                self.succeeded += 1;
                self.slowest = self.slowest.max(*time);
            }
            Err(failure) => self.add_failures(failure.kind(), 1),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.reconnects += other.reconnects;
        self.slowest = self.slowest.max(other.slowest);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        for (kind, times) in &other.failures {
            self.add_failures(kind.clone(), *times);
        }
    }

    fn add_failures(&mut self, kind: String, times: u64) {
        let known = self.failures.contains_key(&kind) || self.failures.len() < MOST_KINDS;
        *self.failures.entry(if known { kind } else { "others".into() }).or_default() += times;
    }
}

/// One client's successes in time.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    last: Instant,
}

impl Gap {
    pub fn starting(now: Instant) -> Self {
        Self { last: now }
    }

    /// Call with every outcome, and at the end with a failure or success at that moment.
    pub fn seen(&mut self, worked: bool, now: Instant, tally: &mut Tally) {
        tally.longest_gap = tally.longest_gap.max(now - self.last);
        if worked {
            self.last = now;
        }
    }
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Outcome {
        Err(Failure::Broken(message.into()))
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let mut tally = Tally::default();
        for outcome in [Ok(Duration::from_millis(3)), refused("refused"), refused("refused"), refused("reset")] {
            tally.add(&outcome);
        }
        assert_eq!((tally.operations(), tally.succeeded, tally.failed()), (4, 1, 3));
        assert_eq!(tally.failures["refused"], 2);
        assert_eq!(tally.slowest, Duration::from_millis(3));
    }

    #[test]
    fn kinds_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..1_000 {
            tally.add(&refused(&number.to_string()));
        }
        assert_eq!(tally.failed(), 1_000);
        assert!(tally.failures.len() <= MOST_KINDS + 1);
    }

    #[test]
    fn a_gap_lasts_from_one_success_to_the_next() {
        let (start, mut tally) = (Instant::now(), Tally::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut gap = Gap::starting(start);
        gap.seen(true, at(1), &mut tally);
        gap.seen(false, at(3), &mut tally);
        gap.seen(true, at(5), &mut tally);
        gap.seen(true, at(6), &mut tally);
        assert_eq!(tally.longest_gap, Duration::from_secs(4));
    }

    #[test]
    fn an_outage_that_has_not_ended_counts_too() {
        let (start, mut tally) = (Instant::now(), Tally::default());
        Gap::starting(start).seen(false, start + Duration::from_secs(9), &mut tally);
        assert_eq!(tally.longest_gap, Duration::from_secs(9));
    }

    #[test]
    fn two_tallies_make_one() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.add(&refused("refused"));
        other.add(&refused("refused"));
        other.add(&Ok(Duration::from_millis(1)));
        other.reconnects = 2;
        one.merge(&other);
        assert_eq!((one.failures["refused"], one.succeeded, one.reconnects), (2, 1, 2));
    }
}
