//! Ancestry: what each node carries with its data, so that no node can be taken for more than it is.
//!
//! The state file says who is current; the lineage on a node proves that the data behind its address is still the data
//! that the file means, and not a restored backup, an empty server or another proxy's cluster.

use crate::id::Epoch;

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

    /// Both follow the same epoch, but not each other.
    pub fn is_forked_from(&self, other: &Lineage) -> bool {
        self.cluster == other.cluster && self.epoch == other.epoch && self.active != other.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
