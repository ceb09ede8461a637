//! Followers that would have other names than the leader for what a unit has made ([`names`](crate::effect::names)).
//!
//! Followers are alike, and see no transaction but those that are committed: what one says, all say. Then the unit is given up
//! while it is nowhere, and the client runs it again. A follower that says so while another has committed is out.

use super::task::other_names;
use super::{Commit, Follower, Order};
use crate::id::NodeId;

impl Commit {
    /// Neither this node nor the leader can have committed before.
    pub(super) fn has_nothing(&mut self, node: NodeId) -> bool {
        self.order == Order::FollowersFirst && !self.member(node).in_doubt
    }

    /// Nothing of the batch is there, and a second attempt would come to the same.
    pub(super) fn names_differ(&mut self, node: NodeId, names: &str) {
        self.names = names.to_owned();
        *self.state(node) = Follower::NamesDiffer;
    }

    /// Whether the commit goes on. When a name was found to be another, all followers are to say theirs first.
    pub(super) fn agrees_on_names(&mut self) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let settled = |state| matches!(state, Follower::Committed | Follower::NamesDiffer | Follower::Out);
        if !self.followers.iter().all(|member| settled(member.state)) {
            return false;
        }
        let names = std::mem::take(&mut self.names);
        if self.committed() == 0 {
            self.abort(other_names(&names));
            return false;
        }
        let why = format!("it has other names than {names}, and is alone with that");
        let differ = self.followers.iter().filter(|member| member.state == Follower::NamesDiffer);
        let nodes: Vec<_> = differ.map(|member| member.node).collect();
        nodes.into_iter().for_each(|node| self.degrade(node, why.clone()));
        true
    }
}
