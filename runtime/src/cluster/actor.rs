//! The cluster actor: what is done about each question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Arbiter;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lockstep_core::cluster::health::{Death, Finding, Judgement, find, witnessed};
use lockstep_core::cluster::{Event, MemberState, Refusal, Verdict};
use lockstep_core::id::NodeId;
use tokio::sync::{Mutex, mpsc};

use super::Command;
use super::capture::Capturing;
use super::level::Leveller;
use super::registry::Registry;
use crate::clock;
use crate::node::{NodeHandle, Standing};
use crate::shared::Shared;
use crate::supervise::{Guardian, Life, Make};

/// So many of health's time-outs long, a silence of all nodes is waited out.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) leveller: Arc<Leveller>,
    pub(super) nodes: Vec<NodeHandle>,
    pub(super) standings: Vec<Arc<Standing>>,
    /// One look at all nodes at a time; holds why nobody could serve when they were last looked at.
    pub(super) opening: Mutex<Option<String>>,
    /// Held while tables get their triggers.
    pub(super) capturing: Mutex<Capturing>,
    /// Name of the operator's command that is running: one at a time.
    pub(super) busy: std::sync::Mutex<Option<String>>,
    /// Whether no node answers, and that is waited out.
    stalled: AtomicBool,
    /// Whether nodes are being compared for an operator or in the background.
    pub(super) comparing: AtomicBool,
}

impl Cluster {
    pub fn new(
        shared: Arc<Shared>,
        registry: Registry,
        leveller: Arc<Leveller>,
        nodes: Vec<NodeHandle>,
        standings: Vec<Arc<Standing>>,
    ) -> Self {
        let (opening, capturing, busy) = (Mutex::new(None), Mutex::default(), std::sync::Mutex::new(None));
        let (stalled, comparing) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { shared, registry, leveller, nodes, standings, opening, capturing, busy, stalled, comparing }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The workers of the cluster actor: one answers, one levels sequences, one looks after what is not as it should be,
    /// one compares the nodes in the background.
    pub fn guard(self: Arc<Self>, arbiter: &Arbiter, inbox: mpsc::Receiver<Command>) -> [Guardian; 4] {
        let worker = |name: &str, make: Make| Guardian::start(&arbiter.handle(), name.to_owned(), make);
        let inbox = Arc::new(Mutex::new(inbox));
        let cluster = self.clone();
        let answering = move || -> Life {
            let (cluster, inbox) = (cluster.clone(), inbox.clone());
            Box::pin(async move { cluster.serve(&mut *inbox.lock().await).await })
        };
        let cluster = self.clone();
        let levelling = move || -> Life {
            let cluster = cluster.clone();
            Box::pin(async move { cluster.leveller.run(&cluster.shared.membership).await })
        };
        let cluster = self.clone();
        let scrubbing = move || -> Life { Box::pin(cluster.clone().scrub()) };
        let caring = move || -> Life { Box::pin(self.clone().look_after()) };
        [
            worker("cluster", Box::new(answering)),
            worker("leveller", Box::new(levelling)),
            worker("caretaker", Box::new(caring)),
            worker("scrub", Box::new(scrubbing)),
        ]
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
        while let Some(command) = inbox.recv().await {
            actix::spawn(self.clone().obey(command));
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
            Command::Capture { wish, answer } => {
                let _ = answer.send(self.capture(&wish).await);
            }
            Command::Weigh { weights, answer } => {
                let _ = answer.send(self.weigh(weights).await);
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

    pub(super) async fn diverged(&self, node: NodeId, why: String) {
        self.shared.heirs.fell(node, false);
        match self.registry.change(Event::Diverged { node, why: why.clone() }).await {
            Ok(_) | Err(Refusal::NotActive { .. }) => {}
            Err(refusal) => {
                tracing::error!(node = self.name(node), why, %refusal, "a node diverged but cannot be taken out")
            }
        }
    }

    async fn weigh(&self, weights: Vec<u32>) -> Result<(), String> {
        if self.shared.membership.load().members.iter().map(|member| member.weight).eq(weights.iter().copied()) {
            return Ok(());
        }
        if self.registry.record().await.is_none() {
            return Err("no node has served yet; start again".into());
        }
        self.registry.can_change().await.map_err(|fault| format!("the state file cannot be written: {fault}"))?;
        match self.registry.change(Event::Weighed { weights }).await {
            Ok(_) | Err(Refusal::Idle) => Ok(()),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    async fn judged(self: Arc<Self>, node: NodeId, judgement: Judgement) {
        match judgement {
            Judgement::Dead(death) => self.lost(node, death).await,
            Judgement::Alive if self.state(node) == MemberState::Unreachable => self.try_to_open().await,
            _ => {}
        }
    }

    async fn lost(&self, node: NodeId, mut death: Death) {
        let (begun, timeout) = (clock::now(), self.shared.config.health.now().timeout);
        let mut heard = false;
        let event = loop {
            let others = self.judge_others(node).await;
            let patient = begun.elapsed() < timeout * PATIENCE;
            let finding = find(&death, &others, patient, heard);
            heard = witnessed(&others);
            match finding {
                Finding::Lost => break Event::Lost { node, why: death.why() },
                Finding::AllLost => {
                    break Event::AllLost { why: format!("no node answers; {}: {}", self.name(node), death.why()) };
                }
                Finding::Undecided => {
                    if !heard && !self.stalled.swap(true, Ordering::Relaxed) {
                        let why = death.clone().why();
                        tracing::warn!(node = self.name(node), why, "no node answers; waiting for the first that does");
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
            if self.state(node) != MemberState::Active {
                return self.moves();
            }
            match self.nodes[usize::from(node.0)].judge().await {
                Some(Judgement::Dead(again)) => death = again,
                Some(_) => return self.moves(),
                None => {}
            }
        };
        self.moves();
        if matches!(event, Event::Lost { .. }) {
            let silently = self.standings[usize::from(node.0)].is_silent().await;
            self.shared.heirs.fell(node, silently);
        }
        if let Err(refusal) = self.registry.change(event).await {
            tracing::debug!(%refusal, "nothing changes");
        }
    }

    fn moves(&self) {
        if self.stalled.swap(false, Ordering::Relaxed) {
            tracing::info!("the wait for an answer is over");
        }
    }

    /// The other active nodes, looked at now, up to the first that is not dead.
    async fn judge_others(&self, node: NodeId) -> Vec<Judgement> {
        let membership = self.shared.membership.load_full();
        let others = membership.active().filter(|other| *other != node).map(|other| &self.nodes[usize::from(other.0)]);
        let mut asked: FuturesUnordered<_> = others.map(NodeHandle::judge).collect();
        let mut judged = Vec::new();
        while let Some(judgement) = asked.next().await {
            judged.push(judgement.unwrap_or_else(|| Judgement::Unproved("its actor failed".into())));
            if witnessed(&judged) {
                break;
            }
        }
        judged
    }

    pub(super) fn state(&self, node: NodeId) -> MemberState {
        self.shared.membership.load().member(node).state
    }

    pub(super) fn name(&self, node: NodeId) -> &str {
        &self.shared.config.nodes[usize::from(node.0)].name
    }
}
