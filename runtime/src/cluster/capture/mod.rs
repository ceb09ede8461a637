//! Capture on the nodes: its functions, its key, and a trigger on each table that needs one.
//!
//! All of it is made on every active node at one point, under the commit lock in exclusive mode, in one transaction for each
//! node; the leader's commits last. Invariant: a table that has the trigger on the leader has it on every active node. A node
//! that joins has it from the copy that it was made of, for it is part of the schema that must be equal.

use std::time::Duration;

use lockstep_core::catalog::{Catalog, Cell};
use lockstep_core::effect::capture::CaptureKey;
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::id::NodeId;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState as State;

use super::actor::Cluster;
use crate::entropy;
use crate::service::{self, Line, ServiceFault, within};

const FUNCTIONS: &str = include_str!("functions.sql");

/// So often is it tried while tables are locked by transactions, each time for [`LOCK_PATIENCE`].
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_millis(100);
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = '200ms'";
const PATIENCE: Duration = Duration::from_secs(10);

/// A role that nobody can log in as or change: its password is the key.
const KEY: &str = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = 'lockstep_capture'";
const MAKE_KEEPER: &str = "CREATE ROLE lockstep_capture SUPERUSER NOLOGIN";
const KEEP: &str = "UPDATE pg_catalog.pg_authid SET rolpassword = $1, rolsuper = true, rolcanlogin = false \
    WHERE rolname = 'lockstep_capture' AND (rolpassword, rolsuper, rolcanlogin) IS DISTINCT FROM ($1, true, false)";

impl Cluster {
    pub(super) async fn capture(
        &self,
        database: &str,
        tables: &[String],
        catalogs: &Cell<Catalog>,
    ) -> Result<CaptureKey, Fault> {
        let mut known = self.capturing.lock().await;
        if let Some(key) = known.get(database).filter(|_| tables.is_empty()) {
            return Ok(key.clone());
        }
        let mut tried = 1;
        loop {
            match self.try_to_capture(database, tables, catalogs).await {
                Ok(key) => {
                    tracing::info!(database, tables = tables.join(", "), "rows are captured from now on");
                    known.insert(database.to_owned(), key.clone());
                    return Ok(key);
                }
                Err(fault) if is_busy(&fault) && tried < TRIES => {
                    tracing::debug!(database, %fault, "tables are in use; trying again");
                    tokio::time::sleep(PAUSE).await;
                    tried += 1;
                }
                Err(fault) => {
                    tracing::warn!(database, tables = tables.join(", "), %fault, "rows cannot be captured");
                    return Err(refusal(tables, &fault));
                }
            }
        }
    }

    async fn try_to_capture(
        &self,
        database: &str,
        tables: &[String],
        catalogs: &Cell<Catalog>,
    ) -> Result<CaptureKey, ServiceFault> {
        let _held = self.shared.commit_lock.exclusive().await;
        let membership = self.shared.membership.load_full();
        let leader = self.begin_on(membership.leader().ok_or(ServiceFault::NobodyLeads)?, database).await?;
        let key = within(PATIENCE, key_of(&leader)).await?;
        within(PATIENCE, install(&leader, tables, &key)).await?;
        let mut followers = Vec::new();
        for node in membership.followers() {
            let line = self.begin_on(node, database).await?;
            within(PATIENCE, install(&line, tables, &key)).await?;
            followers.push((node, line));
        }
        catalogs.begin_change();
        let committed = self.commit(&leader, &followers).await;
        catalogs.end_change();
        committed.map(|()| key)
    }

    async fn begin_on(&self, node: NodeId, database: &str) -> Result<Line, ServiceFault> {
        let config = &self.shared.config;
        let line = service::dial(&config.service, &config.nodes[usize::from(node.0)], database, PATIENCE).await?;
        within(PATIENCE, async { Ok(line.batch_execute(&format!("BEGIN; {LOCK_PATIENCE}")).await?) }).await?;
        Ok(line)
    }

    /// Followers first. When one has committed, the others must: a node on which it fails is not equal any more.
    async fn commit(&self, leader: &Line, followers: &[(NodeId, Line)]) -> Result<(), ServiceFault> {
        let commit = async |line: &Line| within(PATIENCE, async { Ok(line.batch_execute("COMMIT").await?) }).await;
        let mut done = Vec::new();
        for (node, line) in followers {
            match commit(line).await {
                Ok(()) => done.push(*node),
                Err(fault) if done.is_empty() => return Err(fault),
                Err(fault) => self.diverged(*node, format!("capture could not be installed: {fault}")).await,
            }
        }
        let committed = commit(leader).await;
        if let Err(fault) = &committed {
            for node in done {
                self.diverged(node, format!("capture was installed there, but not on the leader: {fault}")).await;
            }
        }
        committed
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
        line.batch_execute(&format!(
            "DROP TRIGGER IF EXISTS lockstep_capture ON {table}; \
             CREATE CONSTRAINT TRIGGER lockstep_capture AFTER INSERT OR UPDATE OR DELETE ON {table} \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lockstep.capture()"
        ))
        .await?;
    }
    Ok(())
}

/// A transaction holds a lock that it will let go.
fn is_busy(fault: &ServiceFault) -> bool {
    fault.is(&State::LOCK_NOT_AVAILABLE) || fault.is(&State::T_R_DEADLOCK_DETECTED)
}

fn refusal(tables: &[String], fault: &ServiceFault) -> Fault {
    let tables = tables.join(", ");
    let (reason, hint) = if is_busy(fault) {
        (
            format!("{tables} must get a trigger that tells what changes, but a transaction has it locked"),
            "It may be this very transaction: end it, and run it again. Once the trigger is there, it stays."
                .to_owned(),
        )
    } else if fault.is(&State::UNDEFINED_TABLE) || fault.is(&State::INVALID_SCHEMA_NAME) {
        (
            format!("{tables} must get a trigger that tells what changes, but was made in this transaction"),
            "Commit first.".to_owned(),
        )
    } else {
        let hint = "The proxy's own role must be a superuser.".to_owned();
        (format!("what changes in {tables} cannot be captured: {fault}"), hint)
    };
    let message = format!("this statement is refused: {reason}");
    Fault::error(SqlState::FEATURE_NOT_SUPPORTED, message).with_hint(hint)
}
