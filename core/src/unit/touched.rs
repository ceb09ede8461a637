//! Which rows a unit has changed, as far as another may have changed the same.
//!
//! Rows are told by hash: of the table, of the key's columns, of its values. Two rows of a table that were found by different
//! keys may be the same one. Inserted rows are not noted: a second one of the same key is refused by the server.

use std::hash::{DefaultHasher, Hash, Hasher};

/// More rows than these are as good as all.
const BOUND: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    rows: Vec<Row>,
    /// Anything may have been changed.
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    table: u64,
    key: u64,
    values: u64,
}

impl Touched {
    /// One row of a table, by the values of some key of its.
    pub fn row<'a>(
        table: &str,
        key: impl IntoIterator<Item = &'a str>,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut touched = Self::default();
        touched.note(table, key, values);
        touched
    }

    pub fn note<'a>(
        &mut self,
        table: &str,
        key: impl IntoIterator<Item = &'a str>,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) {
        // A table is the same with and without those that inherit from it.
        let table = hash([table.strip_prefix("ONLY ").unwrap_or(table)]);
        let row = Row { table, key: hash(key), values: hash(values) };
        if self.rows.len() < BOUND { self.rows.push(row) } else { self.all = true }
    }

    pub fn note_all(&mut self) {
        self.all = true;
    }

    pub fn is_all(&self) -> bool {
        self.all
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.all
    }

    /// Forgets the rows after so many.
    pub fn truncate(&mut self, length: usize) {
        self.rows.truncate(length);
    }

    /// Whether a row of the one may be a row of the other.
    pub fn meets(&self, other: &Self) -> bool {
        let same = |a: &Row, b: &Row| a.table == b.table && (a.key != b.key || a.values == b.values);
        if self.all || other.all {
            return !self.is_empty() && !other.is_empty();
        }
        self.rows.iter().any(|a| other.rows.iter().any(|b| same(a, b)))
    }
}

fn hash<T: Hash>(parts: impl IntoIterator<Item = T>) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.into_iter().for_each(|part| part.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &str, key: &str, value: &[u8]) -> Touched {
        Touched::row(table, [key], [value])
    }

    #[test]
    fn rows_meet_when_they_may_be_the_same() {
        let one = row("t", "id", b"1");
        assert!(one.meets(&row("t", "id", b"1")) && one.meets(&row("ONLY t", "id", b"1")));
        assert!(!one.meets(&row("t", "id", b"2")) && !one.meets(&row("u", "id", b"1")));
        assert!(one.meets(&row("t", "code", b"7")), "found by another key");
    }

    #[test]
    fn what_is_not_known_meets_everything_but_nothing() {
        let mut all = Touched::default();
        assert!(!all.meets(&row("t", "id", b"1")));
        all.note_all();
        assert!(all.meets(&row("t", "id", b"1")) && !all.meets(&Touched::default()));
        let mut many = Touched::default();
        (0..=BOUND).for_each(|n| many.note("u", ["id"], [&n.to_be_bytes()[..]]));
        assert!(many.meets(&row("t", "id", b"1")));
    }
}
