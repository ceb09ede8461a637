//! One database: its definitions, its sequences, and its tables, a few at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::try_join_all;
use lockstep_core::cluster::pace::READERS;
use lockstep_core::cluster::pieces::{Key, Table};
use tokio::sync::broadcast;
use tokio_postgres::SimpleQueryRow;
use tokio_postgres::error::SqlState;

use super::Verification;
use super::look::{Lanes, Look};
use super::table::Outcome;
use crate::cluster::command::Trouble;
use crate::cluster::compare::inventory;
use crate::service::ServiceFault;

pub(super) const TABLES: &str = include_str!("tables.sql");
/// A look holds back VACUUM and CREATE INDEX CONCURRENTLY: after this time there is a new one.
pub(super) const LOOK_AGE: Duration = Duration::from_secs(60);
/// How often a table is begun anew whose definition changes under the reading.
const TRIES: u32 = 4;
/// How often a database is begun anew that had to be left for DROP DATABASE or RENAME.
const RETURNS: u32 = 4;

/// How large objects are named: their pages are rows of a table of PostgreSQL's own.
const LARGE_OBJECTS: &str = "pg_catalog.pg_largeobject";

/// A table to be read, from the beginning or from where an older look had come to.
#[derive(Debug, Clone)]
pub struct Todo {
    pub name: String,
    pub after: Option<Key>,
    pub tries: u32,
}

/// The tables of a database by name, one of each for every node that has it.
type Tables = BTreeMap<String, Vec<Option<Table>>>;

/// What the readers of one look share.
struct Work<'a> {
    database: &'a str,
    look: Look,
    tables: Tables,
    queue: RefCell<VecDeque<Todo>>,
    /// For the next look.
    again: RefCell<VecDeque<Todo>>,
    total: u64,
    done: std::cell::Cell<u64>,
}

impl Verification<'_> {
    /// Leaves the database at once when a command must have it for itself, and comes back if it is still there.
    pub async fn database(&self, database: &str) -> Result<(), Trouble> {
        for _ in 0..RETURNS {
            let mut vacated = self.cluster.shared.vacated.subscribe();
            tokio::select! {
                done = self.whole(database) => return done,
                () = left(&mut vacated, database) => {}
            }
            tracing::info!(database, "the comparison leaves the database to a command that needs it alone");
            // Whoever holds it ends first.
            self.held(database, "a command has ended", std::future::ready(())).await;
        }
        self.unread(format!("database {database}: commands that need it alone came again and again"));
        Ok(())
    }

    async fn whole(&self, database: &str) -> Result<(), Trouble> {
        let mut lines = Vec::new();
        for _ in 0..READERS {
            match self.dial(database).await {
                Ok(dialled) => lines.push(dialled),
                Err((_, fault)) if fault.is(&SqlState::INVALID_CATALOG_NAME) => return Ok(()),
                Err(failed) => return Err(self.cannot_look(failed)),
            }
        }
        let lanes = Lanes::new(lines);
        let look = self.look(database).await.map_err(|failed| self.cannot_look(failed))?;
        if self.scope.tables.is_empty() {
            self.report.phase("compare", format!("definitions and sequences of database {database}"));
            let lines = lanes.take().await;
            self.definitions(Some(database), &lines, &look, inventory::DATABASE).await?;
            self.sequences(database, &lines).await?;
        }
        let tables = self.tables(&lanes, &look).await?;
        let begin = |name: &String| Todo { name: name.clone(), after: None, tries: 0 };
        let mut todo: VecDeque<_> = tables.keys().filter(|name| self.is_wanted(name)).map(begin).collect();
        let mut work = Work::new(database, look, tables, todo);
        loop {
            try_join_all((0..READERS).map(|_| self.read(&work, &lanes))).await?;
            todo = work.again.take();
            if todo.is_empty() {
                break;
            }
            let done = work.done.take();
            drop(work);
            let look = self.look(database).await.map_err(|failed| self.cannot_look(failed))?;
            let tables = self.tables(&lanes, &look).await?;
            work = Work::new(database, look, tables, todo);
            work.done.set(done);
        }
        self.tally.borrow_mut().databases += 1;
        Ok(())
    }

    async fn read(&self, work: &Work<'_>, lanes: &Lanes) -> Result<(), Trouble> {
        loop {
            let Some(todo) = work.queue.borrow_mut().pop_front() else { return Ok(()) };
            let Some(on_nodes) = work.tables.get(&todo.name) else { continue };
            let subject = format!("database {}: {}", work.database, named(&todo.name));
            let Some(tables) = on_nodes.iter().cloned().collect::<Option<Vec<Table>>>() else {
                self.is_missing(&subject, on_nodes);
                continue;
            };
            let Some(tables) = alike(tables) else {
                self.unread(format!("{subject}: its columns are not the same on all nodes"));
                continue;
            };
            self.tell(|| format!("{}: {}", work.database, todo.name), work.done.get(), work.total);
            match self.table(&subject, &work.look, lanes, &tables, todo.after.clone()).await? {
                Outcome::Done => {
                    work.done.set(work.done.get() + tables[0].bytes);
                    self.tally.borrow_mut().tables += usize::from(todo.name != LARGE_OBJECTS);
                }
                Outcome::OldLook { after } => work.again.borrow_mut().push_back(Todo { after, ..todo }),
                Outcome::Changed { why } if todo.tries >= TRIES => self.unread(format!("{subject}: {why}")),
                Outcome::Changed { .. } => {
                    work.again.borrow_mut().push_back(Todo { after: None, tries: todo.tries + 1, ..todo });
                }
            }
        }
    }

    fn is_missing(&self, subject: &str, on_nodes: &[Option<Table>]) {
        // Where definitions are compared, they have said so.
        if self.scope.tables.is_empty() {
            return;
        }
        for (node, _) in
            on_nodes.iter().enumerate().filter(|(node, table)| table.is_some() != on_nodes[0].is_some() && *node > 0)
        {
            let (leader, follower) = self.names(node);
            let (has, lacks) = if on_nodes[0].is_some() { (leader, follower) } else { (follower, leader) };
            self.differs(node, format!("{subject} is on {has}, not on {lacks}"));
        }
        self.tally.borrow_mut().tables += 1;
    }

    async fn tables(&self, lanes: &Lanes, look: &Look) -> Result<Tables, Trouble> {
        let lines = lanes.take().await;
        let answers = look.ask_all(&lines, TABLES).await.map_err(|(node, fault)| self.unreadable(node, &fault))?;
        let mut tables = Tables::new();
        for (node, rows) in answers.iter().enumerate() {
            for table in rows.iter().filter_map(table_of) {
                let on_nodes = tables.entry(table.name.clone()).or_insert_with(|| vec![None; answers.len()]);
                on_nodes[node] = Some(table);
            }
        }
        Ok(tables)
    }

    /// `t`, `s.t`, quoted or not.
    fn is_wanted(&self, name: &str) -> bool {
        let plain = |name: &str| name.replace('"', "");
        let wanted = |wanted: &String| {
            let (name, wanted) = (plain(name), plain(wanted));
            name == wanted || name.split_once('.').is_some_and(|(_, table)| table == wanted)
        };
        self.scope.tables.is_empty() || self.scope.tables.iter().any(wanted)
    }
}

impl<'a> Work<'a> {
    fn new(database: &'a str, look: Look, tables: Tables, todo: VecDeque<Todo>) -> Self {
        let total = tables.values().filter_map(|on_nodes| on_nodes[0].as_ref()).map(|table| table.bytes).sum();
        let (queue, again) = (RefCell::new(todo), RefCell::default());
        Self { database, look, tables, queue, again, total, done: std::cell::Cell::new(0) }
    }
}

/// Returns when the connections to `database` must go.
async fn left(vacated: &mut broadcast::Receiver<std::sync::Arc<str>>, database: &str) {
    loop {
        match vacated.recv().await {
            Ok(name) if &*name != database => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tables that can be compared. Where the nodes do not have the same key, they are compared without one.
fn alike(mut tables: Vec<Table>) -> Option<Vec<Table>> {
    let first = tables.first()?.clone();
    if tables.iter().any(|table| table.columns != first.columns) {
        return None;
    }
    if tables.iter().any(|table| table.key != first.key) {
        tables.iter_mut().for_each(|table| table.key.clear());
    }
    Some(tables)
}

fn named(name: &str) -> String {
    if name == LARGE_OBJECTS { "large objects".into() } else { format!("table {name}") }
}

fn table_of(row: &SimpleQueryRow) -> Option<Table> {
    Some(Table {
        name: row.get(0)?.to_owned(),
        columns: serde_json::from_str(row.get(1)?).ok()?,
        key: serde_json::from_str(row.get(2)?).ok()?,
        bytes: row.get(3)?.parse().ok()?,
        shape: row.get(4)?.to_owned(),
    })
}

/// Whether it is the node that said no, and not the way to it that broke.
pub(super) fn is_an_answer(fault: &ServiceFault) -> bool {
    matches!(fault, ServiceFault::Postgres(error) if error.as_db_error().is_some())
}
