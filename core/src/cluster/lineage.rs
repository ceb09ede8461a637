//! Ancestry: what each node carries with its data, so that no node can be taken for more than it is.
//!
//! The state file says who is current; the lineage on a node proves that the data behind its address is still the data
//! that the file means, and not a restored backup, an empty server or another proxy's cluster.

use std::cmp::Ordering;
use std::time::Duration;

use super::Event;
use super::health::{Judge, Judgement, Meanwhile, Observation};
use crate::id::{Epoch, NodeId};

/// Names a cluster for ever: 32 hexadecimal digits, drawn at its first start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterId(pub String);

impl ClusterId {
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// The newest lineage of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    pub cluster: ClusterId,
    pub epoch: Epoch,
    /// The epoch before, of which this one is the child.
    pub parent: Epoch,
    /// Names of the nodes that were active in this epoch, sorted.
    pub active: Vec<String>,
}

/// Where a node's lineage stands towards what the proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    Same,
    /// Of another cluster altogether.
    Stranger,
    /// Older than what was written on it: a backup was restored, or the server was replaced.
    Behind,
    /// Newer than what this proxy knows: another one has served since.
    Ahead,
}

impl Lineage {
    /// `written`: the epoch that this proxy is known to have written on the node; `epoch`: the one that it is in.
    pub fn kinship(&self, cluster: &ClusterId, written: Epoch, epoch: Epoch) -> Kinship {
        match () {
            () if self.cluster != *cluster => Kinship::Stranger,
            () if self.epoch > epoch => Kinship::Ahead,
            () if self.epoch < written => Kinship::Behind,
            () => Kinship::Same,
        }
    }

    /// Both follow the same epoch, but not each other. That is so in one epoch if they were active with different nodes, and
    /// in different epochs if a node that was alone in the earlier one is not there in the later: to whatever else became
    /// active it would have been the leader, and a leader bears the lineage of its epoch before anybody is served in it.
    pub fn is_forked_from(&self, other: &Lineage) -> bool {
        self.cluster == other.cluster
            && match self.epoch.cmp(&other.epoch) {
                Ordering::Less => self.is_left_alone_by(other),
                Ordering::Equal => self.active != other.active,
                Ordering::Greater => other.is_left_alone_by(self),
            }
    }

    fn is_left_alone_by(&self, later: &Lineage) -> bool {
        matches!(&self.active[..], [alone] if !later.active.contains(alone))
    }
}

/// A leader that could not be given the lineage of its epoch so far. It serves nobody without: what it acknowledged would be
/// on a node that is taken for one of the epoch before, by whoever has nothing but the nodes' word.
#[derive(Debug)]
pub struct Unborne {
    leader: NodeId,
    judge: Judge,
    refused: u32,
    retries: u32,
}

impl Unborne {
    pub fn new(leader: NodeId, retries: u32) -> Self {
        Self { leader, judge: Judge::new(retries), refused: 0, retries }
    }

    /// It could not be written again, in an attempt that may take `limit`. What becomes of the leader; `None`: it is waited
    /// for, because nothing can be shown against it, or it is all there is. `another`: an active node bears the lineage.
    pub fn failed(&mut self, seen: Observation, took: Duration, limit: Duration, another: bool) -> Option<Event> {
        let judgement = self.judge.observe(seen, took, limit, Meanwhile::Unknown);
        self.refused += u32::from(judgement == Judgement::Alive);
        unfit(self.leader, judgement, another, self.refused > self.retries)
    }
}

/// `again`: the leader has refused it more often than a node may fail, as one does whose disk is full.
fn unfit(leader: NodeId, judgement: Judgement, another: bool, again: bool) -> Option<Event> {
    let lost = |why| Event::Lost { node: leader, why };
    match judgement {
        Judgement::Dead(death) => {
            let why = format!("lineage could not be written on it: {}", death.why());
            Some(if another { lost(why) } else { Event::AllLost { why } })
        }
        Judgement::Alive if another && again => Some(lost("it answers, and does not take the lineage".into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::health::Death;

    #[test]
    fn a_leader_that_cannot_be_written_on_is_waited_for_while_it_lives_and_left_when_it_is_dead() {
        let leader = NodeId(1);
        for lives in [Judgement::Alive, Judgement::Again, Judgement::Unproved("no descriptors".into())] {
            assert_eq!(unfit(leader, lives, true, false), None);
        }
        let dead = || Judgement::Dead(Death::Gone("refused".into()));
        assert!(matches!(unfit(leader, dead(), true, false), Some(Event::Lost { node, .. }) if node == leader));
        assert!(
            matches!(unfit(leader, dead(), false, false), Some(Event::AllLost { .. })),
            "it may be the network that is gone"
        );
    }

    #[test]
    fn a_leader_that_refuses_it_again_and_again_is_left_only_for_another() {
        let leader = NodeId(1);
        assert!(
            matches!(unfit(leader, Judgement::Alive, true, true), Some(Event::Lost { node, .. }) if node == leader)
        );
        assert_eq!(unfit(leader, Judgement::Alive, false, true), None, "it is all there is");
        let ours = Judgement::Unproved("no descriptors".into());
        assert_eq!(unfit(leader, ours, true, true), None, "it was not asked");
        let (mut unborne, limit) = (Unborne::new(leader, 2), Duration::from_secs(1));
        let mut refuses = || unborne.failed(Observation::Answered, Duration::ZERO, limit, true).is_some();
        assert_eq!([refuses(), refuses(), refuses()], [false, false, true]);
    }

    fn lineage(epoch: u64, active: &[&str]) -> Lineage {
        let active = active.iter().map(|name| (*name).to_owned()).collect();
        Lineage { cluster: ClusterId("c".into()), epoch: Epoch(epoch), parent: Epoch(epoch - 1), active }
    }

    #[test]
    fn a_restored_backup_is_behind_and_another_proxys_work_is_ahead() {
        let ours = ClusterId("c".into());
        assert_eq!(lineage(3, &["a"]).kinship(&ours, Epoch(4), Epoch(5)), Kinship::Behind);
        assert_eq!(lineage(6, &["a"]).kinship(&ours, Epoch(4), Epoch(5)), Kinship::Ahead);
        assert_eq!(lineage(4, &["a"]).kinship(&ours, Epoch(4), Epoch(5)), Kinship::Same);
        assert_eq!(lineage(4, &["a"]).kinship(&ClusterId("d".into()), Epoch(4), Epoch(5)), Kinship::Stranger);
    }

    #[test]
    fn two_nodes_that_went_on_alone_are_a_fork() {
        assert!(lineage(6, &["a"]).is_forked_from(&lineage(6, &["b"])));
        assert!(!lineage(6, &["a"]).is_forked_from(&lineage(5, &["a", "b"])));
        let (alone, later) = (lineage(6, &["a"]), lineage(8, &["b"]));
        assert!(alone.is_forked_from(&later) && later.is_forked_from(&alone), "one has only done more than the other");
        assert!(!alone.is_forked_from(&lineage(7, &["a", "b"])));
        assert!(!lineage(5, &["a", "c"]).is_forked_from(&lineage(9, &["b"])), "a may have brought b up");
    }
}
