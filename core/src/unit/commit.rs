//! The commit of a unit: followers first, the leader last.
//!
//! ```text
//! Reserving ──all reserved──▶ Looking ──clear──▶ Sending ──every follower committed or out──▶ Leading ──▶ Finished
//!     │ a node is full          │                   │ leader lost: the commit stands if a follower has committed
//!     │ the leader is lost      │ leader lost       │
//!     └────────▶ Finished(Aborted) ◀┘               └────────▶ Finished
//! ```
//!
//! Looking ([`crate::inflight`]): no commit in flight, this one included, may have lost its leader connection unnoticed. Its
//! rows could have been taken on the leader by another since, who would then undo what is acknowledged.
//!
//! With [`Order::LeaderFirst`] (SERIALIZABLE, cursors WITH HOLD: only the leader can judge) Leading comes before Sending,
//! under the commit lock in exclusive mode; the followers' effects cannot fail then, and a follower that fails is out. No
//! look is needed: nobody else is in flight, and a leader that has lost the unit does not commit it.
//!
//! VACUUM ([`Commit::of_upkeep`]) takes the same way, but nothing that must be equal depends on it: no node is out because
//! it has failed to do it.
//!
//! A follower whose connection breaks before its answer, and that is alive, is asked whether it has committed
//! ([`crate::journal::Witness`]); one that cannot tell is out.
//!
//! Connections are reserved on all followers before any is sent a byte: a full connection table then aborts the unit
//! while nothing has been committed anywhere.
//!
//! Inputs are the methods; what is to be done comes out of [`Commit::poll`], to be drained after every input.

use std::collections::VecDeque;

use super::batch::BatchResult;
use crate::cluster::Verdict;
use crate::effect::names;
use crate::fault::{Fault, SqlState};
use crate::id::NodeId;

mod chosen;
mod leader;
mod task;

pub use task::{Fate, Order, Outcome, ReserveFault, Task};
use task::{Look, lost_before_commit, lost_in_commit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follower {
    Reserving,
    Reserved,
    Sent,
    /// The cluster has been asked.
    Suspected,
    /// It is alive, and is asked what has become of the batch.
    Asked,
    Degrading,
    Committed,
    /// It would have had other names for what the unit has made, and has nothing of it.
    NamesDiffer,
    Out,
}

#[derive(Debug)]
struct Member {
    node: NodeId,
    state: Follower,
    attempts: u8,
    /// A batch that it was sent was not answered, and may be committed there.
    in_doubt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Waiting,
    Asked,
    Committed,
    /// Its connection broke; followers decide.
    Lost,
    /// The cluster has been told to put it out.
    Settling,
    Out,
}

/// Attempts for each follower: the pooled connection, then fresh ones.
const ATTEMPTS: u8 = 2;

/// What depends on it that all nodes do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stake {
    Equality,
    Nothing,
}

#[derive(Debug)]
pub struct Commit {
    order: Order,
    stake: Stake,
    leader_id: NodeId,
    leader: Leader,
    followers: Vec<Member>,
    tasks: VecDeque<Task>,
    look: Look,
    /// Names of the leader that followers do not have, which is still to be judged.
    names: String,
    /// A follower has been sent the batch: from here on it may be committed somewhere.
    sent: bool,
    finished: bool,
}

impl Commit {
    /// Begins the commit under the commit lock, with the followers of the membership read after it was taken.
    pub fn new(order: Order, leader: NodeId, followers: impl IntoIterator<Item = NodeId>) -> Self {
        let joins = |node| Member { node, state: Follower::Reserving, attempts: 1, in_doubt: false };
        let followers: Vec<_> = followers.into_iter().map(joins).collect();
        let tasks = followers.iter().map(|member| Task::Reserve { node: member.node, fresh: false }).collect();
        let mut commit = Self {
            order,
            stake: Stake::Equality,
            leader_id: leader,
            leader: Leader::Waiting,
            followers,
            tasks,
            look: Look::NotAsked,
            names: String::new(),
            sent: false,
            finished: false,
        };
        commit.advance();
        commit
    }

    /// The leader does it first, then the followers, as well as they can.
    pub fn of_upkeep(leader: NodeId, followers: impl IntoIterator<Item = NodeId>) -> Self {
        Self { stake: Stake::Nothing, ..Self::new(Order::LeaderFirst, leader, followers) }
    }

    pub fn poll(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// The node is no member any more, whatever it has answered and may still answer.
    pub fn out(&mut self, node: NodeId) {
        let Some(follower) = self.followers.iter_mut().find(|member| member.node == node) else { return };
        follower.state = Follower::Out;
        self.advance();
    }

    /// All nodes are lost at once, and which of them goes on is not known: nothing may be acknowledged any more.
    pub fn nobody_leads(&mut self) {
        if self.finished {
            return;
        }
        let begun = self.sent || self.leader != Leader::Waiting;
        self.followers.iter_mut().for_each(|member| member.state = Follower::Out);
        self.abort(if begun { lost_in_commit() } else { lost_before_commit() });
    }

    /// The followers that may not agree with the leader if nobody goes on with this commit and the leader's connection is
    /// dropped. The client was told nothing, so either outcome is right, and the leader's is taken.
    pub fn abandoned(&self) -> Vec<NodeId> {
        let settled = self.finished || matches!(self.leader, Leader::Settling | Leader::Out);
        if settled || self.stake == Stake::Nothing {
            return Vec::new();
        }
        let differs = |member: &&Member| match (self.order, member.state) {
            (_, Follower::Out) => false,
            (Order::FollowersFirst, Follower::Sent | Follower::Committed | Follower::Degrading) => true,
            (Order::FollowersFirst, _) => member.in_doubt,
            (Order::LeaderFirst, state) => self.leader != Leader::Waiting && state != Follower::Committed,
        };
        self.followers.iter().filter(differs).map(|member| member.node).collect()
    }

    /// Whether this commit waits for such an answer. It does not when it is over, or the node is out or going.
    fn awaits(&self, node: NodeId, answer: impl Fn(Follower) -> bool) -> bool {
        !self.finished && self.followers.iter().any(|member| member.node == node && answer(member.state))
    }

    pub fn reserved(&mut self, node: NodeId) {
        if !self.awaits(node, |state| state == Follower::Reserving) {
            return;
        }
        *self.state(node) = Follower::Reserved;
        self.advance();
    }

    pub fn not_reserved(&mut self, node: NodeId, fault: ReserveFault) {
        if !self.awaits(node, |state| state == Follower::Reserving) {
            return;
        }
        match fault {
            ReserveFault::Full(why) if !self.sent => self.abort(
                Fault::error(
                    SqlState::TOO_MANY_CONNECTIONS,
                    format!("no connection to a follower could be had: {why}"),
                )
                .with_hint("Raise max_connections on the nodes or lower the number of clients."),
            ),
            ReserveFault::Full(why) | ReserveFault::Broken(why) => {
                *self.state(node) = Follower::Suspected;
                self.tasks.push_back(Task::Suspect { node, why });
            }
        }
    }

    /// Nobody's leader connection has anything to say, as of a look that came after the task.
    pub fn clear(&mut self) {
        if self.look != Look::Asked {
            return;
        }
        self.look = Look::Clear;
        self.advance();
        if !self.sent {
            // Who was reserved is out; whoever is reserved later is looked for anew.
            self.look = Look::NotAsked;
        }
    }

    /// Whether the leader is still to commit the unit, as far as is known here.
    pub fn trusts_leader(&self) -> bool {
        matches!(self.leader, Leader::Waiting | Leader::Asked)
    }

    /// It was asked, ahead of the others, and has not answered.
    pub fn waits_for_leader(&self) -> bool {
        !self.finished && !self.sent && self.leader == Leader::Asked
    }

    pub fn answered(&mut self, node: NodeId, result: BatchResult) {
        if !self.awaits(node, |state| state == Follower::Sent) {
            return;
        }
        match result {
            BatchResult::Committed => {
                self.member(node).in_doubt = false;
                *self.state(node) = Follower::Committed;
            }
            BatchResult::Refused { state, message } if self.stake == Stake::Nothing => {
                self.let_pass(node, &format!("{message} ({state})"));
            }
            BatchResult::Refused { state, message } => match names::missing(&state, &message) {
                Some(names) if self.has_nothing(node) => self.names_differ(node, names),
                _ => self.again(node, format!("it cannot apply an effect: {message} ({state})")),
            },
        }
        self.advance();
    }

    /// Whether it may be committed somewhere.
    pub fn has_sent(&self) -> bool {
        self.sent || self.leader != Leader::Waiting
    }

    /// The connection broke after the batch was sent and before it was answered, and the server gave no reason.
    pub fn broken(&mut self, node: NodeId, why: String) {
        if !self.awaits(node, |state| state == Follower::Sent) {
            return;
        }
        self.member(node).in_doubt = true;
        *self.state(node) = Follower::Suspected;
        self.tasks.push_back(Task::Suspect { node, why });
    }

    /// It does not come to an end with the batch, and is not to be waited for any longer.
    pub fn stuck(&mut self, node: NodeId, why: String) {
        if !self.awaits(node, |state| state == Follower::Sent) {
            return;
        }
        match self.stake {
            Stake::Equality => self.degrade(node, why),
            Stake::Nothing => {
                self.let_pass(node, &why);
                self.advance();
            }
        }
    }

    pub fn verdict(&mut self, node: NodeId, verdict: Verdict) {
        if !self.awaits(node, |state| state == Follower::Suspected) {
            return;
        }
        match (verdict, self.member(node).in_doubt) {
            (Verdict::Out, _) => *self.state(node) = Follower::Out,
            (Verdict::Alive, true) if self.stake == Stake::Nothing => self.let_pass(node, "its connection broke"),
            (Verdict::Alive, true) => {
                *self.state(node) = Follower::Asked;
                self.tasks.push_back(Task::Ask { node });
            }
            (Verdict::Alive, false) => self.again(node, "it is healthy, but connections to it keep breaking".into()),
        }
        self.advance();
    }

    pub fn told(&mut self, node: NodeId, fate: Fate) {
        if !self.awaits(node, |state| state == Follower::Asked) {
            return;
        }
        self.member(node).in_doubt = !matches!(fate, Fate::Committed | Fate::NotThere);
        match fate {
            Fate::Committed => *self.state(node) = Follower::Committed,
            Fate::NotThere | Fate::Repeatable => {
                self.again(node, "it is healthy, but connections to it keep breaking".into());
            }
            Fate::Unknown(why) => {
                self.degrade(
                    node,
                    format!("its connection broke while it committed, and whether it did is not known: {why}"),
                );
            }
        }
        self.advance();
    }

    /// The degradation of `node` is on disk.
    pub fn degraded(&mut self, node: NodeId) {
        if node == self.leader_id && self.leader == Leader::Settling {
            self.leader = Leader::Out;
        } else if self.awaits(node, |state| state == Follower::Degrading) {
            *self.state(node) = Follower::Out;
        }
        self.advance();
    }

    fn advance(&mut self) {
        if self.finished {
            return;
        }
        let any = |wanted: Follower| self.followers.iter().any(|member| member.state == wanted);
        let all_there = any(Follower::Reserved) && (self.sent || !any(Follower::Reserving));
        if all_there && self.may_send() {
            for member in self.followers.iter_mut().filter(|member| member.state == Follower::Reserved) {
                member.state = Follower::Sent;
                self.sent = true;
                self.tasks.push_back(Task::Send { node: member.node });
            }
        }
        if !self.agrees_on_names() {
            return;
        }
        let all = |wanted: Follower| {
            self.followers.iter().all(|member| member.state == wanted || member.state == Follower::Out)
        };
        let (settled, ready) = (all(Follower::Committed), all(Follower::Reserved));
        match self.leader {
            Leader::Waiting
                if (self.order == Order::FollowersFirst && settled) || (self.order == Order::LeaderFirst && ready) =>
            {
                self.leader = Leader::Asked;
                self.tasks.push_back(Task::LeaderCommit);
            }
            Leader::Committed if settled => self.finish(Outcome::Committed { leader_out: false }),
            Leader::Out if settled && self.committed() > 0 => self.finish(Outcome::Committed { leader_out: true }),
            Leader::Out if settled || self.order == Order::LeaderFirst => self.leader_left(),
            Leader::Lost if settled || self.order == Order::LeaderFirst => self.leader_gone(),
            _ => {}
        }
    }

    /// Asks for the look, when it is time for it.
    fn may_send(&mut self) -> bool {
        if self.order == Order::LeaderFirst {
            return self.leader == Leader::Committed;
        }
        if self.look == Look::NotAsked {
            self.look = Look::Asked;
            self.tasks.push_back(Task::Look);
        }
        self.look == Look::Clear
    }

    fn all_out(&self) -> bool {
        self.followers.iter().all(|member| member.state == Follower::Out)
    }

    /// Once more on a fresh connection, or out when that was the last attempt.
    fn again(&mut self, node: NodeId, why: String) {
        let member = self.member(node);
        if member.attempts >= ATTEMPTS {
            return self.degrade(node, why);
        }
        (member.state, member.attempts) = (Follower::Reserving, member.attempts + 1);
        self.tasks.push_back(Task::Reserve { node, fresh: true });
    }

    /// As good as done.
    fn let_pass(&mut self, node: NodeId, why: &str) {
        tracing::warn!(node = node.0, why, "a follower could not do what the leader has done; nothing depends on it");
        self.member(node).in_doubt = false;
        *self.state(node) = Follower::Committed;
    }

    fn degrade(&mut self, node: NodeId, why: String) {
        *self.state(node) = Follower::Degrading;
        self.tasks.push_back(Task::Degrade { node, why });
    }

    fn abort(&mut self, fault: Fault) {
        self.finish(Outcome::Aborted(fault));
    }

    fn finish(&mut self, outcome: Outcome) {
        debug_assert!(
            !matches!(outcome, Outcome::Committed { .. })
                || self.followers.iter().all(|member| matches!(member.state, Follower::Committed | Follower::Out)),
            "committed with a follower unsettled"
        );
        self.finished = true;
        self.tasks.push_back(Task::Finished(outcome));
    }

    fn committed(&self) -> usize {
        self.followers.iter().filter(|member| member.state == Follower::Committed).count()
    }

    fn state(&mut self, node: NodeId) -> &mut Follower {
        &mut self.member(node).state
    }

    fn member(&mut self, node: NodeId) -> &mut Member {
        let found = self.followers.iter_mut().find(|member| member.node == node);
        found.expect("only followers of this commit are spoken of")
    }
}

#[cfg(test)]
mod fates;
#[cfg(test)]
mod tests;
