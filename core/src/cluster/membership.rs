//! The set of nodes as everybody sees it at one moment: an immutable value, replaced as a whole.

use super::change::Configured;
use crate::id::{Epoch, NodeId};

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Holds all that was ever acknowledged; serves.
    Active,
    /// Holds all that was ever acknowledged, but does not answer, and no other node holds as much: nobody serves until it
    /// is back.
    Unreachable,
    /// Was active; something is missing or unproved. Comes back by recovery (or `attach`, when shown to be equal).
    Degraded,
    /// Taken out by the operator with `detach`.
    Detached,
    /// Has never been a member of this cluster.
    New,
    /// Is being made equal right now.
    Recovering,
    /// Is not in the configuration any more. It keeps its place until the proxy ends, so that no [`NodeId`] ever means another
    /// node; nothing but its connections' end has to do with it.
    Removed,
}

impl MemberState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unreachable => "unreachable",
            Self::Degraded => "degraded",
            Self::Detached => "detached",
            Self::New => "new",
            Self::Recovering => "recovering",
            Self::Removed => "removed",
        }
    }

    /// Of those that are written down: a removed node is not.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Unreachable, Self::Degraded, Self::Detached, Self::New, Self::Recovering]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// Holds all that was ever acknowledged, whether it answers or not.
    pub fn is_current(self) -> bool {
        matches!(self, Self::Active | Self::Unreachable)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// `host:port`, as configured.
    pub address: String,
    pub weight: u32,
    pub state: MemberState,
    /// Why the node is in this state, in words for the operator.
    pub reason: String,
    /// Seconds since the Unix epoch.
    pub since: u64,
}

impl Member {
    /// One that has just come into the configuration.
    pub(super) fn added(node: &Configured, now: u64) -> Self {
        Self {
            name: node.name.clone(),
            address: node.address.clone(),
            weight: node.weight,
            state: MemberState::New,
            reason: "has come into the configuration while the proxy served".into(),
            since: now,
        }
    }
}

/// Nodes by [`NodeId`], and who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub epoch: Epoch,
    pub members: Vec<Member>,
    /// Who was made the leader. It stays that for as long as it is active, for transactions are open on it: a heavier node
    /// that joins follows at first.
    pub leading: Option<NodeId>,
}

impl Membership {
    pub fn leader(&self) -> Option<NodeId> {
        self.leading.filter(|id| self.member(*id).state == MemberState::Active)
    }

    /// The active node that should lead: the heaviest, the first of equals.
    pub fn preferred(&self) -> Option<NodeId> {
        self.active().max_by_key(|id| (self.member(*id).weight, std::cmp::Reverse(*id)))
    }

    pub fn active(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ids().filter(|id| self.member(*id).state == MemberState::Active)
    }

    pub fn followers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let leader = self.leader();
        self.active().filter(move |id| Some(*id) != leader)
    }

    /// The nodes of the configuration.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.places().filter(|id| self.member(*id).state != MemberState::Removed)
    }

    /// Those that serve nobody, the removed ones among them.
    pub fn out(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.places().filter(|id| self.member(*id).state != MemberState::Active)
    }

    fn places(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.members.len() as u16).map(NodeId)
    }

    pub fn member(&self, id: NodeId) -> &Member {
        &self.members[usize::from(id.0)]
    }

    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.ids().find(|id| self.member(*id).name == name)
    }

    /// The same nodes, of which nothing is known.
    pub fn unknown(&self, now: u64) -> Self {
        let mut unknown = Self { epoch: Epoch(0), members: self.members.clone(), leading: None };
        for member in unknown.members.iter_mut().filter(|member| member.state != MemberState::Removed) {
            (member.state, member.since) = (MemberState::New, now);
            member.reason = "has not been looked at".into();
        }
        unknown
    }

    /// Nodes that hold all that was ever acknowledged.
    pub fn current(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ids().filter(|id| self.member(*id).state.is_current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(members: &[(u32, MemberState)], leading: Option<u16>) -> Membership {
        let member = |(n, (weight, state)): (usize, &(u32, MemberState))| Member {
            name: format!("n{n}"),
            address: String::new(),
            weight: *weight,
            state: *state,
            reason: String::new(),
            since: 0,
        };
        let members = members.iter().enumerate().map(member).collect();
        Membership { epoch: Epoch(1), members, leading: leading.map(NodeId) }
    }

    #[test]
    fn the_heaviest_active_node_is_preferred_and_the_first_of_equals() {
        use MemberState::{Active, Degraded};
        assert_eq!(membership(&[(1, Active), (2, Active), (2, Active)], None).preferred(), Some(NodeId(1)));
        assert_eq!(membership(&[(1, Active), (2, Degraded)], None).preferred(), Some(NodeId(0)));
        assert_eq!(membership(&[(1, Degraded)], None).preferred(), None);
    }

    #[test]
    fn followers_are_the_active_nodes_but_the_leader() {
        use MemberState::{Active, New};
        let followers = |leading| -> Vec<NodeId> {
            membership(&[(2, Active), (1, Active), (1, New), (1, Active)], leading).followers().collect()
        };
        assert_eq!(followers(Some(0)), [NodeId(1), NodeId(3)]);
        assert_eq!(followers(Some(1)), [NodeId(0), NodeId(3)]);
    }

    #[test]
    fn a_node_that_is_not_active_does_not_lead() {
        use MemberState::{Active, Unreachable};
        assert_eq!(membership(&[(1, Unreachable), (1, Active)], Some(0)).leader(), None);
    }
}
