//! Giving leadership back to the preferred node, at a moment when nobody notices.
//!
//! A node that comes back follows first, for transactions are open on the leader and would be lost. When every session
//! has been idle for a while, commits are held, sequences are level, and the preferred node leads again.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::{Event, Membership};
use lockstep_core::commitlock::Pass;
use lockstep_core::id::NodeId;

use super::actor::Cluster;
use crate::service::{self, ServiceFault, within};

/// Sessions that have done nothing for so long are not about to. Ours are told from others by the exact names that they
/// give themselves, and not by what these begin with: the commands of this program are clients too. One with an advisory
/// lock would lose it.
const QUIET: &str = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name !~ '^lockstep ([0-9]+|follower)$' \
      AND (state <> 'idle' OR state_change > now() - interval '5 s' \
           OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')))";
const PATIENCE: Duration = Duration::from_secs(5);

impl Cluster {
    pub(super) async fn try_to_hand_back(&self, membership: &Arc<Membership>) {
        let (Some(leader), Some(preferred)) = (membership.leader(), membership.preferred()) else { return };
        let _held = match tokio::time::timeout(PATIENCE, self.quiet_moment(membership, leader)).await {
            Ok(Ok(Some(held))) => held,
            Ok(Ok(None)) => return,
            Ok(Err(fault)) => return tracing::debug!(%fault, "leadership is not handed back yet"),
            Err(_) => return tracing::debug!("leadership is not handed back yet: commits are under way"),
        };
        // Outside the time-out: a change that ended half way would be on disk and not in force.
        match self.registry.change(Event::HandBack).await {
            Ok(_) => tracing::info!(from = self.name(leader), to = self.name(preferred), "leadership was handed back"),
            Err(refusal) => tracing::debug!(%refusal, "leadership is not handed back"),
        }
    }

    /// Commits held, when all sessions are idle, sequences are level and `membership` is still in force.
    async fn quiet_moment(&self, membership: &Arc<Membership>, leader: NodeId) -> Result<Option<Pass>, ServiceFault> {
        let (service, node) = (&self.shared.config.service, &self.shared.config.nodes[usize::from(leader.0)]);
        let line = service::dial(service, node, &service.database, PATIENCE).await?;
        let is_quiet =
            async || within(PATIENCE, async { Ok(line.query_one(QUIET, &[]).await?.get::<_, bool>(0)) }).await;
        if !is_quiet().await? {
            return Ok(None);
        }
        let held = self.shared.commit_lock.exclusive().await;
        let is_level = self.leveller.level_marked(membership).await?;
        let is_moment = is_level && is_quiet().await? && **self.shared.membership.load() == **membership;
        Ok(is_moment.then_some(held))
    }
}
