//! How a load went.

use std::collections::BTreeMap;
use std::fmt;

use lockstep_tests::raw::Failure;

/// What a plain server answers to this load, by the beginning of what it says: conflicts, deadlocks, violated constraints,
/// its own time-outs, a failed transaction, a cancelled statement, an ended session, data and conditions that are wrong on
/// purpose, and an object that another client has just dropped or made.
const EXPECTED: &[&str] = &[
    "21000",
    "24000",
    "22003",
    "22012",
    "22P02",
    "23502",
    "23503",
    "23505",
    "23514",
    "23P01",
    "25001",
    "25P01",
    "25P02",
    "26000",
    "2BP01",
    "34000",
    "3F000",
    "40001",
    "40P01",
    "42501: new row violates row-level security policy",
    "42701",
    "42703",
    "42704: large object",
    "42704: index",
    "42704: type",
    "42704: column",
    "42704: constraint \"same_pkey\"",
    "42704: constraint \"short\"",
    "42704: trigger",
    "42710",
    "42723",
    "42804",
    "42809: \"measure_2\"",
    "42P01",
    "42P03",
    "42P05",
    "42P06",
    "42P07",
    "42P16",
    "44000",
    "55000",
    "55006",
    "55P03",
    "57014",
    "57P01",
    "P0001: too little",
    "XX000: tuple concurrently",
];

/// What a plain server does and the proxy does not, each with its reason in `lockstep help limits`.
const REFUSED: &[&str] = &[
    "this statement is refused: COPY holds a statement that writes",
    "this statement is refused: EXPLAIN ANALYZE executes the statement",
    "this statement is refused: it runs text by EXECUTE in a transaction that has made, changed or truncated a table",
    "this transaction is refused: what others have written to large object",
    "this statement is refused: rows of grown may be newer than the snapshot of this transaction",
    "this statement is refused: rows of growing may be newer than the snapshot of this transaction",
    "this statement is refused: each server would run the query of the materialized view by itself: rows of sale may be newer",
];

#[derive(Debug, Default)]
pub struct Tally {
    pub units: u64,
    /// By SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// By SQLSTATE and words.
    messages: BTreeMap<String, u64>,
    /// An example for each.
    unexpected: BTreeMap<String, String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} transactions, {:?}", self.units, self.errors)?;
        self.messages.iter().try_for_each(|(message, count)| write!(f, "\n{count:6} {message}"))
    }
}

impl Tally {
    pub fn note(&mut self, what: &str, failure: &Failure) {
        *self.errors.entry(failure.state().to_owned()).or_default() += 1;
        let message = failure.to_string();
        let kind = without_numbers(&message);
        *self.messages.entry(kind.clone()).or_default() += 1;
        let known = EXPECTED.iter().any(|start| message.starts_with(start))
            || REFUSED.iter().any(|reason| message.starts_with(&format!("0A000: {reason}")));
        if !known {
            self.unexpected.insert(kind, format!("{what}: {message}"));
        }
    }

    pub fn add(mut self, other: Tally) -> Tally {
        self.units += other.units;
        other.errors.into_iter().for_each(|(state, count)| *self.errors.entry(state).or_default() += count);
        other.messages.into_iter().for_each(|(message, count)| *self.messages.entry(message).or_default() += count);
        self.unexpected.extend(other.unexpected);
        self
    }

    /// How many of a hundred transactions were in another's way, rounded up.
    pub fn conflicts(&self) -> u64 {
        let lost: u64 = ["40001", "40P01"].iter().filter_map(|state| self.errors.get(*state)).sum();
        (100 * lost).div_ceil(self.units.max(1))
    }

    pub fn unexpected(&self) -> Vec<&String> {
        self.unexpected.values().collect()
    }
}

/// The first line, its numbers left out behind the SQLSTATE, so that messages of one kind are one.
fn without_numbers(message: &str) -> String {
    let (state, words) = message.split_at(message.len().min(5));
    let words: String = words.lines().next().unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{state}{words}")
}
