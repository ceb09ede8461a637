//! One actor per node: it feels the node's pulse, and says whether the node lives.
//!
//! The actor is a [`Guardian`]'s worker: a panic in it ends nothing but this round, the inbox outlives it, and whoever
//! waited for an answer asks again. It decides nothing: attempts go to `health::Judge`, what follows from a judgement
//! is the cluster actor's business. Slow statements of clients never come into it.

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use arc_swap::ArcSwap;
use lockstep_core::cluster::health::{Judge, Judgement, Observation};
use lockstep_core::cluster::{MemberState, Membership};
use lockstep_core::id::NodeId;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock;
use crate::cluster::ClusterClient;
use crate::config::LiveHealth;
use crate::supervise::Guardian;

mod probe;
mod pulses;
mod standing;

pub use probe::{Probe, ServiceProbe};
pub use pulses::Pulses;
pub use standing::{LAST_WORD, Standing, StandingFault, user_of};

/// Each so many rounds somebody logs in afresh: a stopped postmaster still serves old sessions.
const FRESH_EVERY: u32 = 4;
const INBOX: usize = 64;
/// Attempts of one judgement begin no sooner than this after one another.
const PAUSE: Duration = Duration::from_millis(100);

type Asker = oneshot::Sender<Judgement>;

/// How the cluster actor reaches a node actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    asks: mpsc::Sender<Asker>,
}

impl NodeHandle {
    /// Looks at the node now, with a fresh login. Askers at the same time share the attempts. `None`: the actor failed
    /// before it had an answer.
    pub async fn judge(&self) -> Option<Judgement> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.ok()?;
        answered.await.ok()
    }
}

/// What an actor needs to know of the world.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub node: NodeId,
    pub health: LiveHealth,
    pub membership: Arc<ArcSwap<Membership>>,
    pub pulses: Arc<Pulses>,
    pub cluster: ClusterClient,
}

/// Starts the actor of one node.
pub fn start<P: Probe + Send + Sync + 'static>(
    arbiter: &ArbiterHandle,
    surroundings: Surroundings,
    probe: Arc<P>,
) -> (NodeHandle, Guardian) {
    let (asks, inbox) = mpsc::channel(INBOX);
    let inbox = Arc::new(Mutex::new(inbox));
    let name = format!("node {}", surroundings.membership.load().member(surroundings.node).name);
    let make = move || -> crate::supervise::Life {
        let (inbox, surroundings, probe) = (inbox.clone(), surroundings.clone(), probe.clone());
        Box::pin(async move {
            NodeActor { surroundings, probe, round: 0, in_use: false }.live(&mut *inbox.lock().await).await
        })
    };
    (NodeHandle { asks }, Guardian::start(arbiter, name, Box::new(make)))
}

struct NodeActor<P> {
    surroundings: Surroundings,
    probe: Arc<P>,
    round: u32,
    in_use: bool,
}

impl<P: Probe> NodeActor<P> {
    async fn live(mut self, inbox: &mut mpsc::Receiver<Asker>) {
        loop {
            let askers = tokio::select! {
                asker = inbox.recv() => match asker {
                    Some(asker) => vec![asker],
                    None => return,
                },
                () = tokio::time::sleep(self.surroundings.health.now().interval) => Vec::new(),
            };
            self.turn(askers, inbox).await;
        }
    }

    async fn turn(&mut self, mut askers: Vec<Asker>, inbox: &mut mpsc::Receiver<Asker>) {
        let state = self.state();
        let was_used = std::mem::replace(&mut self.in_use, state.is_current());
        if askers.is_empty() && !state.is_current() {
            // Before its first use the guard is held by whoever looks at all nodes.
            if was_used {
                self.probe.rest().await;
            }
            return;
        }
        self.round = self.round.wrapping_add(1);
        let fresh = !askers.is_empty() || state == MemberState::Unreachable || self.round.is_multiple_of(FRESH_EVERY);
        // Whoever waits for an answer shall not wait for a disk.
        let write = askers.is_empty() && state == MemberState::Active;
        let judgement = self.judge(fresh, write).await;
        while let Ok(late) = inbox.try_recv() {
            askers.push(late);
        }
        for asker in askers {
            let _ = asker.send(judgement.clone());
        }
        self.report(judgement).await;
    }

    /// The standing connection is the first attempt, unless a fresh login is wanted; all others are fresh logins.
    async fn judge(&self, fresh: bool, write: bool) -> Judgement {
        let health = self.surroundings.health.now();
        let mut judge = Judge::new(health.retries);
        let mut first = !fresh;
        loop {
            let begun = clock::now();
            let seen = match std::mem::take(&mut first) {
                true => self.probe.standing().await,
                false => self.probe.fresh(fresh && write).await,
            };
            let Surroundings { pulses, node, .. } = &self.surroundings;
            if seen == Observation::Answered {
                pulses.felt(*node);
            }
            // An attempt is long where a login is slow: the last time-out counts. Its end does not: who answers there may just
            // have been a moment quicker at the end of a stall of both.
            let since = begun.max(clock::now() - health.timeout);
            let meanwhile = pulses.of_others(*node, since..since + health.timeout * 3 / 4);
            match judge.observe(seen, begun.elapsed(), health.timeout, meanwhile) {
                Judgement::Again => {
                    tokio::time::sleep(PAUSE.min(health.interval).saturating_sub(begun.elapsed())).await;
                }
                judgement => return judgement,
            }
        }
    }

    /// Only what can change something is passed on.
    async fn report(&self, judgement: Judgement) {
        let Surroundings { node, cluster, .. } = &self.surroundings;
        match (&judgement, self.state()) {
            (Judgement::Dead(_), MemberState::Active) | (Judgement::Alive, MemberState::Unreachable) => {
                cluster.judged(*node, judgement).await;
            }
            (Judgement::Unproved(why), _) => {
                tracing::warn!(%node, why, "the node could not be looked at, for want of means here; it is not blamed");
            }
            _ => {}
        }
    }

    fn state(&self) -> MemberState {
        self.surroundings.membership.load().member(self.surroundings.node).state
    }
}

#[cfg(test)]
mod tests;
