//! A look: the same moment on every node.
//!
//! While commits are held every active node holds the same rows. Each exports a snapshot of that moment, and commits go
//! on; whoever takes the snapshot over sees the moment, for as long as the look lives.

use std::cell::RefCell;
use std::ops::Deref;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use std::time::Instant;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::Verification;
use crate::clock;
use crate::cluster::command::Trouble;
use crate::cluster::compare::inventory;
use crate::cluster::hold::HOLD_PATIENCE;
use crate::service::{self, Line, ServiceFault, within};

const LOGIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long commits are held, at most.
const HOLDING: Duration = Duration::from_secs(5);
/// A table that a client has locked is not waited for longer than this; it is tried again later.
const LOCKED: &str = "SET lock_timeout = '5s'";
/// Settings of servers and roles that would end a look or choose another way through a piece than by its key.
const STEADY: &str = "SET idle_in_transaction_session_timeout = 0; SET enable_seqscan = off; \
    SET max_parallel_workers_per_gather = 0";
const EXPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()";

/// One connection to each node, to the same database.
pub struct Lines(pub Vec<Line>);

/// Lines that are lent to whoever has a question: so many questions are asked of a node at the same time.
pub struct Lanes {
    idle: RefCell<Vec<Lines>>,
    free: Semaphore,
}

/// Goes back by itself.
pub struct Lane<'a> {
    lanes: &'a Lanes,
    /// Always there, until it goes back.
    lines: Option<Lines>,
    _permit: SemaphorePermit<'a>,
}

/// Rows from each node, or the first that has none to give.
pub type Answers = Result<Vec<Vec<SimpleQueryRow>>, (usize, ServiceFault)>;

pub struct Look {
    /// The snapshots live as long as the transactions of these.
    _holders: Lines,
    snapshots: Vec<String>,
    pub taken: Instant,
}

impl Verification<'_> {
    pub async fn dial(&self, database: &str) -> Result<Lines, (usize, ServiceFault)> {
        let config = &self.cluster.shared.config;
        let dial = |(place, node): (usize, &lockstep_core::id::NodeId)| {
            let node = &config.nodes[usize::from(node.0)];
            async move {
                let line = service::dial(&config.service, node, database, LOGIN_PATIENCE).await;
                let line = line.map_err(|fault| (place, fault))?;
                let settings = format!("{}; {STEADY}; {LOCKED}", inventory::PINNED);
                let set = within(LOGIN_PATIENCE, async { Ok(line.batch_execute(&settings).await?) });
                set.await.map(|()| line).map_err(|fault| (place, fault))
            }
        };
        try_join_all(self.nodes.iter().enumerate().map(dial)).await.map(Lines)
    }

    /// Everything that takes time is done before commits are held.
    pub async fn look(&self, database: &str) -> Result<Look, (usize, ServiceFault)> {
        let holders = self.dial(database).await?;
        let export = async |(place, line): (usize, &Line)| {
            let messages = line.simple_query(EXPORT).await.map_err(|error| (place, error.into()))?;
            let snapshot = rows(messages).first().and_then(|row| row.get(0).map(str::to_owned));
            snapshot.ok_or((place, ServiceFault::Timeout(HOLDING)))
        };
        let snapshots = self
            .held(database, "snapshots", try_join_all(holders.0.iter().enumerate().map(export)))
            .await
            .ok_or((0, ServiceFault::Timeout(HOLD_PATIENCE)))?
            .unwrap_or(Err((0, ServiceFault::Timeout(HOLDING))))?;
        Ok(Look { _holders: holders, snapshots, taken: clock::now() })
    }

    /// Does `work` while nothing is committed and no utility command runs. `None`: what was under way did not end in
    /// time. `Some(None)`: the work did not.
    pub async fn held<T>(&self, database: &str, what: &str, work: impl Future<Output = T>) -> Option<Option<T>> {
        let asked = clock::now();
        let held = self.cluster.hold(HOLDING).await?;
        let (waited, begun) = (asked.elapsed(), clock::now());
        let done = held.within_limit(work).await.ok();
        drop(held);
        let time = begun.elapsed();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        tracing::info!(
            database,
            what,
            held_ms = ms(time),
            waited_ms = ms(waited),
            "commits were held to compare nodes"
        );
        let mut tally = self.tally.borrow_mut();
        tally.held = tally.held.max(time);
        tally.holds += 1;
        Some(done)
    }

    pub fn cannot_look(&self, (place, fault): (usize, ServiceFault)) -> Trouble {
        match fault {
            ServiceFault::Timeout(HOLD_PATIENCE) => {
                Trouble::from("commits or utility commands under way did not end in time")
            }
            fault => self.unreadable(place, &fault),
        }
    }
}

impl Look {
    /// Asks one node, in the snapshot; the locks that the question takes are let go with its answer.
    pub async fn ask(&self, lines: &Lines, node: usize, sql: &str) -> Result<Vec<SimpleQueryRow>, ServiceFault> {
        let snapshot = &self.snapshots[node];
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'; {sql}; COMMIT"
        );
        lines.ask(node, &sql).await
    }

    /// The same question to every node.
    pub async fn ask_all(&self, lines: &Lines, sql: &str) -> Answers {
        self.ask_each(lines, |_| Some(sql.to_owned())).await
    }

    /// To each node a question of its own; to some perhaps none, and no rows are their answer.
    pub async fn ask_each(&self, lines: &Lines, question: impl Fn(usize) -> Option<String>) -> Answers {
        let ask = async |node| match question(node) {
            Some(sql) => self.ask(lines, node, &sql).await,
            None => Ok(Vec::new()),
        };
        let answers = join_all((0..lines.0.len()).map(ask)).await;
        answers.into_iter().enumerate().map(|(node, answer)| answer.map_err(|fault| (node, fault))).collect()
    }
}

impl Lanes {
    pub fn new(lines: Vec<Lines>) -> Self {
        Self { free: Semaphore::new(lines.len()), idle: RefCell::new(lines) }
    }

    pub async fn take(&self) -> Lane<'_> {
        let permit = self.free.acquire().await.expect("it is never closed");
        Lane { lanes: self, lines: self.idle.borrow_mut().pop(), _permit: permit }
    }
}

impl Deref for Lane<'_> {
    type Target = Lines;

    fn deref(&self) -> &Lines {
        self.lines.as_ref().expect("one for each permit")
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.idle.borrow_mut().extend(self.lines.take());
    }
}

impl Lines {
    pub async fn ask(&self, node: usize, sql: &str) -> Result<Vec<SimpleQueryRow>, ServiceFault> {
        match self.0[node].simple_query(sql).await {
            Ok(messages) => Ok(rows(messages)),
            Err(error) => {
                // Where the question was the middle of a transaction, that is over.
                let _ = self.0[node].batch_execute("ROLLBACK").await;
                Err(error.into())
            }
        }
    }
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}
