//! How a table is compared piece by piece: the SQL that reads a piece, and what two readings of it say.
//!
//! Invariant: every row of a table is in exactly one piece, on every node, so that pieces can be compared one by one and
//! each in a snapshot of its own. With a key that orders rows alike everywhere a piece is a range of keys; without one
//! it is a range of a node's own blocks, and only the sums of all pieces can be compared: as a multiset.

use std::collections::BTreeMap;

use crate::quote::quote_literal;

/// Text of rows that one piece should hold: a statement over it takes a fraction of a second.
const PIECE_BYTES: u64 = 4 << 20;
const FIRST_ROWS: u64 = 2_000;
const FEWEST_ROWS: u64 = 16;
const MOST_ROWS: u64 = 50_000;
/// Rows of a piece whose keys are read to name those that differ.
pub const NARROW_ROWS: u64 = 2_000;
/// Blocks of 8 KiB in a piece of a table without a key.
pub const PIECE_BLOCKS: u64 = PIECE_BYTES / 8192;
/// Parts by hash in which differing rows of a table without a key are looked for.
pub const BUCKETS: usize = 1024;

/// A table as one node's snapshot shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Qualified and quoted, as are the columns.
    pub name: String,
    pub columns: Vec<String>,
    /// Name and type of each column of a key that orders rows alike on all nodes; empty when there is none.
    pub key: Vec<(String, String)>,
    /// An estimate, to show progress.
    pub bytes: u64,
    /// Another one after any change of the definition or of the file that holds the rows.
    pub shape: String,
}

/// Values of the key columns, as text.
pub type Key = Vec<String>;

/// Rows after one key and up to another; open where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    pub after: Option<&'a Key>,
    pub to: Option<&'a Key>,
}

impl Table {
    /// The key of the last row of a piece of `rows` rows; no row when fewer are left.
    pub fn boundary(&self, range: Range<'_>, rows: u64) -> String {
        let texts = self.key_list(|name| format!("{name}::text"));
        let key = self.key_list(str::to_owned);
        let offset = rows.saturating_sub(1);
        // Rows that are passed over are not made text of.
        format!(
            "SELECT {texts} FROM (SELECT {key} FROM ONLY {}{} ORDER BY {key} OFFSET {offset} LIMIT 1) AS t",
            self.name,
            self.within(range)
        )
    }

    /// [`Sums`] of a range of keys, and [`Others`](super::pace::Others).
    pub fn sums(&self, range: Range<'_>) -> String {
        sums_of(&self.rows(&self.within(range)))
    }

    /// [`Sums`] of a range of blocks, and [`Others`](super::pace::Others).
    pub fn block_sums(&self, blocks: Blocks) -> String {
        sums_of(&self.rows(&blocks.condition()))
    }

    /// Bucket and [`Sums`] of a range of blocks.
    pub fn bucket_sums(&self, blocks: Blocks) -> String {
        let rows = self.rows(&blocks.condition());
        format!("SELECT {BUCKET}, {SUMS} FROM ({rows}) AS t (row) GROUP BY 1")
    }

    /// Rows of a bucket, each with how often it is there.
    pub fn bucket(&self, bucket: usize, most: usize) -> String {
        let rows = self.rows("");
        format!(
            "SELECT left(row, 120), count(*) FROM ({rows}) AS t (row) WHERE {BUCKET} = {bucket} \
             GROUP BY row ORDER BY row COLLATE \"C\" LIMIT {most}"
        )
    }

    /// Keys of a range, each with a hash of its row.
    pub fn keys(&self, range: Range<'_>) -> String {
        let texts = self.key_list(|name| format!("{name}::text"));
        // Qualified, or the order would be that of the texts.
        let order = self.key_list(|name| format!("t.{name}"));
        let row = self.row();
        let most = 4 * NARROW_ROWS;
        format!(
            "SELECT {texts}, concat_ws(' ', hashtextextended({row}, 0), hashtextextended({row}, 7919)) \
             FROM ONLY {} AS t{} ORDER BY {order} LIMIT {most}",
            self.name,
            self.within(range)
        )
    }

    /// `id = 5`, `(a, b) = (1, x)`.
    pub fn describe(&self, key: &Key) -> String {
        match (&self.key[..], &key[..]) {
            ([(name, _)], [value]) => format!("{name} = {}", shortened(value)),
            _ => {
                let values: Vec<_> = key.iter().map(|value| shortened(value)).collect();
                format!("({}) = ({})", self.key_list(str::to_owned), values.join(", "))
            }
        }
    }

    /// A query that must not be merged with the one around it, or the text would be made anew for each use of it: that is
    /// most of what a comparison costs.
    fn rows(&self, condition: &str) -> String {
        format!("SELECT {} FROM ONLY {}{condition} OFFSET 0", self.row(), self.name)
    }

    /// Columns by name: one that is added meanwhile changes nothing.
    fn row(&self) -> String {
        format!("ROW({})::text", self.columns.join(", "))
    }

    fn within(&self, range: Range<'_>) -> String {
        let bound = |sign: &str, key: &Key| {
            let values: Vec<_> =
                key.iter().zip(&self.key).map(|(text, (_, kind))| format!("{}::{kind}", quote_literal(text))).collect();
            format!("({}) {sign} ({})", self.key_list(str::to_owned), values.join(", "))
        };
        let bounds = [range.after.map(|key| bound(">", key)), range.to.map(|key| bound("<=", key))];
        let bounds: Vec<_> = bounds.into_iter().flatten().collect();
        if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) }
    }

    fn key_list(&self, show: impl Fn(&str) -> String) -> String {
        let names: Vec<_> = self.key.iter().map(|(name, _)| show(name)).collect();
        names.join(", ")
    }
}

/// Two hashes of 64 bits over the bytes of the text, in no collation's eyes. A sum that is a numeric loses no bit, and a
/// row is hashed as a whole, so that values that have changed places between rows show. Hashes of records would cost
/// half, and see neither the scale of a numeric, nor the sign of a zero, nor that.
const SUMS: &str = "count(*), coalesce(sum(hashtextextended(row COLLATE \"C\", 0)), 0), \
    coalesce(sum(hashtextextended(row COLLATE \"C\", 7919)), 0), coalesce(sum(octet_length(row)), 0)";
/// For how many others the server works, looked at when the rows have been read. Whoever has the proxy's role does not
/// count, nor does who waits for a lock; who cannot be looked at does.
const BUSY: &str = "(SELECT count(nullif(usename <> current_user AND (state = 'active' AND \
    coalesce(wait_event_type, '') <> 'Lock' OR query = '<insufficient privilege>'), false)) FROM pg_stat_activity)";
const BUCKET: &str = "(hashtextextended(row COLLATE \"C\", 0) & 1023)";

fn sums_of(rows: &str) -> String {
    format!("SELECT {SUMS}, {BUSY} FROM ({rows}) AS t (row)")
}

/// Blocks of a table's file on one node, `from` included, `to` not; open where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    pub from: u64,
    pub to: Option<u64>,
}

impl Blocks {
    fn condition(self) -> String {
        let from = format!(" WHERE ctid >= '({},0)'", self.from);
        self.to.map_or_else(|| from.clone(), |to| format!("{from} AND ctid < '({to},0)'"))
    }
}

/// A count and two sums of hashes: whatever the order of the rows, and however often one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub rows: u64,
    pub hashes: [i128; 2],
    pub bytes: u64,
}

impl Sums {
    /// How many columns of an answer they are.
    pub const COLUMNS: usize = 4;

    /// From the columns of an answer; `None` when they are not numbers.
    pub fn parse<'a>(mut columns: impl Iterator<Item = &'a str>) -> Option<Self> {
        let rows = columns.next()?.parse().ok()?;
        let hashes = [columns.next()?.parse().ok()?, columns.next()?.parse().ok()?];
        Some(Self { rows, hashes, bytes: columns.next()?.parse().ok()? })
    }

    /// The bytes of equal rows are the same anyway.
    pub fn same_rows(self, other: Sums) -> bool {
        self.rows == other.rows && self.hashes == other.hashes
    }

    pub fn add(&mut self, other: Sums) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        for (sum, more) in self.hashes.iter_mut().zip(other.hashes) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// How many rows the next piece has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Default for Size {
    fn default() -> Self {
        Self(FIRST_ROWS)
    }
}

impl Size {
    /// After a piece: wide rows make small pieces.
    pub fn after(self, piece: Sums) -> Self {
        let fitting = PIECE_BYTES * piece.rows.max(1) / piece.bytes.max(1);
        Self(fitting.clamp(FEWEST_ROWS, MOST_ROWS).min(self.0 * 4))
    }
}

/// What is wrong with one row of a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Differs,
    Missing,
    Extra,
}

/// Rows by key, with the hash of each.
pub type Keyed = BTreeMap<Key, String>;

/// Keys at which two readings of the same range part.
pub fn part(here: &Keyed, there: &Keyed) -> Vec<(Key, Wrong)> {
    let mut found = Vec::new();
    for (key, hash) in here {
        match there.get(key) {
            Some(other) if other == hash => {}
            Some(_) => found.push((key.clone(), Wrong::Differs)),
            None => found.push((key.clone(), Wrong::Missing)),
        }
    }
    found.extend(there.keys().filter(|key| !here.contains_key(*key)).map(|key| (key.clone(), Wrong::Extra)));
    found
}

/// The beginning of a value: an operator reads it.
fn shortened(value: &str) -> String {
    let mut short: String = value.chars().take(60).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let key = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        Table {
            name: "public.t".into(),
            columns: vec!["a".into(), "b".into(), "c".into()],
            key: vec![key("a", "integer"), key("b", "text")],
            bytes: 0,
            shape: String::new(),
        }
    }

    #[test]
    fn a_piece_begins_after_the_last_key_of_the_one_before() {
        let (after, to) = (vec!["1".to_owned(), "it's".to_owned()], vec!["2".to_owned(), "x".to_owned()]);
        let range = Range { after: Some(&after), to: Some(&to) };
        let bounds = "WHERE (a, b) > ('1'::integer, 'it''s'::text) AND (a, b) <= ('2'::integer, 'x'::text)";
        assert!(table().sums(range).contains(bounds), "{}", table().sums(range));
        assert!(table().boundary(range, 10).ends_with("ORDER BY a, b OFFSET 9 LIMIT 1) AS t"));
        assert!(!table().sums(Range::default()).contains("WHERE"));
    }

    #[test]
    fn blocks_are_read_from_one_to_before_another() {
        let sql = table().block_sums(Blocks { from: 512, to: Some(1024) });
        assert!(sql.contains("WHERE ctid >= '(512,0)' AND ctid < '(1024,0)'"), "{sql}");
    }

    #[test]
    fn each_kind_of_wrong_row_is_told_apart() {
        let rows = |rows: &[(&str, &str)]| -> Keyed {
            rows.iter().map(|(key, hash)| (vec![(*key).to_owned()], (*hash).to_owned())).collect()
        };
        let found = part(&rows(&[("1", "x"), ("2", "y"), ("3", "z")]), &rows(&[("1", "x"), ("2", "Y"), ("4", "z")]));
        let key = |key: &str| vec![key.to_owned()];
        assert_eq!(found, [(key("2"), Wrong::Differs), (key("3"), Wrong::Missing), (key("4"), Wrong::Extra)]);
    }

    #[test]
    fn wide_rows_make_small_pieces_and_narrow_ones_grow_step_by_step() {
        let piece = |rows, bytes| Sums { rows, bytes, ..Sums::default() };
        assert_eq!(Size(2000).after(piece(100, 400 << 20)), Size(FEWEST_ROWS));
        assert_eq!(Size(2000).after(piece(2000, 4000)), Size(8000));
        assert_eq!(Size(50_000).after(piece(50_000, 50_000)), Size(MOST_ROWS));
        assert_eq!(Size(2000).after(Sums::default()), Size(8000));
    }

    #[test]
    fn sums_of_pieces_add_up_to_those_of_the_whole() {
        let mut whole = Sums::parse(["2", "-5", "7", "30"].into_iter()).unwrap();
        whole.add(Sums::parse(["1", "5", "1", "10"].into_iter()).unwrap());
        assert_eq!(whole, Sums { rows: 3, hashes: [0, 8], bytes: 40 });
        assert_eq!(Sums::parse(["2", "x"].into_iter()), None);
    }

    #[test]
    fn a_key_is_named_with_its_columns() {
        assert_eq!(table().describe(&vec!["1".into(), "x".into()]), "(a, b) = (1, x)");
    }
}
