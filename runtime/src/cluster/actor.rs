//! The cluster actor: what is done about each question.

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use lockstep_core::cluster::health::Judgement;
use lockstep_core::cluster::{Event, MemberState, Refusal, Verdict};
use lockstep_core::id::NodeId;
use tokio::sync::{Mutex, mpsc};

use super::client::Command;
use super::level::Leveller;
use super::registry::Registry;
use crate::node::{NodeHandle, Standing};
use crate::shared::Shared;
use crate::supervise::{Guardian, Life};

/// Pause between two looks at the nodes of a cluster that cannot begin yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) leveller: Arc<Leveller>,
    pub(super) nodes: Vec<NodeHandle>,
    pub(super) standings: Vec<Arc<Standing>>,
    /// One look at all nodes at a time; holds why nobody could serve when they were last looked at.
    pub(super) opening: Mutex<Option<String>>,
    /// Name of the operator's command that is running: one at a time.
    pub(super) busy: std::sync::Mutex<Option<String>>,
}

impl Cluster {
    pub fn new(
        shared: Arc<Shared>,
        registry: Registry,
        leveller: Arc<Leveller>,
        nodes: Vec<NodeHandle>,
        standings: Vec<Arc<Standing>>,
    ) -> Self {
        let (opening, busy) = (Mutex::new(None), std::sync::Mutex::new(None));
        Self { shared, registry, leveller, nodes, standings, opening, busy }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn guard(self: Arc<Self>, arbiter: &Arbiter, inbox: mpsc::Receiver<Command>) -> Guardian {
        let inbox = Arc::new(Mutex::new(inbox));
        let make = move || -> Life {
            let (cluster, inbox) = (self.clone(), inbox.clone());
            Box::pin(async move { cluster.serve(&mut *inbox.lock().await).await })
        };
        Guardian::start(&arbiter.handle(), "cluster".into(), Box::new(make))
    }

    /// Commits are held: what is left is to level sequences and to say that all is in order.
    pub async fn finish(&self) {
        let membership = self.shared.membership.load_full();
        match self.leveller.level_marked(&membership).await {
            Ok(true) => self.registry.mark_clean().await,
            Ok(false) => tracing::error!("sequences are still being drawn from; the next start will compare the nodes"),
            Err(fault) => tracing::error!(%fault, "sequences are not level; the next start will compare the nodes"),
        }
    }

    async fn serve(self: Arc<Self>, inbox: &mut mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => drop(actix::spawn(self.clone().obey(command))),
                    None => return,
                },
                () = tokio::time::sleep(LOOK_AGAIN), if self.is_waiting() => self.clone().try_to_open().await,
            }
        }
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
            Command::Operator { request, replies } => self.operate(request, replies).await,
        }
    }

    async fn suspect(&self, node: NodeId, why: &str) -> Verdict {
        let name = self.name(node);
        loop {
            if self.state(node) != MemberState::Active {
                return Verdict::Out;
            }
            match self.nodes[usize::from(node.0)].judge().await {
                Some(Judgement::Dead(dead)) => self.lost(node, dead).await,
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
            Err(refusal) => {
                tracing::error!(node = self.name(node), why, %refusal, "a node diverged but cannot be taken out")
            }
        }
    }

    async fn judged(self: Arc<Self>, node: NodeId, judgement: Judgement) {
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

    pub(super) fn state(&self, node: NodeId) -> MemberState {
        self.shared.membership.load().member(node).state
    }

    pub(super) fn name(&self, node: NodeId) -> &str {
        &self.shared.config.nodes[usize::from(node.0)].name
    }
}
