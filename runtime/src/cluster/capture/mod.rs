//! Capture on the nodes: its functions, its key, and a trigger on each table that needs one.
//!
//! All of it is made on every active node at one point, in one transaction for each node; the leader's commits last. First
//! the leader locks the tables against writers, whose commits go on meanwhile: whoever has written to them is then done on
//! every node. Only what follows is done under the commit lock in exclusive mode, and waits for nobody. Invariant: a table that has the trigger on the leader has it on every active node. A node
//! that joins has it from the copy that it was made of, for it is part of the schema that must be equal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::catalog::{Catalog, Cell};
use lockstep_core::cluster::{MemberState, Verdict};
use lockstep_core::effect::capture::{CaptureKey, Triggers};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::id::NodeId;
use lockstep_core::journal::{Touched, Unknown};
use lockstep_core::quote::quote_literal;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState as State;

use super::actor::Cluster;
use crate::clock;
use crate::entropy;
use crate::service::{self, Line, ServiceFault, within};

const FUNCTIONS: &str = concat!(include_str!("functions.sql"), include_str!("objects.sql"), include_str!("watch.sql"));

/// So often is it tried while tables are locked by transactions, each time for [`LOCK_PATIENCE`]: so long may writers of
/// these tables, queued behind us, be held up. And so often while nodes die or connections to them break.
const TRIES: u32 = 5;
/// For so long after that nobody queues for them again: who wants the same gets it if they are free, or is told so at once.
const RESPITE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = '200ms'";
const PATIENCE: Duration = Duration::from_secs(10);

/// A role that nobody can log in as or change: its password is the key.
const KEY: &str = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = 'lockstep_capture'";
const MAKE_KEEPER: &str = "CREATE ROLE lockstep_capture SUPERUSER NOLOGIN";
const KEEP: &str = "UPDATE pg_catalog.pg_authid SET rolpassword = $1, rolsuper = true, rolcanlogin = false \
    WHERE rolname = 'lockstep_capture' AND (rolpassword, rolsuper, rolcanlogin) IS DISTINCT FROM ($1, true, false)";

/// Whether the functions are there, with this key. A database may have been made anew since they were asked for.
const KNOWS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_authid WHERE rolname = 'lockstep_capture' AND rolpassword = $1) \
    AND pg_catalog.to_regprocedure('lockstep.capture_here(text, text, text)') IS NOT NULL";

/// Whether a session has a lock on one of these tables, or on a part of them, with which the trigger cannot be made.
const HOLDS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE pid = $1 AND granted AND locktype = 'relation' \
    AND relation IN (WITH RECURSIVE family AS (SELECT pg_catalog.to_regclass(name)::oid AS member \
        FROM pg_catalog.unnest($2::text[]) AS name UNION SELECT inhrelid FROM pg_catalog.pg_inherits, family \
        WHERE inhparent = member) SELECT member FROM family) \
    AND mode NOT IN ('AccessShareLock', 'RowShareLock'))";

/// What the cluster has to do with capture between two questions.
#[derive(Debug, Default)]
pub struct Capturing {
    /// By database: its functions are those of this program.
    keys: HashMap<String, CaptureKey>,
    /// Tables that were in use, and when.
    busy: HashMap<(String, Vec<String>), Instant>,
    /// Tables that got the trigger, and when: who has waited for that meanwhile has it, too.
    made: HashMap<(String, Vec<String>), Instant>,
}

/// Who wants rows of which tables captured.
#[derive(Debug, Clone)]
pub struct Wish {
    pub database: String,
    pub tables: Arc<[String]>,
    pub catalogs: Arc<Cell<Catalog>>,
    /// The session's leader, and its server process there.
    pub leader: NodeId,
    pub backend: u32,
}

impl Cluster {
    pub(super) async fn capture(&self, wish: &Wish) -> Result<(CaptureKey, Triggers), Fault> {
        let (database, tables) = (&wish.database, &wish.tables);
        let asked = clock::now();
        let mut capturing = self.capturing.lock().await;
        if let Some(key) = capturing.keys.get(database).filter(|_| tables.is_empty()) {
            return Ok((key.clone(), Triggers::Made));
        }
        let wanted = (database.clone(), tables.to_vec());
        let since = capturing.made.get(&wanted).is_some_and(|made| *made > asked);
        if let Some(key) = capturing.keys.get(database).filter(|_| since) {
            return Ok((key.clone(), Triggers::Made));
        }
        let spared = capturing.busy.get(&wanted).is_some_and(|since| since.elapsed() < RESPITE);
        let (mut tried, waiting) = if spared { (TRIES, Waiting::Not) } else { (1, Waiting::InQueue) };
        let mut broken = 1;
        loop {
            match self.try_to_capture(wish, waiting).await {
                Ok(key) => {
                    tracing::info!(database, tables = tables.join(", "), "rows are captured from now on");
                    capturing.keys.insert(database.to_owned(), key.clone());
                    capturing.made.retain(|_, made| made.elapsed() < RESPITE);
                    capturing.made.insert(wanted, clock::now());
                    return Ok((key, Triggers::Made));
                }
                Err(Trouble::Asker) => {
                    let key = self.key_alone(wish, &mut capturing).await?;
                    return Ok((key, Triggers::LeftToSession));
                }
                Err(Trouble::Fault(fault)) if is_busy(&fault) && tried < TRIES => {
                    tracing::debug!(database, %fault, "tables are in use; trying again");
                    tokio::time::sleep(PAUSE).await;
                    tried += 1;
                }
                Err(Trouble::Node(node, fault)) if broken < TRIES => {
                    tracing::debug!(database, node = self.name(node), %fault, "a node fails while rows are to be captured");
                    // Whoever is dead is out when that is answered; a session goes with its leader.
                    if self.suspect(node, &fault.to_string()).await == Verdict::Out && node == wish.leader {
                        return Err(refusal(tables, &fault));
                    }
                    broken += 1;
                }
                Err(Trouble::Fault(fault) | Trouble::Node(_, fault)) => {
                    tracing::warn!(database, tables = tables.join(", "), %fault, "rows cannot be captured");
                    if is_busy(&fault) && !spared {
                        capturing.busy.retain(|_, since| since.elapsed() < RESPITE);
                        capturing.busy.insert(wanted, clock::now());
                    }
                    return Err(refusal(tables, &fault));
                }
            }
        }
    }

    /// The functions and the key, for a session that makes the triggers itself. They are not made again where they are: that
    /// counts as a change of the schema, after which a transaction with an old snapshot has to run again.
    async fn key_alone(&self, wish: &Wish, capturing: &mut Capturing) -> Result<CaptureKey, Fault> {
        let refusal = |fault: &ServiceFault| refusal(&wish.tables, fault);
        if let Some(key) = capturing.keys.get(&wish.database)
            && self.knows(wish, key).await.map_err(|fault| refusal(&fault))?
        {
            return Ok(key.clone());
        }
        let alone = Wish { tables: Arc::new([]), ..wish.clone() };
        match self.try_to_capture(&alone, Waiting::Not).await {
            Ok(key) => {
                capturing.keys.insert(alone.database, key.clone());
                Ok(key)
            }
            Err(Trouble::Asker) => Err(in_use(&wish.tables)),
            Err(Trouble::Fault(fault) | Trouble::Node(_, fault)) => Err(refusal(&fault)),
        }
    }

    async fn knows(&self, wish: &Wish, key: &CaptureKey) -> Result<bool, ServiceFault> {
        let line = self.begin_on(wish.leader, &wish.database).await?;
        within(PATIENCE, async { Ok(line.query_one(KNOWS, &[&key.to_text()]).await?.get(0)) }).await
    }

    async fn try_to_capture(&self, wish: &Wish, waiting: Waiting) -> Result<CaptureKey, Trouble> {
        let Wish { database, tables, catalogs, leader: leads, backend } = wish;
        let leads = *leads;
        let leader = self.on(leads, self.begin_on(leads, database)).await?;
        self.on(leads, lock(&leader, tables, *backend, waiting)).await??;
        let held = self.on(leads, async { Ok(self.shared.commit_lock.exclusive().await) }).await;
        // It is others' commits that took so long, while the tables are locked here: not once more.
        let _held = held.map_err(|trouble| match trouble {
            Trouble::Node(_, fault @ ServiceFault::Timeout(_)) => Trouble::Fault(fault),
            trouble => trouble,
        })?;
        let membership = self.shared.membership.load_full();
        if membership.leader() != Some(leads) {
            return Err(ServiceFault::NobodyLeads.into());
        }
        let key = self.on(leads, key_of(&leader)).await?;
        self.on(leads, install(&leader, tables, &key)).await?;
        let mut followers = Vec::new();
        for node in membership.followers() {
            let line = self.on(node, self.begin_on(node, database)).await?;
            self.on(node, install(&line, tables, &key)).await?;
            followers.push((node, line));
        }
        catalogs.begin_change();
        let journal = &self.shared.journal;
        let unit = journal.open(database, Touched::Unknown(Unknown::Capture));
        let committed = match &unit {
            Ok(_) if journal.force().await.is_ok() => self.commit((leads, &leader), &followers).await,
            _ => Err(ServiceFault::NoJournal),
        };
        unit.into_iter().for_each(|unit| journal.close(unit));
        catalogs.end_change();
        committed.map(|()| key).map_err(Trouble::from)
    }

    /// Does something with a node, for as long as it is active. A node that hangs is found out sooner than patience ends.
    async fn on<T>(&self, node: NodeId, work: impl Future<Output = Result<T, ServiceFault>>) -> Result<T, Trouble> {
        let mut published = self.registry.subscribe();
        let done = tokio::select! {
            done = within(PATIENCE, work) => done,
            _ = published.wait_for(|now| now.member(node).state != MemberState::Active) => Err(ServiceFault::Left),
        };
        done.map_err(|fault| if is_verdict(&fault) { Trouble::Fault(fault) } else { Trouble::Node(node, fault) })
    }

    async fn begin_on(&self, node: NodeId, database: &str) -> Result<Line, ServiceFault> {
        let config = &self.shared.config;
        let line = service::dial(&config.service, &config.nodes[usize::from(node.0)], database, PATIENCE).await?;
        within(PATIENCE, async { Ok(line.batch_execute(&format!("BEGIN; {LOCK_PATIENCE}")).await?) }).await?;
        Ok(line)
    }

    /// Followers first, as for any unit. One whose COMMIT is not answered with success may or may not have made it: it is
    /// out. When a follower has made it, it stands, and a leader that has not is out.
    async fn commit(&self, leader: (NodeId, &Line), followers: &[(NodeId, Line)]) -> Result<(), ServiceFault> {
        let commit = async |line: &Line| within(PATIENCE, async { Ok(line.batch_execute("COMMIT").await?) }).await;
        let mut stands = false;
        for (node, line) in followers {
            match commit(line).await {
                Ok(()) => stands = true,
                Err(fault) => {
                    self.diverged(*node, format!("whether rows are captured there is not known: {fault}")).await
                }
            }
        }
        let committed = commit(leader.1).await;
        if let (Err(fault), true) = (&committed, stands) {
            self.diverged(leader.0, format!("followers capture rows, and whether it does is not known: {fault}")).await;
        }
        committed
    }
}

/// Whether tables that are in use are waited for, with their writers behind us.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    InQueue,
    Not,
}

/// Why it could not be done now.
enum Trouble {
    /// The session that wants it has made one of the tables, or has it locked itself.
    Asker,
    /// This node may be dying, or the way to it.
    Node(NodeId, ServiceFault),
    Fault(ServiceFault),
}

impl From<ServiceFault> for Trouble {
    fn from(fault: ServiceFault) -> Self {
        Self::Fault(fault)
    }
}

/// Keeps writers away from the tables on the leader.
async fn lock(
    leader: &Client,
    tables: &[String],
    backend: u32,
    waiting: Waiting,
) -> Result<Result<(), Trouble>, ServiceFault> {
    if tables.is_empty() {
        return Ok(Ok(()));
    }
    if leader.query_one(HOLDS, &[&backend.cast_signed(), &tables]).await?.get(0) {
        return Ok(Err(Trouble::Asker));
    }
    let nowait = match waiting {
        Waiting::InQueue => "",
        Waiting::Not => " NOWAIT",
    };
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE{nowait}", tables.join(", "));
    match leader.batch_execute(&lock).await.map_err(ServiceFault::from) {
        Err(fault) if fault.is(&State::UNDEFINED_TABLE) || fault.is(&State::INVALID_SCHEMA_NAME) => {
            Ok(Err(Trouble::Asker))
        }
        locked => locked.map(Ok),
    }
}

/// The key that the leader has, or a new one.
async fn key_of(leader: &Client) -> Result<CaptureKey, ServiceFault> {
    let row = leader.query_opt(KEY, &[]).await?;
    let text = row.and_then(|row| row.get::<_, Option<String>>(0));
    Ok(text.and_then(|text| CaptureKey::from_text(&text)).unwrap_or_else(|| CaptureKey::from_random(entropy::bytes())))
}

async fn install(line: &Client, tables: &[String], key: &CaptureKey) -> Result<(), ServiceFault> {
    if line.query_opt(KEY, &[]).await?.is_none() {
        line.batch_execute(MAKE_KEEPER).await?;
    }
    // As a parameter: what stands in a statement's text may be logged.
    line.execute(KEEP, &[&key.to_text()]).await?;
    line.batch_execute(FUNCTIONS).await?;
    for table in tables {
        line.batch_execute(&format!("SELECT lockstep.carry({})", quote_literal(table))).await?;
    }
    Ok(())
}

/// A transaction holds a lock that it will let go.
fn is_busy(fault: &ServiceFault) -> bool {
    fault.is(&State::LOCK_NOT_AVAILABLE) || fault.is(&State::T_R_DEADLOCK_DETECTED)
}

/// The server has understood what was asked and does not want it. Anything else is nothing against it: a node is dying, is
/// full, or cannot be reached, which passes.
fn is_verdict(fault: &ServiceFault) -> bool {
    let ServiceFault::Postgres(error) = fault else { return false };
    // Connections, resources, an operator's intervention, the system itself (documentation, "PostgreSQL Error Codes").
    let passing = |state: &State| ["08", "53", "57", "58"].iter().any(|class| state.code().starts_with(class));
    error.as_db_error().is_some_and(|db| !passing(db.code()))
}

/// Nothing is wrong with the statement: who runs transactions again after a serialization failure gets there.
fn in_use(tables: &[String]) -> Fault {
    let tables = tables.join(", ");
    let message = format!("{tables} must get a trigger that tells what changes, but a transaction has it locked");
    let hint = "Run the transaction again. Once the trigger is there, it stays.";
    Fault::error(SqlState::SERIALIZATION_FAILURE, message).with_hint(hint)
}

fn refusal(tables: &[String], fault: &ServiceFault) -> Fault {
    if is_busy(fault) {
        return in_use(tables);
    }
    let tables = tables.join(", ");
    if !is_verdict(fault) {
        let message = format!("what changes in {tables} cannot be captured just now: {fault}");
        return Fault::error(SqlState::SERIALIZATION_FAILURE, message).with_hint("Run the transaction again.");
    }
    let message = format!("this statement is refused: what changes in {tables} cannot be captured: {fault}");
    let refusal = Fault::error(SqlState::FEATURE_NOT_SUPPORTED, message);
    if fault.is(&State::INSUFFICIENT_PRIVILEGE) {
        return refusal.with_hint("The proxy's own role must be a superuser.");
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_dies_meanwhile_is_no_reason_to_refuse_a_statement_for_good() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let faults = [
            ServiceFault::NobodyLeads,
            ServiceFault::Left,
            ServiceFault::Timeout(PATIENCE),
            ServiceFault::Connect { address: "127.0.0.1:1".into(), source: refused },
        ];
        for fault in faults {
            let told = refusal(&["public.t".into()], &fault);
            assert_eq!(told.state, SqlState::SERIALIZATION_FAILURE, "{fault}");
            assert!(told.message.contains("public.t"), "{}", told.message);
        }
    }
}
