//! What an event does to the membership.

use super::{Member, MemberState, Membership};
use crate::id::{Epoch, NodeId};

/// Something that was found out about a node, or that the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Health says that the node is dead.
    Lost { node: NodeId, why: String },
    /// None of the active nodes answers. Nothing can be acknowledged from now on, so all of them stay current: it may be
    /// the network that is gone.
    AllLost { why: String },
    /// What the leader did could not be done on this node.
    Diverged { node: NodeId, why: String },
    /// An unreachable node answers again, and its lineage is the one that it was left with.
    Back { node: NodeId },
    /// The operator takes the node out.
    Detach { node: NodeId },
    /// The node is being made equal.
    Recover { node: NodeId, how: String },
    /// The node was shown to be equal to the active ones while commits were held.
    Joined { node: NodeId, how: String },
    /// The node could not be made or shown equal.
    Stayed { node: NodeId, why: String },
    /// Nothing is under way that a change of leader would disturb.
    HandBack,
    /// The operator has given the nodes these weights, in the order of their ids. Who leads goes on to do so until
    /// leadership is handed back.
    Weighed { weights: Vec<u32> },
}

/// Why an event changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{node} is the last node that holds everything; nothing can take its place")]
    Last { node: String },
    #[error("{node} is {}, not active", state.name())]
    NotActive { node: String, state: MemberState },
    #[error("{node} is active already")]
    AlreadyActive { node: String },
    #[error("no node is active that {node} could be made equal to")]
    NobodyActive { node: String },
    #[error("{node} is {}: there is nothing to do", state.name())]
    Nothing { node: String, state: MemberState },
    #[error("there is nothing to change")]
    Idle,
}

impl Membership {
    /// The membership after `event`; `now` in seconds since the Unix epoch.
    pub fn after(&self, event: Event, now: u64) -> Result<Membership, Refusal> {
        use MemberState::{Active, Degraded, Detached, New, Recovering, Unreachable};
        match event {
            Event::Lost { node, why } => match self.member(node).state {
                Active if self.is_last_current(node) => Ok(self.with(node, Unreachable, why, now)),
                Active => Ok(self.with(node, Degraded, why, now)),
                state => Err(Refusal::NotActive { node: self.name(node), state }),
            },
            Event::AllLost { why } => {
                let lost: Vec<_> = self.active().collect();
                Ok(lost.into_iter().fold(self.clone(), |next, node| next.with(node, Unreachable, why.clone(), now)))
            }
            Event::Diverged { node, why } => match self.member(node).state {
                Active if self.is_last_current(node) => Err(Refusal::Last { node: self.name(node) }),
                Active => Ok(self.with(node, Degraded, why, now)),
                state => Err(Refusal::NotActive { node: self.name(node), state }),
            },
            Event::Back { node } => match self.member(node).state {
                Unreachable => Ok(self.leaving_others_behind(node, now).with(node, Active, "answers again", now)),
                state => Err(Refusal::Nothing { node: self.name(node), state }),
            },
            Event::Detach { node } => match self.member(node).state {
                Active | Unreachable if self.is_last_current(node) => Err(Refusal::Last { node: self.name(node) }),
                Detached | Recovering => {
                    Err(Refusal::Nothing { node: self.name(node), state: self.member(node).state })
                }
                Active | Unreachable | Degraded | New => Ok(self.with(node, Detached, "detached by the operator", now)),
            },
            Event::Recover { node, how } => match self.member(node).state {
                Active | Unreachable => Err(Refusal::AlreadyActive { node: self.name(node) }),
                _ if self.leader().is_none() => Err(Refusal::NobodyActive { node: self.name(node) }),
                Degraded | Detached | New | Recovering => Ok(self.with(node, Recovering, how, now)),
            },
            Event::Joined { node, how } => match self.member(node).state {
                Active | Unreachable => Err(Refusal::AlreadyActive { node: self.name(node) }),
                _ if self.leader().is_none() => Err(Refusal::NobodyActive { node: self.name(node) }),
                Degraded | Detached | New | Recovering => Ok(self.with(node, Active, how, now)),
            },
            Event::Stayed { node, why } => match self.member(node).state {
                Recovering => Ok(self.with(node, Degraded, why, now)),
                state @ (Degraded | Detached | New) => Ok(self.with(node, state, why, now)),
                state => Err(Refusal::Nothing { node: self.name(node), state }),
            },
            Event::HandBack => match self.preferred() {
                preferred @ Some(_) if preferred != self.leader() => {
                    Ok(Membership { leading: preferred, ..self.clone() })
                }
                _ => Err(Refusal::Idle),
            },
            Event::Weighed { weights } => {
                let mut next = self.clone();
                next.members.iter_mut().zip(weights).for_each(|(member, weight)| member.weight = weight);
                if next == *self { Err(Refusal::Idle) } else { Ok(next) }
            }
        }
    }

    fn is_last_current(&self, node: NodeId) -> bool {
        self.current().all(|id| id == node)
    }

    /// From the moment that one of several unreachable nodes serves alone, the others miss what it does.
    fn leaving_others_behind(&self, node: NodeId, now: u64) -> Membership {
        let others: Vec<_> = self.current().filter(|id| *id != node && !self.is_active(*id)).collect();
        let why = format!("was not there when {} began to serve again", self.name(node));
        others.into_iter().fold(self.clone(), |next, id| next.with(id, MemberState::Degraded, why.clone(), now))
    }

    fn is_active(&self, node: NodeId) -> bool {
        self.member(node).state == MemberState::Active
    }

    fn name(&self, node: NodeId) -> String {
        self.member(node).name.clone()
    }

    /// The epoch grows when the set of active nodes changes: then, and only then, lineage is written.
    fn with(&self, node: NodeId, state: MemberState, reason: impl Into<String>, now: u64) -> Membership {
        let mut next = self.clone();
        let before = self.member(node);
        if (before.state == MemberState::Active) != (state == MemberState::Active) {
            next.epoch = Epoch(self.epoch.0 + 1);
        }
        let since = if before.state == state { before.since } else { now };
        next.members[usize::from(node.0)] = Member { state, reason: reason.into(), since, ..before.clone() };
        if next.leading.is_none_or(|leader| !next.member(leader).state.is_current()) {
            next.leading = next.preferred();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::MemberState::{Active, Degraded, Detached, New, Recovering, Unreachable};
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn membership(states: [MemberState; 2]) -> Membership {
        let member = |(n, state)| Member {
            name: format!("n{n}"),
            address: String::new(),
            weight: 2 - n as u32,
            state,
            reason: String::new(),
            since: 1,
        };
        let mut membership = Membership {
            epoch: Epoch(7),
            members: states.into_iter().enumerate().map(member).collect(),
            leading: None,
        };
        membership.leading = membership.preferred().or_else(|| membership.current().next());
        membership
    }

    fn states(membership: &Membership) -> [MemberState; 2] {
        [membership.member(A).state, membership.member(B).state]
    }

    fn lost(node: NodeId) -> Event {
        Event::Lost { node, why: "refused".into() }
    }

    #[test]
    fn a_lost_leader_is_degraded_and_the_follower_leads() {
        let next = membership([Active, Active]).after(lost(A), 9).unwrap();
        assert_eq!(states(&next), [Degraded, Active]);
        assert_eq!(next.leader(), Some(B));
        assert_eq!(next.epoch, Epoch(8));
        assert_eq!((next.member(A).since, next.member(B).since), (9, 1));
    }

    #[test]
    fn the_last_current_node_is_never_given_up() {
        let alone = membership([Degraded, Active]);
        let next = alone.after(lost(B), 9).unwrap();
        assert_eq!(states(&next), [Degraded, Unreachable]);
        assert_eq!(next.leader(), None);
        assert!(matches!(alone.after(Event::Diverged { node: B, why: String::new() }, 9), Err(Refusal::Last { .. })));
        assert!(matches!(alone.after(Event::Detach { node: B }, 9), Err(Refusal::Last { .. })));
    }

    #[test]
    fn a_heavier_node_that_joins_follows_until_leadership_is_handed_back() {
        let event = Event::Joined { node: A, how: "recovered".into() };
        let next = membership([Degraded, Active]).after(event, 9).unwrap();
        assert_eq!(next.leader(), Some(B));
        assert_eq!(next.followers().collect::<Vec<_>>(), [A]);
        let back = next.after(Event::HandBack, 9).unwrap();
        assert_eq!((back.leader(), back.epoch), (Some(A), next.epoch));
        assert_eq!(back.after(Event::HandBack, 9), Err(Refusal::Idle));
    }

    #[test]
    fn a_node_that_has_become_the_heaviest_leads_when_leadership_is_handed_back() {
        let before = membership([Active, Active]);
        let next = before.after(Event::Weighed { weights: vec![1, 5] }, 9).unwrap();
        assert_eq!((next.leader(), next.preferred(), next.epoch), (Some(A), Some(B), before.epoch));
        assert_eq!(next.after(Event::HandBack, 9).unwrap().leader(), Some(B));
        assert_eq!(next.after(Event::Weighed { weights: vec![1, 5] }, 9), Err(Refusal::Idle));
    }

    #[test]
    fn when_nobody_answers_all_active_nodes_stay_current() {
        let next = membership([Active, Active]).after(Event::AllLost { why: "no route".into() }, 9).unwrap();
        assert_eq!((states(&next), next.leader()), ([Unreachable, Unreachable], None));
    }

    #[test]
    fn only_the_unreachable_node_comes_back_by_itself() {
        let next = membership([Degraded, Unreachable]).after(Event::Back { node: B }, 9).unwrap();
        assert_eq!(states(&next), [Degraded, Active]);
        assert!(membership([Degraded, Active]).after(Event::Back { node: A }, 9).is_err());
        assert!(membership([Detached, Active]).after(Event::Back { node: A }, 9).is_err());
    }

    #[test]
    fn the_first_of_several_to_come_back_leaves_the_others_behind() {
        let next = membership([Unreachable, Unreachable]).after(Event::Back { node: B }, 9).unwrap();
        assert_eq!(states(&next), [Degraded, Active]);
    }

    #[test]
    fn nothing_joins_when_nobody_is_active() {
        for state in [Degraded, Detached, New, Recovering] {
            let event = Event::Joined { node: A, how: "recovered".into() };
            assert!(matches!(
                membership([state, Unreachable]).after(event.clone(), 9),
                Err(Refusal::NobodyActive { .. })
            ));
            assert_eq!(states(&membership([state, Active]).after(event, 9).unwrap()), [Active, Active]);
        }
    }

    #[test]
    fn the_epoch_grows_only_with_the_set_of_active_nodes() {
        let recovering =
            membership([Degraded, Active]).after(Event::Recover { node: A, how: String::new() }, 9).unwrap();
        assert_eq!(recovering.epoch, Epoch(7));
        let stayed = recovering.after(Event::Stayed { node: A, why: "disk full".into() }, 10).unwrap();
        assert_eq!((stayed.epoch, states(&stayed)), (Epoch(7), [Degraded, Active]));
    }
}
