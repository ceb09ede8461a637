//! The cluster actor: what is done about each question.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lockstep_core::cluster::health::{Death, Finding, Judgement, find, witnessed};
use lockstep_core::cluster::{Event, MemberState, Refusal, Verdict};
use lockstep_core::id::NodeId;
use tokio::sync::{Mutex, mpsc};

use super::Command;
use super::capture::Capturing;
use super::configure::Watched;
use super::level::Leveller;
use super::registry::Registry;
use crate::clock;
use crate::config::Node;
use crate::node::{LAST_WORD, NodeHandle, Pulses, Standing};
use crate::roster::Roster;
use crate::shared::Shared;
use crate::supervise::{Guardian, Life, Make};

/// So many of health's time-outs long, a silence of all nodes is waited out.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) leveller: Arc<Leveller>,
    pub(super) watched: Roster<Watched>,
    pub(super) standings: Roster<Arc<Standing>>,
    pub(super) pulses: Arc<Pulses>,
    /// One look at all nodes at a time; holds why nobody could serve when they were last looked at.
    pub(super) opening: Mutex<Option<String>>,
    /// Held while tables get their triggers.
    pub(super) capturing: Mutex<Capturing>,
    /// Name of the operator's command that is running: one at a time.
    pub(super) busy: std::sync::Mutex<Option<String>>,
    /// Held while it is found out what a death means, and while a silence of all nodes is waited out.
    losing: Mutex<()>,
    /// Whether nodes are being compared for an operator or in the background.
    pub(super) comparing: AtomicBool,
}

impl Cluster {
    pub fn new(shared: Arc<Shared>, registry: Registry, leveller: Arc<Leveller>, arbiter: &ArbiterHandle) -> Self {
        let standing = |node: &Node| Arc::new(Standing::new(shared.config.clone(), node.clone()));
        let standings: Roster<_> = shared.config.nodes.iter().map(standing).collect();
        let pulses = Arc::<Pulses>::default();
        let watch = |(position, standing)| Watched::start(arbiter, &shared, &pulses, position, standing);
        let watched = standings.iter().enumerate().map(watch).collect();
        let (opening, capturing, losing) = (Mutex::new(None), Mutex::default(), Mutex::default());
        let (busy, comparing) = (std::sync::Mutex::new(None), AtomicBool::new(false));
        Self { shared, registry, leveller, watched, standings, pulses, opening, capturing, busy, losing, comparing }
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
        if membership.leader().is_none() {
            // As after a crash: of what was under way when the last node was lost, some nodes may have more than others.
            return tracing::warn!(
                "nobody leads; the next start will settle what was under way when the last node was lost"
            );
        }
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
            Command::Level { database, answer } => {
                self.leveller.level_now(&database, self.shared.membership.load_full()).await;
                let _ = answer.send(());
            }
            Command::Configure { nodes, answer } => {
                let _ = answer.send(self.configure(nodes).await);
            }
            Command::Judged { node, judgement } => self.judged(node, judgement).await,
            Command::Operator { request, replies } => self.operate(request, replies).await,
        }
    }

    pub(super) async fn suspect(&self, node: NodeId, why: &str) -> Verdict {
        while let Some(death) = self.death(node).await {
            self.lost(node, death).await;
        }
        if self.state(node) != MemberState::Active {
            return Verdict::Out;
        }
        tracing::debug!(node = self.name(node), why, "one connection broke; its node is not blamed");
        Verdict::Alive
    }

    pub(super) async fn diverged(&self, node: NodeId, why: String) {
        self.falls(node).await;
        match self.registry.change(Event::Diverged { node, why: why.clone() }).await {
            Ok(_) | Err(Refusal::NotActive { .. }) => {}
            Err(refusal) => {
                tracing::error!(node = self.name(node), why, %refusal, "a node diverged but cannot be taken out")
            }
        }
    }

    async fn judged(self: Arc<Self>, node: NodeId, judgement: Judgement) {
        match judgement {
            Judgement::Dead(death) => self.lost(node, death).await,
            Judgement::Alive if self.state(node) == MemberState::Unreachable => self.try_to_open().await,
            _ => {}
        }
    }

    /// One death at a time is thought about. Who brings another meanwhile looks at its node again afterwards.
    async fn lost(&self, node: NodeId, death: Death) {
        let Ok(_one) = self.losing.try_lock() else { return drop(self.losing.lock().await) };
        let Some(event) = self.meaning(node, death).await else { return };
        if let Err(refusal) = self.registry.change(event).await {
            tracing::debug!(%refusal, "nothing changes");
        }
    }

    /// To be said before the node is out.
    pub(super) async fn falls(&self, node: NodeId) {
        self.fell(node, LAST_WORD).await;
    }

    async fn fell(&self, node: NodeId, patience: Duration) {
        let silently = self.standings[usize::from(node.0)].is_silent(patience).await;
        self.shared.heirs.fell(node, silently);
    }

    /// What its death means for the cluster; of one that is out it is said before. `None`: as [`Self::death`].
    async fn meaning(&self, node: NodeId, mut death: Death) -> Option<Event> {
        let (begun, timeout) = (clock::now(), self.shared.config.health.now().timeout);
        let (mut heard, mut stall) = (false, None);
        loop {
            let others = self.judge_others(node).await;
            let patient = begun.elapsed() < timeout * PATIENCE;
            let finding = find(&death, &others, patient, heard);
            heard = witnessed(&others);
            // Who was silent for whole time-outs has nothing on its way any more.
            let patience = if matches!(death, Death::Silent { .. }) { Duration::ZERO } else { LAST_WORD };
            let name = self.name(node);
            let all_lost = if matches!(death, Death::Taken(_)) { "nodes serve another" } else { "no node answers" };
            let why = death.why();
            match finding {
                Finding::Lost => {
                    self.fell(node, patience).await;
                    return Some(Event::Lost { node, why });
                }
                Finding::AllLost => {
                    return Some(Event::AllLost { why: format!("{all_lost}; {name}: {why}") });
                }
                Finding::Undecided if heard => {}
                Finding::Undecided => stall = stall.or_else(|| Some(Stall::begins(name, &why))),
            }
            tokio::time::sleep(PAUSE).await;
            death = self.death(node).await?;
        }
    }

    /// `None`: the node is out already, or nothing says that it is dead.
    async fn death(&self, node: NodeId) -> Option<Death> {
        while self.state(node) == MemberState::Active {
            match self.watched[usize::from(node.0)].handle.judge().await {
                Some(Judgement::Dead(death)) => return Some(death),
                Some(_) => break,
                None => {
                    tracing::debug!(node = self.name(node), "the node's actor failed while it looked; asking again")
                }
            }
        }
        None
    }

    /// The other active nodes, looked at now, up to the first that is not dead.
    async fn judge_others(&self, node: NodeId) -> Vec<Judgement> {
        let membership = self.shared.membership.load_full();
        let others =
            membership.active().filter(|other| *other != node).map(|other| &self.watched[usize::from(other.0)].handle);
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

/// A silence of all nodes that is being waited out.
struct Stall;

impl Stall {
    fn begins(node: &str, why: &str) -> Self {
        tracing::warn!(node, why, "no node answers; waiting for the first that does");
        Self
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        tracing::info!("the wait for an answer is over");
    }
}
