//! What clients were told, against which the nodes are held afterwards.
//!
//! An operation ends in one of three ways: its client was told that it is committed; it was told that it is not, or its
//! commit never left the client; or it was told nothing that decides it (*in doubt*: the connection broke while the commit
//! was under way). What is in doubt is entered before the commit is sent, so that a client that never gets an answer has
//! already said all that the audit needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::phase::Phase;
use super::tally::Tally;
use super::trouble::Trouble;

/// Counters that clients share.
pub const COUNTERS: usize = 3;

/// Wrong answers that are told; the rest is counted by whoever reads the log.
const MOST_WRONG: usize = 20;

#[derive(Debug)]
pub struct Ledger {
    next_id: AtomicU64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
pub struct Entries {
    pub phase: Phase,
    /// Ids whose commit was acknowledged.
    pub told: BTreeSet<u64>,
    /// Ids that must be nowhere.
    pub refused: BTreeSet<u64>,
    pub counters: [Counter; COUNTERS],
    /// By client.
    pub marks: BTreeMap<i32, Mark>,
    pub tally: Tally,
    /// Answers that no server may give.
    pub wrong: Vec<String>,
}

/// How far a counter must and may have come.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counter {
    pub acknowledged: u64,
    pub in_doubt: u64,
}

/// What a row that one client alone writes may hold.
#[derive(Debug, Default, Clone)]
pub struct Mark {
    pub acknowledged: i64,
    /// Written after that, and in doubt.
    pub in_doubt: BTreeSet<i64>,
}

impl Mark {
    pub fn may_be(&self, value: i64) -> bool {
        value == self.acknowledged || self.in_doubt.contains(&value)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { next_id: AtomicU64::new(1), entries: Mutex::default() }
    }
}

impl Ledger {
    /// An id that nobody else has.
    pub fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The id that comes next.
    pub fn ids_so_far(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    pub fn entries(&self) -> MutexGuard<'_, Entries> {
        // An audit that panicked has changed nothing.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the insert of an id.
    pub fn id_ended(&self, id: u64, outcome: &Result<(), Trouble>) {
        let mut entries = self.entries();
        match outcome {
            Ok(()) => drop(entries.told.insert(id)),
            Err(trouble) if trouble.in_doubt => {}
            Err(_) => drop(entries.refused.insert(id)),
        }
    }

    /// One more is about to be committed.
    pub fn increment_begins(&self, counter: usize) {
        self.entries().counters[counter].in_doubt += 1;
    }

    pub fn increment_ended(&self, counter: usize, outcome: &Result<(), Trouble>) {
        let counter = &mut self.entries().counters[counter];
        match outcome {
            Ok(()) => {
                counter.in_doubt -= 1;
                counter.acknowledged += 1;
            }
            Err(trouble) if trouble.in_doubt => {}
            Err(_) => counter.in_doubt -= 1,
        }
    }

    /// The client is about to commit the next value of its row.
    pub fn mark_begins(&self, client: i32) -> i64 {
        let mut entries = self.entries();
        let mark = entries.marks.entry(client).or_default();
        let value = 1 + mark.in_doubt.last().copied().unwrap_or(0).max(mark.acknowledged);
        mark.in_doubt.insert(value);
        value
    }

    /// Nothing in doubt before an acknowledged value can come after it: it held the row's lock.
    pub fn mark_ended(&self, client: i32, value: i64, outcome: &Result<(), Trouble>) {
        let mut entries = self.entries();
        let mark = entries.marks.entry(client).or_default();
        match outcome {
            Ok(()) => *mark = Mark { acknowledged: value, in_doubt: BTreeSet::new() },
            Err(trouble) if trouble.in_doubt => {}
            Err(_) => drop(mark.in_doubt.remove(&value)),
        }
    }

    /// An answer that no server may give.
    pub fn wrong(&self, what: String) {
        let mut entries = self.entries();
        if entries.wrong.len() < MOST_WRONG {
            let phase = entries.phase.name.clone();
            entries.wrong.push(format!("{what} (during: {phase})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_doubt() -> Result<(), Trouble> {
        Err(Trouble { in_doubt: true, ..refused().unwrap_err() })
    }

    fn refused() -> Result<(), Trouble> {
        Err(Trouble { cause: "40001".into(), said: String::new(), in_doubt: false })
    }

    #[test]
    fn a_row_may_hold_what_was_acknowledged_last_or_what_is_in_doubt_since() {
        let ledger = Ledger::default();
        let write = |outcome: Result<(), Trouble>| {
            let value = ledger.mark_begins(1);
            ledger.mark_ended(1, value, &outcome);
        };
        for outcome in [Ok(()), in_doubt(), refused(), in_doubt()] {
            write(outcome);
        }
        let mark = ledger.entries().marks[&1].clone();
        assert_eq!([0, 1, 2, 3, 4].map(|value| mark.may_be(value)), [false, true, true, true, false]);
        write(Ok(()));
        let mark = ledger.entries().marks[&1].clone();
        assert_eq!([1, 2, 3, 4].map(|value| mark.may_be(value)), [false, false, false, true]);
    }

    #[test]
    fn an_increment_in_doubt_widens_the_range_and_a_refused_one_does_not() {
        let ledger = Ledger::default();
        for outcome in [Ok(()), Ok(()), in_doubt(), refused()] {
            ledger.increment_begins(0);
            ledger.increment_ended(0, &outcome);
        }
        let counter = ledger.entries().counters[0];
        assert_eq!((counter.acknowledged, counter.in_doubt), (2, 1));
    }
}
