//! What the leader has said to the commit, or that it says nothing any more.
//!
//! Once a follower has committed the commit stands, and a leader that does not have it is out.

use super::task::{Order, Outcome, Task, lost_before_commit, lost_in_commit};
use super::{Commit, Follower, Leader, Member, Stake};

impl Commit {
    pub fn leader_committed(&mut self) {
        self.leader = Leader::Committed;
        self.advance();
    }

    /// The leader has committed, and with the unit what no follower was told of: who follows lacks it, and goes.
    pub fn leader_committed_alone(&mut self, why: &str) {
        self.leader = Leader::Committed;
        self.tasks.retain(|task| !matches!(task, Task::Reserve { .. } | Task::LeaderCommit));
        let stays = |member: &&Member| !matches!(member.state, Follower::Out | Follower::Degrading);
        let nodes: Vec<_> = self.followers.iter().filter(stays).map(|member| member.node).collect();
        nodes.into_iter().for_each(|node| self.degrade(node, why.to_owned()));
        self.advance();
    }

    /// The leader answered COMMIT with an error (or ROLLBACK): it has not committed.
    pub fn leader_refused(&mut self, why: String) {
        if self.order == Order::LeaderFirst || self.committed() == 0 {
            return self.finish(Outcome::LeaderRefused);
        }
        self.settle_leader(format!("it refused a COMMIT that followers have made: {why}"));
    }

    /// Its command has failed there, and what that has left is not to be undone.
    pub fn leader_differs(&mut self, why: String) {
        if self.finished || self.leader != Leader::Asked {
            return;
        }
        if self.all_out() {
            return self.finish(Outcome::LeaderRefused);
        }
        self.settle_leader(why);
    }

    /// The leader's connection broke.
    pub fn leader_lost(&mut self) {
        if self.finished || matches!(self.leader, Leader::Lost | Leader::Settling | Leader::Out) {
            return;
        }
        match self.leader {
            Leader::Committed => {}
            Leader::Waiting if !self.sent => self.abort(lost_before_commit()),
            _ => {
                self.leader = Leader::Lost;
                self.advance();
            }
        }
    }

    /// The leader's connection is broken, and the followers have settled or were waiting for the leader.
    pub(super) fn leader_gone(&mut self) {
        if self.committed() > 0 {
            return self.settle_leader("its connection broke at COMMIT after followers had committed".into());
        }
        if !self.all_out() && self.stake == Stake::Equality {
            let why = "its connection broke while it committed ahead of the others, and whether it did is not known";
            return self.settle_leader(why.into());
        }
        self.abort(lost_in_commit());
    }

    /// It was to be put out, and no follower has the unit. With all of them out it was the last, and is still there.
    pub(super) fn leader_left(&mut self) {
        self.abort(if self.all_out() { lost_in_commit() } else { lost_before_commit() });
    }

    fn settle_leader(&mut self, why: String) {
        self.leader = Leader::Settling;
        self.tasks.push_back(Task::Degrade { node: self.leader_id, why });
    }
}
