//! Membership carried out: who is active, on disk and on the nodes, and the operator's commands.
//!
//! The cluster actor is one [`Guardian`]'s worker on the control arbiter, together with the node actors and the sequence
//! leveller. It only hands questions out to tasks, so it is never busy; order is kept by [`registry::Registry`], which
//! makes one change at a time. Decisions are [`lockstep_core::cluster`]'s.
//!
//! | file | |
//! | --- | --- |
//! | `client` | how everybody else asks |
//! | `actor` | what is done about it |
//! | `registry`, `state`, `lineage` | the membership: in memory, on disk, on the nodes |
//! | `sight`, `ghosts`, `open` | a start: looking at all nodes, deciding who serves |
//! | `settle`, `admit` | showing that the others are equal: by the journal, or by a full comparison |
//! | `admission` | what clients and operators learn of that comparison |
//! | `handback` | the preferred node leads again |
//! | `takeover` | serving without the nodes that are gone |
//! | `succession` | when a new leader may be asked for the first time |
//! | `command` | what an operator can ask for |
//! | `configure` | nodes that come and go with the configuration, and their weights |
//! | `pause` | clients held, and let go on |
//! | `compare`, `recover` | full comparison under held commits; making a node equal |
//! | `verify` | comparison of the active nodes while clients write |
//! | `capture` | what makes rows known that triggers and functions change |
//! | `dirty`, `level`, `sequences` | sequences |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use actix::Arbiter;
use lockstep_core::commitlock::CommitLock;
use lockstep_core::heirs::Heirs;
use lockstep_core::inflight::InFlight;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::door::reload::{self, Reloads};
use crate::door::{self, DoorFault};
use crate::journal::Journal;
use crate::shared::Shared;
use crate::supervise::Guardian;

mod actor;
mod admission;
mod admit;
mod capture;
mod client;
mod command;
mod compare;
mod configure;
mod dirty;
mod ghosts;
mod handback;
mod hold;
mod level;
mod lineage;
mod open;
mod pause;
mod recover;
mod registry;
mod report;
mod sequences;
pub(crate) mod settle;
mod sight;
mod state;
mod succession;
pub mod takeover;
mod verify;

use actor::Cluster;
pub use admission::Admission;
pub use capture::Wish;
pub use client::{ClusterClient, Command};
pub use command::status;
pub use compare::{CompareFault, compare_nodes};
use dirty::Dirty;
use level::Leveller;
use registry::Registry;
pub use report::Report;
use state::StateDirectory;
pub use state::StateFault;
pub use succession::{Succession, gathered};

/// Databases that an arbiter may have to be told of at once; one that falls behind closes all its idle connections.
const VACATED: usize = 16;
/// From one look at the proxy that serves to the next, when this one stands by.
const STAND_BY: Duration = Duration::from_secs(1);
/// How long commits that are under way may take at an orderly stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error(transparent)]
    State(#[from] StateFault),
    #[error("another proxy serves node {node}: {who}; stop it first, for two proxies would part the nodes")]
    AnotherProxy { node: String, who: String },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Door(#[from] DoorFault),
    #[error("the thread that looks after the nodes has ended")]
    Arbiter,
}

impl From<sight::Taken> for StartFault {
    fn from(sight::Taken { node, who }: sight::Taken) -> Self {
        Self::AnotherProxy { node, who }
    }
}

/// Returns when no other proxy uses the nodes; says once which one does.
pub async fn stand_by(config: &Config) {
    let mut told = None;
    while let Err(sight::Taken { node, who }) = sight::are_free(config).await {
        if told.as_ref() != Some(&who) {
            tracing::info!(node, proxy = who, "standing by: another proxy serves");
            told = Some(who);
        }
        tokio::time::sleep(STAND_BY).await;
    }
}

/// The control side of the proxy, from its start to its stop.
pub struct Running {
    cluster: Arc<Cluster>,
    guardians: Vec<Guardian>,
    arbiter: Arbiter,
    reloads: Option<Reloads>,
}

/// Opens the operator's doors, starts the actors and decides who serves. A comparison of the others may go on behind it.
/// Must be called within an actix system.
pub async fn start(config: Config) -> Result<Running, StartFault> {
    let config = Arc::new(config);
    let state = Arc::new(StateDirectory::open(&config.cluster.state_dir)?);
    let login_secret = state.login_secret()?;
    let dirty = Arc::new(Dirty::default());
    let leveller = Arc::new(Leveller::new(config.clone(), dirty.clone()));
    let journal = Arc::new(Journal::new(&config.cluster.state_dir, config.journal.outlives));
    let registry = Registry::new(config.clone(), state, leveller.clone(), journal.clone());
    let (client, inbox) = ClusterClient::new(registry.subscribe(), dirty);
    let (asking, reloads) = reload::channel();
    let shared = Arc::new(Shared {
        config,
        membership: registry.membership().clone(),
        intake: Arc::default(),
        commit_lock: CommitLock::new(),
        succession: Succession::default(),
        heirs: Heirs::default(),
        in_flight: InFlight::new(),
        utilities: Arc::default(),
        commands: Arc::default(),
        vacated: tokio::sync::broadcast::Sender::new(VACATED),
        journal,
        unwritten: registry.unwritten().clone(),
        cluster: client,
        login_secret,
        clients: AtomicUsize::new(0),
        reloads: asking,
        waived: AtomicU64::new(0),
        admission: Arc::default(),
        scrubbed: arc_swap::ArcSwapOption::empty(),
    });
    let arbiter = Arbiter::new();
    let doors = on(&arbiter, door::open(shared.clone())).await.ok_or(StartFault::Arbiter)??;
    let cluster = Arc::new(Cluster::new(shared, registry, leveller, &arbiter.handle()));
    let opened = cluster.clone();
    on(&arbiter, async move { opened.start().await }).await.ok_or(StartFault::Arbiter)??;
    let guardians = cluster.clone().guard(&arbiter, inbox).into();
    arbiter.spawn(async move { doors.serve() });
    Ok(Running { cluster, guardians, arbiter, reloads: Some(reloads) })
}

impl Running {
    pub fn shared(&self) -> &Arc<Shared> {
        self.cluster.shared()
    }

    /// Operators' wishes to take on a changed configuration; for the first who asks for them.
    pub fn reloads(&mut self) -> Option<Reloads> {
        self.reloads.take()
    }

    /// Waits for commits that are under way, and notes that nothing was left half done.
    pub async fn stop(self) {
        self.shared().admission.give_up();
        match tokio::time::timeout(STOP_PATIENCE, self.shared().commit_lock.exclusive()).await {
            Ok(_held) => self.cluster.finish().await,
            Err(_) => tracing::error!("commits are still under way; the next start will compare the nodes"),
        }
        self.abandon().await;
    }

    /// Ends where it stands: the next start finds things as after a crash.
    pub async fn abandon(self) {
        drop(self.guardians);
        self.cluster.stop_watching();
        self.arbiter.stop();
        // Its sockets, and with them the guards, and the lock on the state directory go with the thread.
        let arbiter = self.arbiter;
        let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
    }
}

/// Runs on the control arbiter, where busy sessions do not delay it.
async fn on<T: Send + 'static>(arbiter: &Arbiter, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    arbiter.spawn(async move {
        let _ = answer.send(work.await);
    });
    answered.await.ok()
}
