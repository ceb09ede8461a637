//! Lineage on the nodes: one row in `lockstep.lineage`, in the service's database.

use std::time::Duration;

use lockstep_core::cluster::{ClusterId, Lineage, Membership};
use lockstep_core::id::{Epoch, NodeId};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::service::{self, ServiceFault, within};

const MAKE: &str = "CREATE SCHEMA IF NOT EXISTS lockstep; \
    CREATE TABLE IF NOT EXISTS lockstep.lineage ( \
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), \
        cluster text NOT NULL, epoch bigint NOT NULL, parent bigint NOT NULL, active text[] NOT NULL)";

const WRITE: &str = "INSERT INTO lockstep.lineage (cluster, epoch, parent, active) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (only_row) DO UPDATE SET cluster = excluded.cluster, epoch = excluded.epoch, \
        parent = excluded.parent, active = excluded.active \
    WHERE $5 OR lineage.cluster <> excluded.cluster OR lineage.epoch < excluded.epoch";

/// What may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Any,
    /// Not what has come in between.
    Older,
}

/// Of one that lives as long as the server's shared memory.
const RUNNING_SINCE: &str = "SELECT concat(s.system_identifier, ' ', extract(epoch FROM a.backend_start)) \
    FROM pg_stat_activity a, pg_control_system() s WHERE a.backend_type = 'checkpointer' AND a.backend_start IS NOT NULL";

/// The lineage that a membership stands for.
pub fn of(cluster: &ClusterId, parent: Epoch, membership: &Membership) -> Lineage {
    let mut active: Vec<_> = membership.active().map(|id| membership.member(id).name.clone()).collect();
    active.sort();
    Lineage { cluster: cluster.clone(), epoch: membership.epoch, parent, active }
}

/// `None`: the node has never been in a cluster.
pub async fn read(client: &Client, limit: Duration) -> Result<Option<Lineage>, ServiceFault> {
    let sql = "SELECT cluster, epoch, parent, active FROM lockstep.lineage";
    match within(limit, async { Ok(client.query_opt(sql, &[]).await?) }).await {
        Ok(row) => Ok(row.map(|row| Lineage {
            cluster: ClusterId(row.get(0)),
            epoch: epoch(row.get(1)),
            parent: epoch(row.get(2)),
            active: row.get(3),
        })),
        Err(fault) if fault.is(&SqlState::UNDEFINED_TABLE) || fault.is(&SqlState::INVALID_SCHEMA_NAME) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Since when the server runs, all its processes: after a crash even of one of them it has lost what it had not forced to
/// disk. `None`: the service's role may not see it.
pub async fn running_since(client: &Client) -> Result<Option<String>, ServiceFault> {
    let row = client.query_opt(RUNNING_SINCE, &[]).await?;
    Ok(row.and_then(|row| row.get(0)))
}

/// So long may [`write`] take with this limit.
pub fn longest(limit: Duration) -> Duration {
    limit * 5 / 2
}

/// Writes on a connection of its own, so that nothing that hangs there holds up the pulse. Gives since when the server runs.
/// `limit`: for the login; what follows is more round trips, and has half as much again.
pub async fn write(
    config: &Config,
    node: NodeId,
    lineage: &Lineage,
    over: Over,
    limit: Duration,
) -> Result<Option<String>, ServiceFault> {
    let (service, timeout) = (&config.service, config.health.now().timeout);
    let line = service::dial(service, &config.nodes[usize::from(node.0)], &service.database, limit).await?;
    let number = |epoch: Epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX);
    within(limit * 3 / 2, async {
        // Before it is not waited for any longer here: who says that it cannot be done is not taken for dead.
        line.batch_execute(&format!("SET statement_timeout = {}", timeout.as_millis() / 2)).await?;
        let (epoch, parent) = (number(lineage.epoch), number(lineage.parent));
        let any = over == Over::Any;
        let write = async || line.execute(WRITE, &[&lineage.cluster.0, &epoch, &parent, &lineage.active, &any]).await;
        match write().await {
            Err(error) if is_missing(&error) => {
                line.batch_execute(MAKE).await?;
                write().await?;
            }
            outcome => drop(outcome?),
        }
        running_since(&line).await
    })
    .await
}

fn is_missing(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME))
}

fn epoch(number: i64) -> Epoch {
    Epoch(u64::try_from(number).unwrap_or(0))
}
