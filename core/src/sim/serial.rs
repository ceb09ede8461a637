//! Whether transactions at SERIALIZABLE have run as if one after the other, judged at COMMIT.
//!
//! Of any that have not, one has read what a second one was about to change, and that one what a third one was, which
//! commits before the others (Cahill, Fekete, and the documentation's "Serializable Isolation Level"). PostgreSQL also ends
//! some that would have been harmless, and so does this: what was read is known by key, or as the whole table.

use std::collections::BTreeSet;

use super::sql::{Expression, Operator, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    Table(usize),
    Key(usize, Value),
}

/// What a transaction has read and written, be it rolled back to a savepoint or not.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    reads: BTreeSet<Read>,
    writes: BTreeSet<(usize, Value)>,
}

impl Footprint {
    pub(super) fn reads(&mut self, table: usize, filter: Option<&Expression>, parameters: &[Value]) {
        let key = filter.and_then(|filter| key(filter, parameters));
        self.reads.insert(key.map_or(Read::Table(table), |key| Read::Key(table, key)));
    }

    pub(super) fn writes(&mut self, table: usize, row: Option<&[Value]>) {
        self.writes.extend(row.map(|row| (table, row[0])));
    }

    fn has_read_before(&self, writer: &Self) -> bool {
        let read = |(table, key): &(usize, Value)| {
            self.reads.contains(&Read::Table(*table)) || self.reads.contains(&Read::Key(*table, *key))
        };
        writer.writes.iter().any(read)
    }
}

/// The value that a condition wants of the key, if there is one.
fn key(filter: &Expression, parameters: &[Value]) -> Option<Value> {
    let Expression::Binary(operator, left, right) = filter else { return None };
    match (operator, &**left, &**right) {
        (Operator::And, left, right) => key(left, parameters).or_else(|| key(right, parameters)),
        (Operator::Equal, Expression::Column(_, name), Expression::Constant(value)) if name == "id" => Some(*value),
        (Operator::Equal, Expression::Column(_, name), Expression::Parameter(n)) if name == "id" => {
            parameters.get(*n).copied()
        }
        _ => None,
    }
}

#[derive(Debug)]
struct Committed {
    commit: u64,
    footprint: Footprint,
    /// It has read what another one was about to change that has committed before it.
    overtaken: bool,
}

#[derive(Debug, Default)]
pub(super) struct Judge {
    committed: Vec<Committed>,
}

impl Judge {
    /// The transaction commits next, if it may.
    pub(super) fn lets_commit(&mut self, footprint: Footprint, snapshot: u64, commit: u64) -> bool {
        let concurrent = || self.committed.iter().filter(|other| other.commit > snapshot);
        let mut before = concurrent().filter(|other| footprint.has_read_before(&other.footprint)).peekable();
        let overtaken = before.peek().is_some();
        let is_read = concurrent().any(|other| other.footprint.has_read_before(&footprint));
        if overtaken && is_read || before.any(|other| other.overtaken) {
            return false;
        }
        self.committed.push(Committed { commit, footprint, overtaken });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reads: &[i64], writes: &[i64]) -> Footprint {
        let reads = reads.iter().map(|key| Read::Key(0, Some(*key))).collect();
        Footprint { reads, writes: writes.iter().map(|key| (0, Some(*key))).collect() }
    }

    #[test]
    fn the_second_half_of_a_write_skew_does_not_commit() {
        let mut judge = Judge::default();
        assert!(judge.lets_commit(of(&[1, 2], &[1]), 0, 1));
        assert!(!judge.lets_commit(of(&[1, 2], &[2]), 0, 2));
        assert!(judge.lets_commit(of(&[1, 2], &[2]), 1, 2), "one after the other");
    }

    #[test]
    fn one_that_only_reads_does_not_see_what_never_was() {
        // The batch of the documentation's example: 2 reads what 3 closes, and 1 sees 3 and not 2.
        let mut judge = Judge::default();
        assert!(judge.lets_commit(of(&[3], &[3]), 0, 1));
        assert!(judge.lets_commit(of(&[3], &[2]), 0, 2));
        assert!(!judge.lets_commit(of(&[3, 2], &[]), 1, 3));
    }

    #[test]
    fn one_that_overwrites_nothing_that_was_read_commits() {
        let mut judge = Judge::default();
        assert!(judge.lets_commit(of(&[1], &[2]), 0, 1));
        assert!(judge.lets_commit(of(&[2], &[3]), 0, 2));
    }
}
