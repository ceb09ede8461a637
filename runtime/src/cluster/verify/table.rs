//! One table: piece by piece, and where a piece differs, down to its rows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use futures_util::future::join_all;
use lockstep_core::cluster::pace::{Others, READERS};
use lockstep_core::cluster::pieces::{
    self, BUCKETS, Blocks, Key, Keyed, NARROW_ROWS, PIECE_BLOCKS, Range, Size, Sums, Table, Wrong,
};
use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryRow;

use super::Verification;
use super::database::{LOOK_AGE, TABLES, is_an_answer};
use super::look::{Lanes, Look};
use crate::clock;
use crate::cluster::command::Trouble;
use crate::service::ServiceFault;

/// Keys and ranges that are named for a table; the rest is counted.
const NAMED: usize = 5;
/// Rows of a bucket that are looked at.
const BUCKET_ROWS: usize = 1000;

pub enum Outcome {
    Done,
    /// The look has become old: go on in a new one.
    OldLook {
        after: Option<Key>,
    },
    /// Its definition or its file changed, or somebody has it locked: begin anew in a new look.
    Changed {
        why: String,
    },
}

/// Why a reading does not go on.
enum Stopped {
    OldLook(Option<Key>),
    Failed(usize, ServiceFault),
}

type Read<T> = Result<T, Stopped>;

/// A table being read.
struct Reading<'a> {
    verification: &'a Verification<'a>,
    look: &'a Look,
    lanes: &'a Lanes,
    /// One for each node.
    tables: &'a [Table],
    /// Rows of the leader.
    rows: Cell<u64>,
    /// By follower, from 1.
    found: RefCell<BTreeMap<usize, Found>>,
}

/// What every node says of a piece, and whether any of them works for others.
struct Piece {
    sums: Vec<Sums>,
    others: Others,
}

/// What is wrong with the table on one follower.
#[derive(Debug, Default)]
struct Found {
    named: Vec<String>,
    more: u64,
}

impl Verification<'_> {
    pub async fn table(
        &self,
        subject: &str,
        look: &Look,
        lanes: &Lanes,
        tables: &[Table],
        after: Option<Key>,
    ) -> Result<Outcome, Trouble> {
        let (rows, found) = (Cell::default(), RefCell::default());
        let reading = Reading { verification: self, look, lanes, tables, rows, found };
        let read = match tables[0].key.is_empty() {
            true => reading.blocks().await,
            false => reading.keys(after).await,
        };
        let outcome = match read {
            Ok(()) => Outcome::Done,
            Err(Stopped::OldLook(after)) => Outcome::OldLook { after },
            Err(Stopped::Failed(_, fault)) if is_an_answer(&fault) => {
                return Ok(Outcome::Changed { why: fault.to_string() });
            }
            Err(Stopped::Failed(node, fault)) => return Err(self.unreadable(node, &fault)),
        };
        let found = reading.found.take();
        if !found.is_empty() && reading.has_another_shape().await {
            return Ok(Outcome::Changed { why: "its definition changed again and again".into() });
        }
        self.tally.borrow_mut().rows += reading.rows.get();
        for (follower, found) in &found {
            self.differs(*follower, found.sentence(subject));
        }
        Ok(outcome)
    }
}

impl Reading<'_> {
    /// By key: the leader says where a piece ends, all nodes say what is in it, while the next piece begins.
    async fn keys(&self, after: Option<Key>) -> Read<()> {
        let ahead = Mutex::new(Some(after));
        let size = Cell::new(Size::default());
        let reader = async || {
            while let Some((after, to)) = self.next_piece(&ahead, size.get()).await? {
                match self.piece(Range { after: after.as_ref(), to: to.as_ref() }).await {
                    Ok(sums) => size.set(size.get().after(sums)),
                    Err(stopped) => {
                        *ahead.lock().await = None;
                        return Err(stopped);
                    }
                }
            }
            Ok(())
        };
        all_of(join_all((0..READERS).map(|_| reader())).await)
    }

    /// From `ahead` to where a piece of that size ends. None is left after the last one, nor when the reading stops.
    async fn next_piece(
        &self,
        ahead: &Mutex<Option<Option<Key>>>,
        size: Size,
    ) -> Read<Option<(Option<Key>, Option<Key>)>> {
        let mut ahead = ahead.lock().await;
        let Some(after) = ahead.take() else { return Ok(None) };
        if self.look.taken.elapsed() > LOOK_AGE {
            return Err(Stopped::OldLook(after));
        }
        let to = self.boundary(Range { after: after.as_ref(), to: None }, size.0).await?;
        *ahead = to.clone().map(Some);
        Ok(Some((after, to)))
    }

    async fn piece(&self, range: Range<'_>) -> Read<Sums> {
        let begun = clock::now();
        let Piece { sums, others } = self.sums(range).await?;
        self.rows.set(self.rows.get() + sums[0].rows);
        for follower in unequal(&sums) {
            self.narrow(follower, range, &sums).await?;
        }
        self.verification.paced(sums[0], begun.elapsed(), others).await;
        Ok(sums[0])
    }

    /// Names the rows that differ in a range, or the range when it holds too many.
    async fn narrow(&self, follower: usize, range: Range<'_>, sums: &[Sums]) -> Read<()> {
        if let Some(found) = self.found.borrow_mut().get_mut(&follower).filter(|found| found.named.len() >= NAMED) {
            found.more += 1;
            return Ok(());
        }
        if sums[0].rows.max(sums[follower].rows) <= NARROW_ROWS {
            return self.name_rows(follower, range).await;
        }
        let mut after = range.after.cloned();
        loop {
            let to = self.boundary(Range { after: after.as_ref(), to: range.to }, NARROW_ROWS).await?;
            let to = to.or_else(|| range.to.cloned());
            let part = Range { after: after.as_ref(), to: to.as_ref() };
            let sums = self.sums(part).await?.sums;
            match (sums[0].same_rows(sums[follower]), sums[0].rows.max(sums[follower].rows) <= 2 * NARROW_ROWS) {
                (true, _) => {}
                (false, true) => self.name_rows(follower, part).await?,
                (false, false) => self.name_range(follower, part, &sums),
            }
            if to.as_ref() == range.to {
                return Ok(());
            }
            after = to;
        }
    }

    async fn name_rows(&self, follower: usize, range: Range<'_>) -> Read<()> {
        let sql = self.tables[0].keys(range);
        let here = keyed(&self.ask(0, &sql).await?);
        let there = keyed(&self.ask(follower, &sql).await?);
        let (leader, name) = self.verification.names(follower);
        let mut found = self.found.borrow_mut();
        let found = found.entry(follower).or_default();
        for (key, wrong) in pieces::part(&here, &there) {
            let key = self.tables[0].describe(&key);
            found.add(match wrong {
                Wrong::Differs => format!("{key} differs"),
                Wrong::Missing => format!("{key} only on {leader}"),
                Wrong::Extra => format!("{key} only on {name}"),
            });
        }
        Ok(())
    }

    fn name_range(&self, follower: usize, range: Range<'_>, sums: &[Sums]) {
        let (leader, name) = self.verification.names(follower);
        let table = &self.tables[0];
        let from = range.after.map_or("the beginning".into(), |key| format!("after {}", table.describe(key)));
        let to = range.to.map_or("the end".into(), |key| table.describe(key));
        let (here, there) = (sums[0].rows, sums[follower].rows);
        let sentence = format!("from {from} to {to}: {here} rows on {leader}, {there} on {name}");
        self.found.borrow_mut().entry(follower).or_default().add(sentence);
    }

    /// Without a key: every node adds up its own blocks.
    async fn blocks(&self) -> Read<()> {
        let mut files = Vec::new();
        for node in 0..self.tables.len() {
            files.push(self.pieces(node).await?);
        }
        let ahead = RefCell::new(0..files.iter().map(Vec::len).max().unwrap_or(0));
        let whole = RefCell::new(vec![Sums::default(); files.len()]);
        let reader = async || {
            let next = || ahead.borrow_mut().next();
            while let Some(number) = next() {
                let begun = clock::now();
                let piece = self.block_sums(&files, number).await.inspect_err(|_| *ahead.borrow_mut() = 0..0)?;
                let Piece { sums: piece, others } = piece;
                whole.borrow_mut().iter_mut().zip(&piece).for_each(|(sums, more)| sums.add(*more));
                // A file may be longer on one node.
                let largest = piece.iter().max_by_key(|sums| sums.bytes);
                self.verification.paced(largest.copied().unwrap_or_default(), begun.elapsed(), others).await;
            }
            Ok(())
        };
        all_of(join_all((0..READERS).map(|_| reader())).await)?;
        let whole = whole.take();
        self.rows.set(whole[0].rows);
        for follower in unequal(&whole) {
            self.name_copies(follower, whole[0].rows, whole[follower].rows).await?;
        }
        Ok(())
    }

    async fn block_sums(&self, files: &[Vec<Blocks>], number: usize) -> Read<Piece> {
        let blocks = |node: usize| files[node].get(number).map(|blocks| self.tables[0].block_sums(*blocks));
        let lines = self.lanes.take().await;
        let answers = self.look.ask_each(&lines, blocks).await;
        answers.map(Piece::of).map_err(|(node, fault)| Stopped::Failed(node, fault))
    }

    /// Rows that were there when the look was taken are in blocks that the file has had since then.
    async fn pieces(&self, node: usize) -> Read<Vec<Blocks>> {
        let name = lockstep_core::quote::quote_literal(&self.tables[0].name);
        let rows = self.ask(node, &format!("SELECT pg_relation_size({name}::regclass) / 8192")).await?;
        let blocks: u64 = rows.first().and_then(|row| row.get(0)?.parse().ok()).unwrap_or(0);
        let last = blocks / PIECE_BLOCKS;
        let piece = move |n| Blocks { from: n * PIECE_BLOCKS, to: (n < last).then_some((n + 1) * PIECE_BLOCKS) };
        Ok((0..=last).map(piece).collect())
    }

    /// Looks into the first part of the rows by hash that differs.
    async fn name_copies(&self, follower: usize, here: u64, there: u64) -> Read<()> {
        let (leader, name) = self.verification.names(follower);
        let (leader, name) = (leader.to_owned(), name.to_owned());
        let parts = [self.buckets(0).await?, self.buckets(follower).await?];
        let differ: Vec<_> = (0..BUCKETS).filter(|bucket| !parts[0][*bucket].same_rows(parts[1][*bucket])).collect();
        let mut found = Found::default();
        found.add(format!("{here} rows on {leader}, {there} on {name}"));
        for bucket in differ.iter().take(NAMED) {
            let sql = self.tables[0].bucket(*bucket, BUCKET_ROWS);
            let here = copies(&self.ask(0, &sql).await?);
            let there = copies(&self.ask(follower, &sql).await?);
            let rows: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
            let times = |rows: &BTreeMap<String, u64>, row| rows.get(row).copied().unwrap_or(0);
            for row in rows {
                let (a, b) = (times(&here, row), times(&there, row));
                if a != b {
                    found.add(format!("{row} {a} times on {leader}, {b} times on {name}"));
                }
            }
        }
        self.found.borrow_mut().insert(follower, found);
        Ok(())
    }

    async fn buckets(&self, node: usize) -> Read<Vec<Sums>> {
        let mut buckets = vec![Sums::default(); BUCKETS];
        for blocks in self.pieces(node).await? {
            for row in self.ask(node, &self.tables[0].bucket_sums(blocks)).await? {
                let bucket: usize = row.get(0).and_then(|bucket| bucket.parse().ok()).unwrap_or(0);
                if let (Some(sums), Some(more)) = (buckets.get_mut(bucket), sums_from(&row, 1)) {
                    sums.add(more);
                }
            }
        }
        Ok(buckets)
    }

    async fn boundary(&self, range: Range<'_>, rows: u64) -> Read<Option<Key>> {
        let found = self.ask(0, &self.tables[0].boundary(range, rows)).await?;
        let key = |row: &SimpleQueryRow| (0..self.tables[0].key.len()).map(|n| row.get(n).map(str::to_owned)).collect();
        Ok(found.first().and_then(key))
    }

    async fn sums(&self, range: Range<'_>) -> Read<Piece> {
        let lines = self.lanes.take().await;
        let answers = self.look.ask_all(&lines, &self.tables[0].sums(range)).await;
        answers.map(Piece::of).map_err(|(node, fault)| Stopped::Failed(node, fault))
    }

    async fn ask(&self, node: usize, sql: &str) -> Read<Vec<SimpleQueryRow>> {
        let lines = self.lanes.take().await;
        self.look.ask(&lines, node, sql).await.map_err(|fault| Stopped::Failed(node, fault))
    }

    /// A rewritten or emptied table shows old snapshots nothing of what it held: what was found then means nothing.
    async fn has_another_shape(&self) -> bool {
        let lines = self.lanes.take().await;
        for (node, table) in self.tables.iter().enumerate() {
            let name = lockstep_core::quote::quote_literal(&table.name);
            let sql =
                format!("SELECT shape FROM ({TABLES}) AS t (name, columns, key, bytes, shape) WHERE name = {name}");
            let now = lines.ask(node, &sql).await.unwrap_or_default();
            if now.first().and_then(|row| row.get(0)) != Some(&table.shape) {
                return true;
            }
        }
        false
    }
}

impl Found {
    fn add(&mut self, what: String) {
        if self.named.len() < NAMED { self.named.push(what) } else { self.more += 1 }
    }

    fn sentence(&self, subject: &str) -> String {
        let more = if self.more == 0 { String::new() } else { format!("; and {} more rows or ranges", self.more) };
        format!("{subject} differs: {}{more}", self.named.join(", "))
    }
}

/// What all readers of a table say when they have ended. One that fails does not end another in the middle of a question:
/// that would leave its transaction open.
fn all_of(readers: Vec<Read<()>>) -> Read<()> {
    let stopped = readers.into_iter().filter_map(Result::err);
    stopped.max_by_key(|stopped| matches!(stopped, Stopped::Failed(..))).map_or(Ok(()), Err)
}

fn unequal(sums: &[Sums]) -> Vec<usize> {
    (1..sums.len()).filter(|follower| !sums[0].same_rows(sums[*follower])).collect()
}

impl Piece {
    fn of(answers: Vec<Vec<SimpleQueryRow>>) -> Self {
        let sums = |rows: &Vec<SimpleQueryRow>| rows.first().and_then(|row| sums_from(row, 0)).unwrap_or_default();
        let others = |rows: &Vec<SimpleQueryRow>| Others::parse(rows.first().and_then(|row| row.get(Sums::COLUMNS)));
        Self { sums: answers.iter().map(sums).collect(), others: answers.iter().map(others).max().unwrap_or_default() }
    }
}

fn sums_from(row: &SimpleQueryRow, first: usize) -> Option<Sums> {
    Sums::parse((first..row.len()).map_while(|column| row.get(column)))
}

fn keyed(rows: &[SimpleQueryRow]) -> Keyed {
    let text = |row: &SimpleQueryRow, column| row.get(column).unwrap_or_default().to_owned();
    let pair = |row: &SimpleQueryRow| {
        let hash = row.len().saturating_sub(1);
        ((0..hash).map(|column| text(row, column)).collect(), text(row, hash))
    };
    rows.iter().map(pair).collect()
}

fn copies(rows: &[SimpleQueryRow]) -> BTreeMap<String, u64> {
    let pair = |row: &SimpleQueryRow| Some((row.get(0)?.to_owned(), row.get(1)?.parse().ok()?));
    rows.iter().filter_map(pair).collect()
}
