//! Looks after a batch that a follower does not answer: asks the follower for whom it waits, and does what
//! [`stall::judge`] says.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::id::NodeId;
use lockstep_core::unit::stall::{self, Blocker, BlockerKind, Step};

use super::local::Local;
use crate::clock;
use crate::server::Server;
use crate::service::{self, Line, ServiceFault, within};

/// For an answer of the follower; one that does not answer is the health's business.
const ANSWER: Duration = Duration::from_secs(2);

/// A prepared transaction shows as process 0 (documentation, `pg_blocking_pids`).
const BLOCKERS: &str = "SELECT b.pid, a.application_name = 'lockstep follower', concat_ws(' ', 'pid', b.pid, \
        coalesce(a.usename, '?'), '@', a.datname, 'from', coalesce(a.client_addr::text, 'this machine'), \
        nullif(a.application_name, ''), a.state, left(a.query, 100)) \
    FROM unnest(pg_catalog.pg_blocking_pids($1)) AS b(pid) LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)";

/// Returns only when the follower is to be given up, with the reason.
pub(super) async fn watch(server: Arc<Server>, local: Rc<Local>, node: NodeId, pid: u32) -> String {
    let begun = clock::now();
    local.beat.after(stall::LOOK).await;
    // What is long here must not make every commit's future large.
    Box::pin(look_after(&server, node, pid, begun)).await
}

async fn look_after(server: &Server, node: NodeId, pid: u32, begun: std::time::Instant) -> String {
    let name = &server.node(node).name;
    let mut line = None;
    loop {
        let health = server.config().health.now();
        match blockers(server, node, pid, &mut line).await {
            Ok(blockers) => match stall::judge(&blockers, begun.elapsed(), health.lock_timeout, health.strangers) {
                Step::Wait => {}
                Step::Name(who) => {
                    tracing::warn!(node = name, who, "a commit waits for a lock that somebody holds there")
                }
                Step::GiveUp(why) => return why,
                Step::End(pids) => end(&line, name, &pids, &blockers).await,
            },
            Err(error) => {
                tracing::debug!(node = name, %error, "cannot ask for whom a commit waits");
                line = None;
            }
        }
        tokio::time::sleep(stall::LOOK).await;
    }
}

async fn blockers(
    server: &Server,
    node: NodeId,
    pid: u32,
    line: &mut Option<Line>,
) -> Result<Vec<Blocker>, ServiceFault> {
    let service = &server.config().service;
    let line = match line {
        Some(line) => line,
        None => line.insert(service::dial(service, server.node(node), &service.database, ANSWER).await?),
    };
    let rows = within(ANSWER, async { Ok(line.query(BLOCKERS, &[&pid.cast_signed()]).await?) }).await?;
    let blocker = |row: tokio_postgres::Row| {
        let (pid, ours): (i32, Option<bool>) = (row.get(0), row.get(1));
        let kind = match (pid, ours) {
            (0, _) => BlockerKind::Prepared,
            _ if server.shared().commands.is_run_by(node, pid.unsigned_abs()) => BlockerKind::Command,
            (_, Some(true)) => BlockerKind::Ours,
            _ => BlockerKind::Stranger,
        };
        Blocker { pid: pid.unsigned_abs(), kind, who: row.get(2) }
    };
    Ok(rows.into_iter().map(blocker).collect())
}

async fn end(line: &Option<Line>, node: &str, pids: &[u32], blockers: &[Blocker]) {
    let Some(line) = line else { return };
    for (pid, blocker) in pids.iter().zip(blockers) {
        tracing::warn!(node, who = %blocker, "ending a session that holds up a commit");
        let pid = pid.cast_signed();
        let ended = async { Ok(line.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await?) };
        if let Err(error) = within(ANSWER, ended).await {
            tracing::warn!(node, %error, "it could not be ended");
        }
    }
}
