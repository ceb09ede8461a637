//! How everybody else speaks to the cluster actor.
//!
//! Questions go through a bounded tokio channel, never through an actix mailbox: a request there is dropped unseen when
//! its asker goes away.

use std::sync::Arc;

use lockstep_core::cluster::health::Judgement;
use lockstep_core::cluster::{Membership, Verdict};
use lockstep_core::effect::capture::{CaptureKey, Triggers};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::id::NodeId;
use tokio::sync::{mpsc, oneshot, watch};

use super::capture::Wish;
use super::dirty::Dirty;
use crate::config::Node;
use crate::door::protocol::{Reply, Request};

/// Waiting questions; more wait in their senders.
const INBOX: usize = 256;

#[derive(Debug)]
pub enum Command {
    Suspect {
        node: NodeId,
        why: String,
        answer: oneshot::Sender<Verdict>,
    },
    Diverged {
        node: NodeId,
        why: String,
        answer: oneshot::Sender<()>,
    },
    Capture {
        wish: Wish,
        answer: oneshot::Sender<Result<(CaptureKey, Triggers), Fault>>,
    },
    Level {
        database: String,
        answer: oneshot::Sender<()>,
    },
    /// The nodes as the configuration has them now.
    Configure {
        nodes: Vec<Node>,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// A node actor's finding in its own rounds.
    Judged {
        node: NodeId,
        judgement: Judgement,
    },
    Operator {
        request: Request,
        replies: mpsc::Sender<Reply>,
    },
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterClient {
    commands: mpsc::Sender<Command>,
    published: watch::Receiver<Arc<Membership>>,
    dirty: Arc<Dirty>,
}

impl ClusterClient {
    pub(crate) fn new(
        published: watch::Receiver<Arc<Membership>>,
        dirty: Arc<Dirty>,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(INBOX);
        (Self { commands, published, dirty }, inbox)
    }

    /// A connection to `node` broke. The node is looked at now: either it is healthy, or it is out and that is on disk.
    pub async fn suspect(&self, node: NodeId, why: String) -> Verdict {
        self.ask(Verdict::Out, |answer| Command::Suspect { node, why: why.clone(), answer }).await
    }

    /// What the leader did could not be done on `node`: it is taken out. Returns when that is on disk.
    pub async fn diverged(&self, node: NodeId, why: String) {
        self.ask((), |answer| Command::Diverged { node, why: why.clone(), answer }).await;
    }

    /// Has rows of some tables captured on every active node. Returns the key that the nodes know.
    pub async fn capture(&self, wish: Wish) -> Result<(CaptureKey, Triggers), Fault> {
        let stopping = Fault::error(SqlState::CANNOT_CONNECT_NOW, "the proxy is being stopped");
        self.ask(Err(stopping), |answer| Command::Capture { wish: wish.clone(), answer }).await
    }

    /// Has nodes come and go, and gives them their weights. Returns when all of it is in force, or nothing.
    pub async fn configure(&self, nodes: Vec<Node>) -> Result<(), String> {
        let stopping = "the proxy is being stopped".to_owned();
        self.ask(Err(stopping), |answer| Command::Configure { nodes: nodes.clone(), answer }).await
    }

    /// A sequence of `database` may have moved on the leader. To be called before a client can see the value: at a
    /// takeover only databases that were marked have their sequences moved past what may have been given out.
    pub fn sequences_moved(&self, database: &str) {
        self.dirty.mark(database);
    }

    /// Followers' sequences of `database` are put where the leader's are, now; or soon, if they cannot be.
    pub async fn level(&self, database: &str) {
        self.ask((), |answer| Command::Level { database: database.to_owned(), answer }).await;
    }

    /// Waits until the membership is another than `seen`.
    pub async fn changed(&self, seen: &Membership) -> Arc<Membership> {
        let mut published = self.published.clone();
        match published.wait_for(|now| **now != *seen).await {
            Ok(now) => now.clone(),
            // The proxy is stopping: nothing will change any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until somebody leads.
    pub async fn leader(&self) -> NodeId {
        let mut published = self.published.clone();
        let found = published.wait_for(|now| now.leader().is_some()).await.map(|now| now.leader());
        match found {
            Ok(Some(leader)) => leader,
            _ => std::future::pending().await,
        }
    }

    /// An operator's command: replies come until the sender is dropped.
    pub async fn operate(&self, request: Request, replies: mpsc::Sender<Reply>) {
        // A closed channel drops `replies`, which the asker sees.
        let _ = self.commands.send(Command::Operator { request, replies }).await;
    }

    pub(crate) async fn judged(&self, node: NodeId, judgement: Judgement) {
        let _ = self.commands.send(Command::Judged { node, judgement }).await;
    }

    /// Asks until there is an answer: one that was lost to a failed worker is asked for again.
    async fn ask<T>(&self, when_stopped: T, command: impl Fn(oneshot::Sender<T>) -> Command) -> T {
        loop {
            let (answer, answered) = oneshot::channel();
            if self.commands.send(command(answer)).await.is_err() {
                return when_stopped;
            }
            if let Ok(answer) = answered.await {
                return answer;
            }
        }
    }
}
