//! Membership carried out: who is active, on disk and on the nodes, and the operator's commands.
//!
//! The cluster actor is one [`Guardian`]'s worker on the control arbiter, together with the node actors. It only hands
//! questions out to tasks, so it is never busy; order is kept by [`registry::Registry`], which makes one change at a
//! time. Decisions are [`lockstep_core::cluster`]'s.
//!
//! | file | |
//! | --- | --- |
//! | `client` | how everybody else asks |
//! | `registry`, `state`, `lineage` | the membership, in memory, on disk, on the nodes |
//! | `sight` | looking at all nodes |
//! | `level` | sequences |

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::Arbiter;
use lockstep_core::cluster::health::Judgement;
use lockstep_core::cluster::opening::{self, Opening};
use lockstep_core::cluster::{ClusterId, Event, Member, MemberState, Membership, Refusal, Verdict};
use lockstep_core::commitlock::CommitLock;
use lockstep_core::id::{Epoch, NodeId};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock;
use crate::config::Config;
use crate::node::{self, NodeHandle, ServiceProbe, Standing, Surroundings};
use crate::shared::Shared;
use crate::supervise::Guardian;

mod client;
mod level;
mod lineage;
mod registry;
mod sight;
mod state;

pub use client::ClusterClient;
use client::Command;
use level::Dirty;
use registry::Registry;
use state::{StateDirectory, StateFault};

/// Pause between two looks at the nodes of a cluster that cannot begin yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
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
    #[error("the thread that looks after the nodes has ended")]
    Arbiter,
}

/// The control side of the proxy, from its start to its stop.
pub struct Running {
    shared: Arc<Shared>,
    cluster: Arc<Cluster>,
    /// Dropped first: nobody judges while the rest is taken down.
    guardians: Vec<Guardian>,
    arbiter: Arbiter,
}

/// Starts the node actors and the cluster actor, and decides who serves. Must be called within an actix system.
pub async fn start(config: Config) -> Result<Running, StartFault> {
    let config = Arc::new(config);
    let state = Arc::new(StateDirectory::open(&config.cluster.state_dir)?);
    let registry = Registry::new(config.clone(), state, fresh(&config));
    let dirty = Arc::new(Dirty::default());
    let (client, inbox) = ClusterClient::new(registry.subscribe(), dirty);
    let arbiter = Arbiter::new();
    let positions = 0..config.nodes.len();
    let standings: Vec<_> = positions.map(|position| Arc::new(Standing::new(config.clone(), position))).collect();
    let shared = Arc::new(Shared {
        config: config.clone(),
        membership: registry.membership().clone(),
        commit_lock: CommitLock::new(),
        cluster: client,
        clients: AtomicUsize::new(0),
    });
    let mut guardians = Vec::new();
    let mut nodes = Vec::new();
    for (position, standing) in standings.iter().enumerate() {
        let surroundings = Surroundings {
            node: NodeId(position as u16),
            health: config.health.clone(),
            membership: registry.membership().clone(),
            cluster: shared.cluster.clone(),
        };
        let probe = Arc::new(ServiceProbe::new(config.clone(), position, standing.clone()));
        let (handle, guardian) = node::start(&arbiter.handle(), surroundings, probe);
        nodes.push(handle);
        guardians.push(guardian);
    }
    let cluster = Arc::new(Cluster { shared: shared.clone(), registry, nodes, standings, opening: Mutex::new(()) });
    let opened = cluster.clone();
    on(&arbiter, async move { opened.open().await }).await.unwrap_or(Err(StartFault::Arbiter))?;
    guardians.push(cluster.clone().guard(&arbiter, inbox));
    Ok(Running { shared, cluster, guardians, arbiter })
}

impl Running {
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for commits that are under way, and notes that nothing was left half done.
    pub async fn stop(self) {
        match tokio::time::timeout(STOP_PATIENCE, self.shared.commit_lock.exclusive()).await {
            Ok(_held) => {
                drop(self.guardians);
                self.cluster.registry.mark_clean().await;
            }
            Err(_) => tracing::error!("commits are still under way; the next start will compare the nodes"),
        }
        self.arbiter.stop();
    }
}

/// The nodes as configured, of which nothing is known.
fn fresh(config: &Config) -> Membership {
    let member = |node: &crate::config::Node| Member {
        name: node.name.clone(),
        address: node.address(),
        weight: node.weight,
        state: MemberState::New,
        reason: "has not been looked at".into(),
        since: clock::unix_seconds(),
    };
    Membership { epoch: Epoch(0), members: config.nodes.iter().map(member).collect() }
}

/// Nodes of a cluster that cannot begin yet.
fn waiting(config: &Config, why: &str) -> Membership {
    let mut membership = fresh(config);
    membership.members.iter_mut().for_each(|member| member.reason = why.to_owned());
    membership
}

/// Runs on the control arbiter, where busy sessions do not delay it.
async fn on<T: Send + 'static>(arbiter: &Arbiter, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    arbiter.spawn(async move {
        let _ = answer.send(work.await);
    });
    answered.await.ok()
}

struct Cluster {
    shared: Arc<Shared>,
    registry: Registry,
    nodes: Vec<NodeHandle>,
    standings: Vec<Arc<Standing>>,
    /// One look at all nodes at a time.
    opening: Mutex<()>,
}

impl Cluster {
    fn guard(self: Arc<Self>, arbiter: &Arbiter, inbox: mpsc::Receiver<Command>) -> Guardian {
        let inbox = Arc::new(Mutex::new(inbox));
        let make = move || -> crate::supervise::Life {
            let (cluster, inbox) = (self.clone(), inbox.clone());
            Box::pin(async move {
                let mut inbox = inbox.lock().await;
                loop {
                    tokio::select! {
                        command = inbox.recv() => match command {
                            Some(command) => drop(actix::spawn(cluster.clone().obey(command))),
                            None => return,
                        },
                        () = tokio::time::sleep(LOOK_AGAIN), if cluster.is_waiting() => cluster.try_to_open().await,
                    }
                }
            })
        };
        Guardian::start(&arbiter.handle(), "cluster".into(), Box::new(make))
    }

    async fn obey(self: Arc<Self>, command: Command) {
        match command {
            Command::Suspect { node, why, answer } => {
                let _ = answer.send(self.suspect(node, &why).await);
            }
            Command::Diverged { node, why, answer } => {
                self.diverged(node, why).await;
                let _ = answer.send(());
            }
            Command::Judged { node, judgement } => self.judged(node, judgement).await,
            Command::Operator { .. } => {}
        }
    }

    async fn suspect(&self, node: NodeId, why: &str) -> Verdict {
        let name = &self.shared.config.nodes[usize::from(node.0)].name;
        loop {
            if self.state(node) != MemberState::Active {
                return Verdict::Out;
            }
            match self.nodes[usize::from(node.0)].judge().await {
                Some(Judgement::Dead(dead)) => {
                    self.lost(node, dead).await;
                }
                Some(judgement) => {
                    tracing::debug!(node = name, why, ?judgement, "one connection broke; its node is not blamed");
                    return Verdict::Alive;
                }
                None => tracing::debug!(node = name, "the node's actor failed while it looked; asking again"),
            }
        }
    }

    async fn diverged(&self, node: NodeId, why: String) {
        match self.registry.change(Event::Diverged { node, why: why.clone() }).await {
            Ok(_) | Err(Refusal::NotActive { .. }) => {}
            Err(refusal) => tracing::error!(%node, why, %refusal, "a node diverged but cannot be taken out"),
        }
    }

    async fn judged(&self, node: NodeId, judgement: Judgement) {
        match judgement {
            Judgement::Dead(why) => self.lost(node, why).await,
            Judgement::Alive if self.state(node) == MemberState::Unreachable => self.try_to_open().await,
            _ => {}
        }
    }

    async fn lost(&self, node: NodeId, why: String) {
        if let Err(refusal) = self.registry.change(Event::Lost { node, why }).await {
            tracing::debug!(%refusal, "nothing changes");
        }
    }

    /// The cluster could not be begun yet, so that no node actor watches for anybody's return.
    fn is_waiting(&self) -> bool {
        self.shared.membership.load().current().next().is_none()
    }

    async fn try_to_open(&self) {
        if let Err(fault) = self.open().await {
            tracing::error!(%fault, "nobody serves");
        }
    }

    /// Looks at all nodes and decides who serves, if nobody does.
    async fn open(&self) -> Result<(), StartFault> {
        let _one_at_a_time = self.opening.lock().await;
        if self.shared.membership.load().leader().is_some() {
            return Ok(());
        }
        let seen = sight::look(&self.shared.config, &self.standings)
            .await
            .map_err(|sight::Taken { node, who }| StartFault::AnotherProxy { node, who })?;
        let known = match self.registry.record().await {
            Some(record) => Some(record),
            None => self.registry.load()?,
        };
        let now = clock::unix_seconds();
        let decision = match known {
            Some(record) => opening::reopen(record, &seen, now),
            None => opening::first(fresh(&self.shared.config), draw_cluster_id(), &seen, now),
        };
        match decision {
            Opening::Refuse { why } => return Err(StartFault::Refused(why)),
            Opening::Wait { record, why } => {
                tracing::error!(why, "nobody serves");
                match record {
                    Some(record) => self.registry.install(record).await,
                    None => self.registry.show(waiting(&self.shared.config, &why)),
                }
            }
            Opening::Serve { record, compare: _ } => self.registry.install(record).await,
        }
        Ok(())
    }

    fn state(&self, node: NodeId) -> MemberState {
        self.shared.membership.load().member(node).state
    }
}

fn draw_cluster_id() -> ClusterId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel's random source works");
    ClusterId::from_random(bytes)
}
