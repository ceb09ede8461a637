//! The rows of one model node: versions, locks, and transactions that wait for each other.
//!
//! A row is a chain of versions, the newest last. Those of a transaction that is open stand at the end and are taken off
//! again when it rolls back, so that nothing of an aborted one is ever seen. Row locks are held to the end of the
//! transaction, also when the row no longer matched what it was locked for.

use std::collections::{BTreeMap, BTreeSet};

use super::advisory::Locks;
use super::captured::{Telling, Touched};
use super::evaluate::{Error, error};
use super::rng::Rng;
use super::schema::{SEQUENCES, TABLES, table};
use super::serial::{Footprint, Judge};
use super::sql::{Level, Strength, Value};
use crate::cluster::sequence::{Position, Positions};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TxId(pub u64);

/// Who made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The open transaction, in this statement of it.
    Open(TxId, u32),
    /// In the order of commits.
    Committed(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Version {
    /// None: the row is deleted.
    pub values: Option<Vec<Value>>,
    pub by: By,
}

#[derive(Debug, Default)]
pub(super) struct Chain {
    pub versions: Vec<Version>,
    locks: Vec<(TxId, Strength)>,
}

/// A row's place, the same for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub table: usize,
    pub row: usize,
}

#[derive(Debug)]
enum Undo {
    Version(Place),
    Lock(Place, Option<Strength>),
    /// A trigger of ours was to fire.
    Touched,
    /// An advisory lock with this key was taken.
    Advisory(i64),
}

#[derive(Debug)]
pub(super) struct Tx {
    pub id: TxId,
    pub level: Level,
    /// From REPEATABLE READ on: as of the first statement.
    pub snapshot: Option<u64>,
    pub command: u32,
    pub footprint: Footprint,
    /// What triggers of ours are still to tell of.
    touched: Vec<Touched>,
    undo: Vec<Undo>,
    savepoints: Vec<(String, usize)>,
}

#[derive(Debug)]
pub(super) struct Store {
    tables: Vec<Vec<Chain>>,
    sequences: BTreeMap<String, Position>,
    commits: u64,
    transactions: u64,
    judge: Judge,
    /// What only SERIALIZABLE prevents has come about.
    pub skewed: bool,
    pub telling: Telling,
    pub advisory: Locks,
    open: BTreeSet<TxId>,
    /// Counts the moments in which locks were let go.
    pub releases: u64,
    waits: BTreeMap<TxId, TxId>,
    /// Decides in which order rows are found that nobody has ordered: another one on each node.
    salt: u64,
    pub random: Rng,
}

impl Store {
    pub(super) fn new(mut random: Rng) -> Self {
        let start = Position { last: 1, called: false };
        Self {
            tables: TABLES.iter().map(|_| Vec::new()).collect(),
            sequences: SEQUENCES.iter().map(|name| ((*name).to_owned(), start)).collect(),
            commits: 0,
            transactions: 0,
            judge: Judge::default(),
            skewed: false,
            telling: Telling::default(),
            advisory: Locks::default(),
            open: BTreeSet::new(),
            releases: 0,
            waits: BTreeMap::new(),
            salt: random.next(),
            random,
        }
    }

    /// A row that was always there.
    pub(super) fn seed(&mut self, name: &str, values: Vec<Value>) {
        let version = Version { values: Some(values), by: By::Committed(0) };
        let table = table(name).expect("a table of the schema");
        self.tables[table].push(Chain { versions: vec![version], locks: Vec::new() });
    }

    pub(super) fn begin(&mut self, level: Level) -> Tx {
        self.transactions += 1;
        let id = TxId(self.transactions);
        self.open.insert(id);
        let footprint = Footprint::default();
        Tx {
            id,
            level,
            snapshot: None,
            command: 0,
            footprint,
            touched: Vec::new(),
            undo: Vec::new(),
            savepoints: Vec::new(),
        }
    }

    /// It may fail, at SERIALIZABLE, and is rolled back then.
    pub(super) fn commit(&mut self, mut tx: Tx) -> Result<(), Error> {
        if let (Level::Serializable, Some(snapshot)) = (tx.level, tx.snapshot)
            && !self.judge.lets_commit(std::mem::take(&mut tx.footprint), snapshot, self.commits + 1)
        {
            self.roll_back(tx);
            return Err(error("40001", "could not serialize access due to read/write dependencies among transactions"));
        }
        self.commits += 1;
        let commit = By::Committed(self.commits);
        for undo in &tx.undo {
            if let Undo::Advisory(key) = undo {
                self.advisory.undo(*key, tx.id);
            }
            let (Undo::Version(place) | Undo::Lock(place, _)) = undo else { continue };
            let chain = self.chain_mut(*place);
            chain.locks.retain(|(holder, _)| *holder != tx.id);
            for version in chain.versions.iter_mut().rev() {
                match version.by {
                    By::Open(..) => version.by = commit,
                    By::Committed(_) => break,
                }
            }
        }
        self.open.remove(&tx.id);
        self.releases += 1;
        let duty = table("duty");
        let of_duty = |undo: &Undo| matches!(undo, Undo::Version(place) if Some(place.table) == duty);
        if tx.undo.iter().any(of_duty) {
            self.skewed |= !self.committed(duty.unwrap_or_default()).iter().any(|row| row[1] == Some(1));
        }
        Ok(())
    }

    pub(super) fn roll_back(&mut self, mut tx: Tx) {
        self.undo_to(&mut tx, 0);
        self.open.remove(&tx.id);
    }

    fn undo_to(&mut self, tx: &mut Tx, length: usize) {
        self.releases += 1;
        for undo in tx.undo.drain(length..).rev() {
            match undo {
                Undo::Version(place) => drop(self.chain_mut(place).versions.pop()),
                Undo::Lock(place, before) => {
                    let locks = &mut self.chain_mut(place).locks;
                    locks.retain(|(holder, _)| *holder != tx.id);
                    locks.extend(before.map(|strength| (tx.id, strength)));
                }
                // One that has fired does not come back.
                Undo::Touched if self.telling != Telling::AsTheyWere => drop(tx.touched.pop()),
                Undo::Touched => {}
                Undo::Advisory(key) => self.advisory.undo(key, tx.id),
            }
        }
    }

    pub(super) fn savepoint(&self, tx: &mut Tx, name: String) {
        tx.savepoints.push((name, tx.undo.len()));
    }

    pub(super) fn mark(&self, tx: &Tx) -> usize {
        tx.undo.len()
    }

    /// As a block does that catches an error.
    pub(super) fn back_to_mark(&mut self, tx: &mut Tx, mark: usize) {
        self.undo_to(tx, mark);
    }

    /// False: there is none of this name.
    pub(super) fn back_to(&mut self, tx: &mut Tx, name: &str) -> bool {
        let Some(at) = tx.savepoints.iter().rposition(|(known, _)| known == name) else { return false };
        tx.savepoints.truncate(at + 1);
        let length = tx.savepoints[at].1;
        self.undo_to(tx, length);
        true
    }

    pub(super) fn release(&self, tx: &mut Tx, name: &str) -> bool {
        let at = tx.savepoints.iter().rposition(|(known, _)| known == name);
        at.is_some_and(|at| {
            tx.savepoints.truncate(at);
            true
        })
    }

    /// An error undoes what came after the last savepoint, or everything.
    pub(super) fn fail(&mut self, tx: &mut Tx) {
        let length = tx.savepoints.last().map_or(0, |(_, length)| *length);
        self.undo_to(tx, length);
        tx.touched.clear();
    }

    /// A row of a table that has our trigger was changed.
    pub(super) fn touch(&self, tx: &mut Tx, touched: Touched) {
        tx.touched.push(touched);
        tx.undo.push(Undo::Touched);
    }

    /// What a statement that begins now sees.
    pub(super) fn snapshot(&self, tx: &mut Tx) -> u64 {
        tx.command += 1;
        match tx.level {
            Level::ReadCommitted => self.commits,
            Level::RepeatableRead | Level::Serializable => *tx.snapshot.get_or_insert(self.commits),
        }
    }

    pub(super) fn chain(&self, place: Place) -> &Chain {
        &self.tables[place.table][place.row]
    }

    fn chain_mut(&mut self, place: Place) -> &mut Chain {
        &mut self.tables[place.table][place.row]
    }

    /// The rows of a table as this node happens to come across them.
    pub(super) fn places(&self, table: usize) -> Vec<Place> {
        let mut places: Vec<_> = (0..self.tables[table].len()).map(|row| Place { table, row }).collect();
        places.sort_by_key(|place| Rng::new(self.salt ^ place.row as u64).next());
        places
    }

    /// The holder whose end has to be waited for, if there is one.
    pub(super) fn lock(&mut self, tx: &mut Tx, place: Place, strength: Strength) -> Result<(), TxId> {
        let chain = self.chain_mut(place);
        let other = chain.locks.iter().find(|(holder, held)| *holder != tx.id && conflict(*held, strength));
        if let Some((holder, _)) = other {
            return Err(*holder);
        }
        let own = chain.locks.iter_mut().find(|(holder, _)| *holder == tx.id);
        let before = own.as_ref().map(|(_, held)| *held);
        match own {
            Some((_, held)) if *held >= strength => return Ok(()),
            Some((_, held)) => *held = strength,
            None => chain.locks.push((tx.id, strength)),
        }
        tx.undo.push(Undo::Lock(place, before));
        Ok(())
    }

    pub(super) fn write(&mut self, tx: &mut Tx, place: Place, values: Option<Vec<Value>>) {
        let by = By::Open(tx.id, tx.command);
        for row in [self.chain(place).latest(tx.id), values.as_deref()] {
            tx.footprint.writes(place.table, row);
        }
        self.chain_mut(place).versions.push(Version { values, by });
        tx.undo.push(Undo::Version(place));
    }

    pub(super) fn insert(&mut self, tx: &mut Tx, table: usize, values: Vec<Value>) {
        let place = Place { table, row: self.tables[table].len() };
        self.tables[table].push(Chain::default());
        self.write(tx, place, Some(values));
    }

    /// `tx`, and its session with it, waits for `holder` from now on. False: they would wait for each other for ever.
    pub(super) fn wait(&mut self, tx: TxId, session: TxId, holder: TxId) -> bool {
        let mut next = holder;
        while let Some(further) = self.waits.get(&next) {
            next = *further;
        }
        if next == tx || next == session {
            return false;
        }
        self.waits.extend([(tx, holder), (session, holder)]);
        true
    }

    pub(super) fn is_waited_for(&self, holder: TxId) -> bool {
        self.waits.values().any(|waited| *waited == holder)
    }

    pub(super) fn waits_no_more(&mut self, tx: TxId, session: TxId) {
        self.waits.remove(&tx);
        self.waits.remove(&session);
    }

    pub(super) fn nextval(&mut self, name: &str) -> Option<i64> {
        let position = self.sequences.get_mut(name)?;
        position.last += i64::from(position.called);
        position.called = true;
        Some(position.last)
    }

    pub(super) fn positions(&self) -> Positions {
        self.sequences.clone()
    }

    pub(super) fn set_positions(&mut self, positions: &Positions) {
        self.sequences.extend(positions.clone());
    }

    /// What is committed, in the order of the values.
    pub(super) fn committed(&self, table: usize) -> Vec<Vec<Value>> {
        let mut rows: Vec<_> =
            self.tables[table].iter().filter_map(|chain| chain.committed()?.values.clone()).collect();
        rows.sort();
        rows
    }

    /// The session is over, and lets its locks go.
    pub(super) fn hang_up(&mut self, session: TxId) {
        self.releases += u64::from(self.advisory.session_ends(session));
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }
}

impl Tx {
    /// An advisory lock, which goes with it.
    pub(super) fn locked(&mut self, key: i64) {
        self.undo.push(Undo::Advisory(key));
    }

    /// What a statement has touched, when it is told.
    pub(super) fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }
}

impl Chain {
    pub(super) fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    fn committed(&self) -> Option<&Version> {
        self.versions.iter().rev().find(|version| matches!(version.by, By::Committed(_)))
    }

    /// What a statement of `tx` sees that began with this snapshot.
    pub(super) fn seen(&self, tx: &Tx, snapshot: u64) -> Option<&[Value]> {
        let sees = |version: &&Version| match version.by {
            By::Open(id, command) => id == tx.id && command < tx.command,
            By::Committed(commit) => commit <= snapshot,
        };
        self.versions.iter().rev().find(sees)?.values.as_deref()
    }

    /// The newest that is committed or of `tx` itself.
    pub(super) fn latest(&self, tx: TxId) -> Option<&[Value]> {
        let settled = |version: &&Version| match version.by {
            By::Open(id, _) => id == tx,
            By::Committed(_) => true,
        };
        self.versions.iter().rev().find(settled)?.values.as_deref()
    }

    /// What an open transaction has made of the row, one after the other.
    pub(super) fn open_versions(&self) -> impl Iterator<Item = &[Value]> {
        let open = self.versions.iter().rev().take_while(|version| matches!(version.by, By::Open(..)));
        open.filter_map(|version| version.values.as_deref())
    }

    /// Another transaction that is about to change the row, and has not committed.
    pub(super) fn changing(&self, tx: TxId) -> Option<TxId> {
        match self.newest()?.by {
            By::Open(id, _) if id != tx => Some(id),
            _ => None,
        }
    }
}

/// PostgreSQL's documentation, "Row-Level Locks".
fn conflict(held: Strength, wanted: Strength) -> bool {
    match held.max(wanted) {
        Strength::Update => true,
        Strength::NoKeyUpdate => held.min(wanted) >= Strength::Share,
        Strength::Share | Strength::KeyShare => false,
    }
}
