//! Takes back what a DETACH PARTITION … CONCURRENTLY has left that failed halfway: the mark that the partition is about to
//! go, and the constraint that it was given to stand in for its bounds. PostgreSQL itself can only go on from there, when
//! the transactions are over for which the client did not want to wait.
//!
//! Invariant: when this has succeeded, the leader has of the partition what the followers have, who were told nothing.

use std::time::Duration;

use lockstep_core::id::NodeId;
use lockstep_core::plan::Partition;
use lockstep_core::session::Attachment;

use crate::config::Config;
use crate::service::{self, ServiceFault, within};

/// For the connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// For locks that a VACUUM or CREATE INDEX of others may hold; a server that does not answer is the health's business.
const LOCK_PATIENCE: Duration = Duration::from_secs(600);

const UNDO: &str = include_str!("reattach.sql");

const ATTACHED: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits \
    WHERE inhparent = pg_catalog.to_regclass($1) AND inhrelid = pg_catalog.to_regclass($2))";

pub(super) async fn reattach(
    config: &Config,
    leader: NodeId,
    database: &str,
    partition: &Partition,
) -> Result<Attachment, ServiceFault> {
    let node = &config.nodes[usize::from(leader.0)];
    let line = service::dial(&config.service, node, database, PATIENCE).await?;
    within(LOCK_PATIENCE, async {
        let Partition { parent, name } = partition;
        let names: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [parent, name];
        if !line.query_one(ATTACHED, &names).await?.get::<_, bool>(0) {
            return Ok(Attachment::Gone);
        }
        // Those of the DETACH itself, which hold up no reader or writer.
        line.batch_execute(&format!("BEGIN; LOCK TABLE ONLY {parent}, {name} IN SHARE UPDATE EXCLUSIVE MODE")).await?;
        line.execute(
            "SELECT set_config('lockstep.parent', $1, true), set_config('lockstep.partition', $2, true)",
            &names,
        )
        .await?;
        line.batch_execute(UNDO).await?;
        line.batch_execute("COMMIT").await?;
        tracing::warn!(node = node.name, parent, partition = name, "a DETACH that failed halfway was undone");
        Ok(if line.query_one(ATTACHED, &names).await?.get(0) { Attachment::Whole } else { Attachment::Gone })
    })
    .await
}
