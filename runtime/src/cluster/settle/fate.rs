//! What has become of a batch that a follower was sent, when its answer was lost on the way and the node is healthy.

use std::time::Duration;

use lockstep_core::id::NodeId;
use lockstep_core::journal::Witness;
use lockstep_core::unit::commit::Fate;

use super::rows::Probes;
use super::{Unsettled, repair};
use crate::config::Config;
use crate::service::{self, within};

/// The leader holds the unit's locks meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// It may not have read yet what it was sent.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE pid = $1 AND datname = $2";

/// Sees to it that the `backend` is gone, and looks for the witness then.
pub async fn find_out(config: &Config, node: NodeId, database: &str, backend: Option<u32>, witness: Witness) -> Fate {
    let found = within(PATIENCE, async { Ok(look(config, node, database, backend, witness).await) }).await;
    let fate = match found {
        Ok(Ok(fate)) => fate,
        Ok(Err(fault)) => Fate::Unknown(fault.to_string()),
        Err(fault) => Fate::Unknown(fault.to_string()),
    };
    let name = &config.nodes[usize::from(node.0)].name;
    tracing::warn!(
        node = name,
        ?fate,
        "a connection broke in the middle of a commit; the node was asked what became of it"
    );
    fate
}

async fn look(
    config: &Config,
    node: NodeId,
    database: &str,
    backend: Option<u32>,
    witness: Witness,
) -> Result<Fate, Unsettled> {
    if let Some(backend) = backend {
        end(config, node, database, backend).await?;
    }
    let Witness::Row { row, there_after } = witness else { return Ok(Fate::Repeatable) };
    let line = repair::open(config, node, database).await?;
    let rows = Probes::of(&line, &[row]).await?.read(&line).await?;
    Ok(Witness::fate(rows.values().any(|found| !found.is_empty()), there_after))
}

async fn end(config: &Config, node: NodeId, database: &str, backend: u32) -> Result<(), Unsettled> {
    let (service, limit) = (&config.service, config.health.now().timeout);
    let line = service::dial(service, &config.nodes[usize::from(node.0)], &service.database, limit).await?;
    while !line.query(END, &[&backend.cast_signed(), &database]).await?.is_empty() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
