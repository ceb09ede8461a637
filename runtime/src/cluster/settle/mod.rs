//! After the proxy was killed, or when all nodes were lost at once and are back: what the journal names is made equal, so that
//! all nodes serve at once.
//!
//! Before anybody serves. What is not certain is left to a full comparison ([`super::admit`]); why it is certain is written
//! in [`lockstep_core::journal`].

use std::time::Duration;

use lockstep_core::cluster::{Membership, Record};
use lockstep_core::id::NodeId;
use lockstep_core::journal::{self, Doubt, Origin, Present, Settlement};

use super::actor::Cluster;
use super::lineage;
use crate::clock;
use crate::journal::{NoJournal, boot};
use crate::node::StandingFault;
use crate::service::{ServiceFault, within};

pub mod fate;
mod repair;
mod rows;

/// What takes longer is better done while the preferred node serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the nodes have to be compared in full.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsettled {
    #[error("the journal: {0}")]
    NoJournal(#[from] NoJournal),
    #[error("the journal: {0}")]
    Doubt(#[from] Doubt),
    #[error(transparent)]
    Standing(#[from] StandingFault),
    #[error(transparent)]
    Service(#[from] ServiceFault),
    #[error("rows of {table} may be followed by rows of other tables")]
    Followed { table: String },
    #[error("triggers or rules of {table} fire also for rows that are copied")]
    Triggers { table: String },
    #[error("{table} has no key, or is not there any more")]
    NoKey { table: String },
    #[error("units that were being committed have touched too many rows")]
    TooMany,
    #[error("a key in the journal is cut short")]
    Key,
    #[error("rows of {table} could not be made equal")]
    Differs { table: String },
    #[error("nobody leads")]
    NobodyLeads,
}

impl From<tokio_postgres::Error> for Unsettled {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Service(error.into())
    }
}

impl Cluster {
    /// Makes `nodes` equal to the leader of `next`, or all of them to the former leader, and levels their sequences, which
    /// `jump` before. Nothing of the former proxy is left on them. False: the nodes have to be compared.
    pub(super) async fn settle(&self, known: &Record, next: &Membership, nodes: &[NodeId], jump: bool) -> bool {
        let begun = clock::now();
        let settled = async {
            let units = self.settle_rows(known, next, nodes).await?;
            if jump {
                self.jump(next).await;
            }
            for node in nodes {
                self.leveller.level_joining(next, *node).await?;
            }
            Ok::<_, Unsettled>(units)
        };
        match settled.await {
            Ok(units) => {
                tracing::info!(units, took = ?begun.elapsed(), "the journal has settled what was under way");
                true
            }
            Err(why) => {
                tracing::warn!(%why, "what was under way cannot be settled by the journal; the nodes are compared");
                false
            }
        }
    }

    /// Gives the number of units that were open.
    async fn settle_rows(&self, known: &Record, next: &Membership, nodes: &[NodeId]) -> Result<usize, Unsettled> {
        let leader = next.leader().ok_or(Unsettled::NobodyLeads)?;
        let all: Vec<NodeId> = std::iter::once(leader).chain(nodes.iter().copied()).collect();
        let contents = self.shared.journal.unsettled()?;
        let (cluster, outlives) = (known.cluster.0.clone(), self.shared.config.journal.outlives);
        let origin = Origin { cluster, boot: boot(), outlives };
        let present = self.present(&all).await?;
        let Settlement { right, others, units, touches } =
            journal::settle(contents, &origin, &known.membership, (leader, nodes), &present)?;
        for (database, touches) in touches {
            let work = repair::make_equal(&self.shared.config, &database, right, &others, &touches);
            within(PATIENCE, async { Ok(work.await) }).await??;
        }
        Ok(units)
    }

    async fn present(&self, nodes: &[NodeId]) -> Result<Vec<Present>, Unsettled> {
        let mut present = Vec::new();
        for node in nodes {
            let line = self.standings[usize::from(node.0)].line().await?;
            let limit = self.shared.config.health.now().timeout;
            let start = within(limit, lineage::running_since(&line)).await?;
            present.push(Present { name: self.name(*node).to_owned(), start });
        }
        Ok(present)
    }
}
