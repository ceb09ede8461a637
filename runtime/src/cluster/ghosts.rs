//! What a proxy that was killed has left on the nodes: backends that still execute for it, and replication slots.
//!
//! A backend that is idle sees the end of its connection and goes; one that executes may yet come to a COMMIT that was
//! sent behind its statement. Nothing can be said about what is committed where before none of them is left.

use std::time::Duration;

use lockstep_core::cluster::opening::Ghosts;
use tokio_postgres::Client;

use crate::clock;
use crate::service::{ServiceFault, within};

/// A statement of the former proxy may end by itself within this time; then it is ended.
const NATURAL_END: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Client backends that were there before this connection and came from where it comes from (or from anywhere, by `$1`), and
/// that execute something, hold a transaction open, or are the proxy's own: such a one may not have read yet what it was sent.
const EXECUTING: &str = "SELECT g.pid, left(g.query, 200) FROM pg_stat_activity g, pg_stat_activity us \
    WHERE us.pid = pg_backend_pid() AND g.pid <> us.pid AND g.backend_type = 'client backend' \
      AND (g.state <> 'idle' OR g.application_name = 'lockstep follower') \
      AND ($1 OR g.application_name = 'lockstep follower' OR g.client_addr IS NOT DISTINCT FROM us.client_addr) \
      AND g.backend_start < us.backend_start";

const SLOTS: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
    WHERE slot_name ~ '^lockstep_recover_' AND NOT active";

/// Returns when none is left.
pub async fn lay(client: &Client, node: &str, whose: Ghosts) -> Result<(), ServiceFault> {
    let begun = clock::now();
    within(PATIENCE, async {
        loop {
            let left = client.query(EXECUTING, &[&(whose == Ghosts::Anywhere)]).await?;
            if left.is_empty() {
                client.execute(SLOTS, &[]).await?;
                return Ok(());
            }
            if begun.elapsed() > NATURAL_END {
                for backend in &left {
                    let (pid, query): (i32, &str) = (backend.get(0), backend.get(1));
                    tracing::warn!(node, pid, query, "ending a statement that the former proxy left behind");
                    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}
