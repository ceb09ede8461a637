//! A takeover, carried out: looked at, held still while a human decides, written down.
//!
//! Invariant: from the look to the end no other proxy can begin to serve the nodes that answer, and no other on this
//! machine can use the state directory; nothing is changed before [`Prospect::enter`].

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::Record;
use lockstep_core::cluster::takeover::{NoTakeover, Takeover, take_over};

use super::open::fresh;
use super::state::{StateDirectory, StateFault};
use super::{StartFault, sight};
use crate::clock;
use crate::config::{Config, Node};
use crate::node::Standing;
use crate::roster::Roster;
use crate::service::{ServiceFault, within};

#[derive(Debug, thiserror::Error)]
pub enum TakeoverFault {
    #[error(transparent)]
    Start(#[from] StartFault),
    #[error(transparent)]
    None(#[from] NoTakeover),
}

impl From<StateFault> for TakeoverFault {
    fn from(fault: StateFault) -> Self {
        Self::Start(fault.into())
    }
}

/// A takeover that may be entered upon.
#[derive(Debug)]
pub struct Prospect {
    pub takeover: Takeover,
    /// When the chosen node has last written anything at all; `None` where it does not tell.
    pub last_write: Option<String>,
    state: StateDirectory,
    /// They hold the guards.
    _standings: Roster<Arc<Standing>>,
}

/// Looks at all nodes. `keep` names the node whose data counts, where that must be said.
pub async fn look(config: &Config, keep: Option<&str>) -> Result<Prospect, TakeoverFault> {
    let state = StateDirectory::open(&config.cluster.state_dir)?;
    let shared = Arc::new(config.clone());
    let standing = |node: &Node| Arc::new(Standing::new(shared.clone(), node.clone()));
    let standings: Roster<_> = config.nodes.iter().map(standing).collect();
    let seen = sight::look(config, &standings, sight::GONE).await.map_err(StartFault::from)?;
    let fresh = fresh(config);
    let known: Option<Record> = state.load(&fresh)?;
    let takeover = take_over(fresh, known.as_ref(), &seen, keep, clock::unix_seconds())?;
    let last_write =
        last_write(&standings[usize::from(takeover.chosen.0)], config.health.now().timeout).await.ok().flatten();
    Ok(Prospect { takeover, last_write, state, _standings: standings })
}

impl Prospect {
    /// Writes the decision down; the state file that there was is kept beside it. The next start goes by it.
    pub fn enter(self) -> Result<(), StateFault> {
        self.state.set_aside()?;
        self.state.save(&self.takeover.record)
    }
}

/// The newest change of a file of the write-ahead log. Every commit of a proxy has changed one, its health check too.
async fn last_write(standing: &Standing, limit: Duration) -> Result<Option<String>, ServiceFault> {
    let Ok(line) = standing.line().await else { return Ok(None) };
    let sql = "SELECT max(modification)::timestamptz(0)::text FROM pg_catalog.pg_ls_waldir()";
    within(limit, async { Ok(line.query_one(sql, &[]).await?.get(0)) }).await
}
