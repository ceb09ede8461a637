//! What an operator can ask for: one command at a time, each on its own whether or not anybody waits for its end.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstep_core::cluster::{Event, Membership};
use lockstep_core::id::NodeId;
use tokio::sync::mpsc;

use super::actor::Cluster;
use super::report::Report;
use crate::clock;
use crate::door::protocol::{NodeStatus, PauseStatus, Reply, Request, Status};
use crate::shared::Shared;

/// Why a command failed, and what to do.
#[derive(Debug)]
pub struct Trouble {
    message: String,
    hint: Option<String>,
}

impl Trouble {
    pub fn new(message: String) -> Self {
        Self { message, hint: None }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

impl From<&str> for Trouble {
    fn from(message: &str) -> Self {
        Self::new(message.to_owned())
    }
}

impl Cluster {
    pub(super) async fn operate(&self, request: Request, replies: mpsc::Sender<Reply>) {
        let last = match self.run(request, &replies).await {
            Ok(reply) => reply,
            Err(Trouble { message, hint }) => Reply::Failed { message, hint },
        };
        // Whoever asked may be gone; the log has what became of it.
        let _ = replies.send(last).await;
    }

    async fn run(&self, request: Request, replies: &mpsc::Sender<Reply>) -> Result<Reply, Trouble> {
        let report = &Report::to(replies.clone());
        let done = |text| Reply::Done { text };
        match request {
            Request::Status => Ok(Reply::Status(Box::new(status(&self.shared)))),
            Request::Reload => Ok(self.shared.reloads.ask().await),
            Request::Verify(scope) => {
                let _turn = self.comparing().ok_or("another comparison is running")?;
                // It changes nothing: when nobody waits for it any more there is nothing to be done.
                tokio::select! {
                    verified = self.verify(&scope, report) => Ok(Reply::Verified(Box::new(verified?))),
                    () = replies.closed() => Err("whoever asked for the comparison has left".into()),
                }
            }
            Request::Pause { patience } => self.pause(patience, report, replies).await.map(done),
            Request::Resume => Ok(done(self.resume())),
            Request::Recover { node } => {
                let node = self.find(&node)?;
                self.in_turn(&format!("recover {}", self.name(node)), self.recover(node, report)).await.map(done)
            }
            Request::Attach { node } => {
                let node = self.find(&node)?;
                self.in_turn(&format!("attach {}", self.name(node)), self.attach(node, report)).await.map(done)
            }
            Request::Detach { node } => {
                let node = self.find(&node)?;
                self.in_turn(&format!("detach {}", self.name(node)), self.detach(node)).await.map(done)
            }
        }
    }

    async fn in_turn<T>(&self, command: &str, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let _turn = self.take_turn(command)?;
        self.registry.can_change().await.map_err(|fault| {
            Trouble::new(format!("the state file cannot be written: {fault}")).hint("nothing has been changed".into())
        })?;
        tracing::info!(command, "an operator's command begins");
        let outcome = work.await;
        match &outcome {
            Ok(_) => tracing::info!(command, "an operator's command has ended"),
            Err(trouble) => tracing::error!(command, why = trouble.message, "an operator's command has failed"),
        }
        outcome
    }

    /// Commits are held for it, so that the node is left at a point that all others have been at; nothing but the change is
    /// done under the hold.
    async fn detach(&self, node: NodeId) -> Result<String, Trouble> {
        let _held = self.hold(Duration::ZERO).await.ok_or("commits under way did not end in time")?;
        self.falls(node).await;
        self.registry.change(Event::Detach { node }).await.map_err(|refusal| Trouble::new(refusal.to_string()))?;
        Ok(format!("{} is detached", self.name(node)))
    }

    fn find(&self, name: &str) -> Result<NodeId, Trouble> {
        let membership = self.shared.membership.load();
        membership.find(name).ok_or_else(|| {
            let known: Vec<_> = membership.ids().map(|id| membership.member(id).name.as_str()).collect();
            Trouble::new(format!("there is no node {name}; there are {}", known.join(", ")))
        })
    }

    /// The right to compare nodes: one comparison at a time, beside any other command.
    pub(super) fn comparing(&self) -> Option<Comparing<'_>> {
        let turn = self.comparing.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        turn.is_ok().then_some(Comparing(self))
    }

    pub(super) fn take_turn(&self, what: &str) -> Result<Turn<'_>, Trouble> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        match &*busy {
            Some(running) => Err(Trouble::new(format!("another command is running: {running}"))),
            None => {
                *busy = Some(what.to_owned());
                Ok(Turn(self))
            }
        }
    }
}

/// Ends with the command, however that ends.
pub(super) struct Turn<'a>(&'a Cluster);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Ends with the comparison, however that ends.
pub(super) struct Comparing<'a>(&'a Cluster);

impl Drop for Comparing<'_> {
    fn drop(&mut self) {
        self.0.comparing.store(false, Ordering::Release);
    }
}

/// What `lockstep status` and `/status` show.
pub fn status(shared: &Shared) -> Status {
    let membership = shared.membership.load();
    Status {
        cluster: shared.config.cluster.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: membership.epoch.0,
        clients: shared.clients.load(Ordering::Relaxed),
        pause: shared.intake.pausing().map(|_| PauseStatus { since: shared.intake.held_since().map(clock::rfc3339) }),
        unsafe_statements: shared.waived.load(Ordering::Relaxed),
        elsewhere: shared.intake.elsewhere(),
        unwritten: shared.unwritten.load_full().map(|why| (*why).clone()),
        nodes: membership.ids().map(|node| node_status(&membership, node)).collect(),
        comparing: shared.admission.now(),
        scrub: shared.scrubbed.load_full().map(|scrubbed| (*scrubbed).clone()),
    }
}

fn node_status(membership: &Membership, node: NodeId) -> NodeStatus {
    let member = membership.member(node);
    let role = match membership.leader() {
        Some(leader) if leader == node => "leader",
        Some(_) if membership.active().any(|active| active == node) => "follower",
        _ => "none",
    };
    NodeStatus {
        name: member.name.clone(),
        address: member.address.clone(),
        role: role.to_owned(),
        state: member.state.name().to_owned(),
        since: clock::rfc3339(member.since),
        reason: member.reason.clone(),
        weight: member.weight,
    }
}
