//! The standing connection to a node: the pulse is felt on it, and it holds the guard, an advisory lock that keeps a
//! second proxy away for as long as this one is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_postgres::error::SqlState;

use crate::config::{Config, Node, Service};
use crate::service::{self, Line, Parting, ServiceFault, within};

/// Drawn once; any lockstep takes the same lock on every node that it uses, whatever its cluster is called.
const GUARD: i64 = 0x4c6f_636b_7374_6570;

/// How long the end of a connection may take to be heard of when its server is known to be gone.
pub const LAST_WORD: Duration = Duration::from_millis(150);

#[derive(Debug, thiserror::Error)]
pub enum StandingFault {
    #[error(transparent)]
    Service(#[from] ServiceFault),
    #[error("another proxy uses this node: {0}")]
    Taken(String),
    #[error("the node is not in the configuration any more")]
    Retired,
}

#[derive(Debug)]
pub struct Standing {
    config: Arc<Config>,
    node: Node,
    held: Mutex<Held>,
    /// The server has said that it ends, since the newest connection was made.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    line: Option<Arc<Line>>,
    parting: Option<watch::Receiver<Parting>>,
    /// Backend of the newest connection: when that breaks on our side only, it still holds the guard.
    backend: Option<i32>,
    /// The guard is somebody else's to take: it is never taken here again.
    retired: bool,
}

impl Standing {
    pub fn new(config: Arc<Config>, node: Node) -> Self {
        Self { config, node, held: Mutex::default(), said: AtomicBool::new(false) }
    }

    /// The connection, dialled and guarded anew if it has broken.
    pub async fn line(&self) -> Result<Arc<Line>, StandingFault> {
        let mut held = self.held.lock().await;
        if held.retired {
            return Err(StandingFault::Retired);
        }
        if let Some(line) = held.line.as_ref().filter(|line| !line.is_closed()) {
            return Ok(line.clone());
        }
        held.line = None;
        let (service, limit) = (&self.config.service, self.config.health.now().timeout);
        let line = service::dial(service, &self.node, &service.database, limit).await?;
        let ghost = held.backend.take();
        held.backend = Some(guard(&line, ghost, limit).await?);
        held.parting = Some(line.parting());
        self.said.store(false, Ordering::Relaxed);
        Ok(held.line.insert(Arc::new(line)).clone())
    }

    /// One round trip on the connection. When it fails the connection is given up.
    pub async fn feel(&self) -> Result<(), StandingFault> {
        let felt = self.try_feel().await;
        if let Err(StandingFault::Service(fault)) = &felt {
            self.hear(fault);
        }
        felt
    }

    async fn try_feel(&self) -> Result<(), StandingFault> {
        let line = self.line().await?;
        let answered =
            within(self.config.health.now().timeout, async { Ok(line.simple_query("SELECT 1").await?) }).await;
        if answered.is_err() {
            self.leave().await;
        }
        answered.map(drop).map_err(StandingFault::from)
    }

    /// Whether the connection, if there is one, answers within `limit`.
    pub async fn pulse(&self, limit: Duration) -> bool {
        let line = self.held.lock().await.line.clone();
        let Some(line) = line else { return false };
        let answered = within(limit, async { Ok(line.simple_query("SELECT 1").await?) }).await;
        answered.inspect_err(|fault| self.hear(fault)).is_ok()
    }

    /// Whoever had to do with the node was told this.
    pub fn hear(&self, fault: &ServiceFault) {
        let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
        self.said.fetch_or(ends.iter().any(|state| fault.is(state)), Ordering::Relaxed);
    }

    /// Whether the server has not said that it ends: it was killed, cut off or stopped, or lives, but has not ended its
    /// sessions one by one ([`lockstep_core::heirs`]). Not so where that is not known. To be asked when it is taken for
    /// dead. `patience`: how long its last word may still be on its way.
    pub async fn is_silent(&self, patience: Duration) -> bool {
        let Some(mut parting) = self.held.lock().await.parting.clone() else { return false };
        if !self.pulse(patience).await {
            // An end by ourselves, for want of an answer, leaves it at `None`.
            let parted = parting.wait_for(|parting| *parting != Parting::None);
            let parted = tokio::time::timeout(patience, parted).await;
            if matches!(parted, Ok(Ok(parting)) if *parting == Parting::Word) {
                return false;
            }
        }
        !self.said.load(Ordering::Relaxed)
    }

    /// The same for good: the node is not in the configuration any more.
    pub async fn retire(&self) {
        let mut held = self.held.lock().await;
        (held.line, held.retired) = (None, true);
    }

    /// Closes the connection and lets the guard go.
    pub async fn leave(&self) {
        self.held.lock().await.line = None;
    }
}

/// Takes the guard and gives the backend's process id. A former connection of ours that the server has not yet missed is
/// ended.
async fn guard(line: &Line, ghost: Option<i32>, limit: Duration) -> Result<i32, StandingFault> {
    within(limit, async { Ok(try_guard(line, ghost).await?) }).await?.map_err(StandingFault::Taken)
}

async fn try_guard(line: &Line, ghost: Option<i32>) -> Result<Result<i32, String>, tokio_postgres::Error> {
    loop {
        let row = line.query_one("SELECT pg_try_advisory_lock($1), pg_backend_pid()", &[&GUARD]).await?;
        if row.get(0) {
            return Ok(Ok(row.get(1)));
        }
        match holder(line).await? {
            Some((pid, _)) if Some(pid) == ghost => {
                line.execute("SELECT pg_terminate_backend($1, 100)", &[&pid]).await?;
            }
            Some((_, who)) => return Ok(Err(who)),
            // It was let go in between.
            None => {}
        }
    }
}

/// Which proxy holds the guard of a node.
pub async fn user_of(service: &Service, node: &Node, limit: Duration) -> Result<Option<String>, ServiceFault> {
    let line = service::dial(service, node, &service.database, limit).await?;
    within(limit, async { Ok(holder(&line).await?.map(|(_, who)| who)) }).await
}

async fn holder(line: &Line) -> Result<Option<(i32, String)>, tokio_postgres::Error> {
    let sql = "SELECT a.pid, format('%s, connected from %s since %s', a.application_name, \
                   coalesce(host(a.client_addr), 'a local socket'), date_trunc('second', a.backend_start)) \
               FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                 AND (l.classid::bigint << 32) + l.objid::bigint = $1";
    Ok(line.query_opt(sql, &[&GUARD]).await?.map(|row| (row.get(0), row.get(1))))
}
