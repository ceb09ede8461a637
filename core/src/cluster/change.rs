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
    /// The operator has written other nodes, or other weights, into the configuration. Who leads and stays goes on to lead
    /// until leadership is handed back.
    Configured { nodes: Vec<Configured> },
}

/// A node as the configuration names it. It is known by its name: what else is said of one that is there already, but for
/// its weight, is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    pub name: String,
    pub address: String,
    pub weight: u32,
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
    #[error("nobody leads; nodes can come and go only while somebody does")]
    NobodyLeads,
    #[error("{node} is being recovered; it can be removed when that has ended")]
    Recovering { node: String },
    #[error("{node} has the address {address}, which is that of {holder}; a node is known by its name, and keeps it")]
    SameAddress { node: String, address: String, holder: String },
    #[error("there is nothing to change")]
    Idle,
}

impl Membership {
    /// The membership after `event`; `now` in seconds since the Unix epoch.
    pub fn after(&self, event: Event, now: u64) -> Result<Membership, Refusal> {
        use MemberState::{Active, Degraded, Detached, New, Recovering, Removed, Unreachable};
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
                Detached | Recovering | Removed => {
                    Err(Refusal::Nothing { node: self.name(node), state: self.member(node).state })
                }
                Active | Unreachable | Degraded | New => Ok(self.with(node, Detached, "detached by the operator", now)),
            },
            Event::Recover { node, how } => match self.member(node).state {
                Active | Unreachable => Err(Refusal::AlreadyActive { node: self.name(node) }),
                state @ Removed => Err(Refusal::Nothing { node: self.name(node), state }),
                _ if self.leader().is_none() => Err(Refusal::NobodyActive { node: self.name(node) }),
                Degraded | Detached | New | Recovering => Ok(self.with(node, Recovering, how, now)),
            },
            Event::Joined { node, how } => match self.member(node).state {
                Active | Unreachable => Err(Refusal::AlreadyActive { node: self.name(node) }),
                state @ Removed => Err(Refusal::Nothing { node: self.name(node), state }),
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
            Event::Configured { nodes } => self.configured(&nodes, now),
        }
    }

    /// All of it, or nothing.
    fn configured(&self, nodes: &[Configured], now: u64) -> Result<Membership, Refusal> {
        let named = |id: NodeId| nodes.iter().find(|node| node.name == self.member(id).name);
        let added: Vec<_> = nodes.iter().filter(|node| self.find(&node.name).is_none()).collect();
        let removed: Vec<_> = self.ids().filter(|id| named(*id).is_none()).collect();
        let comes_or_goes = !(added.is_empty() && removed.is_empty());
        if comes_or_goes && self.leader().is_none() {
            return Err(Refusal::NobodyLeads);
        }
        let mut next = self.clone();
        for (id, node) in self.ids().filter_map(|id| Some((id, named(id)?))) {
            next.members[usize::from(id.0)].weight = node.weight;
        }
        // Under another name a node would be taken for one that knows nothing, and for its own copy.
        for node in &added {
            if let Some(holder) = self.ids().find(|id| self.member(*id).address == node.address) {
                let (name, address) = (node.name.clone(), node.address.clone());
                return Err(Refusal::SameAddress { node: name, address, holder: self.name(holder) });
            }
        }
        for node in removed {
            if self.member(node).state == MemberState::Recovering {
                return Err(Refusal::Recovering { node: self.name(node) });
            }
            if next.is_last_current(node) {
                return Err(Refusal::Last { node: self.name(node) });
            }
            next = next.with(node, MemberState::Removed, "taken out of the configuration", now);
        }
        next.members.extend(added.into_iter().map(|node| Member::added(node, now)));
        if next == *self { Err(Refusal::Idle) } else { Ok(next) }
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
    use proptest::prelude::*;

    use super::MemberState::{Active, Degraded, Detached, New, Recovering, Removed, Unreachable};
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn membership(states: [MemberState; 2]) -> Membership {
        let member = |(n, state)| Member {
            name: format!("n{n}"),
            address: format!("n{n}:5432"),
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

    fn configured(nodes: &[(&str, u32)]) -> Event {
        let node = |(name, weight): &(&str, u32)| Configured {
            name: (*name).to_owned(),
            address: format!("{name}:5432"),
            weight: *weight,
        };
        Event::Configured { nodes: nodes.iter().map(node).collect() }
    }

    fn all_states(membership: &Membership) -> Vec<MemberState> {
        membership.members.iter().map(|member| member.state).collect()
    }

    #[test]
    fn a_node_that_has_become_the_heaviest_leads_when_leadership_is_handed_back() {
        let before = membership([Active, Active]);
        let weighed = configured(&[("n0", 1), ("n1", 5)]);
        let next = before.after(weighed.clone(), 9).unwrap();
        assert_eq!((next.leader(), next.preferred(), next.epoch), (Some(A), Some(B), before.epoch));
        assert_eq!(next.after(Event::HandBack, 9).unwrap().leader(), Some(B));
        assert_eq!(next.after(weighed, 9), Err(Refusal::Idle));
    }

    #[test]
    fn a_node_that_comes_into_the_configuration_is_new_whatever_its_place_and_disturbs_nobody() {
        let before = membership([Active, Active]);
        let next = before.after(configured(&[("n2", 9), ("n1", 1), ("n0", 2)]), 9).unwrap();
        assert_eq!(all_states(&next), [Active, Active, New]);
        assert_eq!((next.leader(), next.epoch, next.find("n2")), (before.leader(), before.epoch, Some(NodeId(2))));
        let joined = next.after(Event::Joined { node: NodeId(2), how: "recovered".into() }, 10).unwrap();
        assert_eq!((joined.leader(), joined.preferred(), joined.epoch), (Some(A), Some(NodeId(2)), Epoch(8)));
    }

    #[test]
    fn a_leader_that_is_taken_out_of_the_configuration_hands_over_in_a_new_epoch() {
        let before = membership([Active, Active]);
        let next = before.after(configured(&[("n1", 1), ("n2", 1)]), 9).unwrap();
        assert_eq!(all_states(&next), [Removed, Active, New]);
        assert_eq!((next.leader(), next.epoch), (Some(B), Epoch(8)));
        assert_eq!((next.find("n0"), next.ids().collect::<Vec<_>>()), (None, vec![B, NodeId(2)]));
        assert_eq!(next.out().collect::<Vec<_>>(), [A, NodeId(2)], "sessions have to leave it");
        for event in [
            Event::Joined { node: A, how: String::new() },
            Event::Recover { node: A, how: String::new() },
            Event::Detach { node: A },
            Event::Back { node: A },
            Event::Stayed { node: A, why: String::new() },
        ] {
            assert!(next.after(event.clone(), 9).is_err(), "{event:?}");
        }
        let again = next.after(configured(&[("n0", 1), ("n1", 1), ("n2", 1)]), 9).unwrap();
        assert_eq!((all_states(&again), again.find("n0")), (vec![Removed, Active, New, New], Some(NodeId(3))));
    }

    #[test]
    fn the_last_current_node_stays_in_the_configuration() {
        for states in [[Active, Degraded], [Active, New], [Active, Detached]] {
            let refused = membership(states).after(configured(&[("n1", 1)]), 9);
            assert_eq!(refused, Err(Refusal::Last { node: "n0".into() }));
        }
        let refused = membership([Active, Active]).after(configured(&[("n2", 1)]), 9);
        assert_eq!(refused, Err(Refusal::Last { node: "n1".into() }), "both at once, neither");
    }

    #[test]
    fn nodes_neither_come_nor_go_while_nobody_leads_nor_while_they_are_recovered() {
        let nobody = membership([Unreachable, Degraded]);
        for nodes in [&[("n0", 2)][..], &[("n0", 2), ("n1", 1), ("n2", 1)]] {
            assert_eq!(nobody.after(configured(nodes), 9), Err(Refusal::NobodyLeads));
        }
        assert!(nobody.after(configured(&[("n0", 7), ("n1", 1)]), 9).is_ok(), "weights may change");
        let recovering = membership([Active, Recovering]);
        assert_eq!(recovering.after(configured(&[("n0", 2)]), 9), Err(Refusal::Recovering { node: "n1".into() }));
    }

    #[test]
    fn a_node_does_not_get_another_name() {
        let refused = membership([Active, Active]).after(
            Event::Configured {
                nodes: ["n0", "n9"]
                    .map(|name| Configured { name: name.into(), address: "n1:5432".into(), weight: 1 })
                    .into(),
            },
            9,
        );
        assert!(matches!(refused, Err(Refusal::SameAddress { node, holder, .. }) if node == "n9" && holder == "n1"));
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

    /// What may happen to nodes `n0` to `n5`, of which some are configured and some are not.
    fn any_event() -> impl Strategy<Value = (u8, u16, Vec<(u8, u32)>)> {
        (0..9_u8, 0..6_u16, prop::collection::vec((0..6_u8, 0..4_u32), 1..5))
    }

    fn event(membership: &Membership, (kind, which, mut nodes): (u8, u16, Vec<(u8, u32)>)) -> Event {
        let (node, text) = (NodeId(which % membership.members.len() as u16), String::new);
        nodes.sort_unstable();
        nodes.dedup_by_key(|(name, _)| *name);
        match kind {
            0 => Event::Lost { node, why: text() },
            1 => Event::AllLost { why: text() },
            2 => Event::Diverged { node, why: text() },
            3 => Event::Back { node },
            4 => Event::Detach { node },
            5 => Event::Recover { node, how: text() },
            6 => Event::Joined { node, how: text() },
            7 => Event::HandBack,
            _ => {
                let names: Vec<_> = nodes.iter().map(|(name, weight)| (format!("n{name}"), *weight)).collect();
                let nodes: Vec<_> = names.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
                configured(&nodes)
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_no_id_changes_its_node_and_somebody_stays_current(
            events in prop::collection::vec(any_event(), 1..40)
        ) {
            let mut now = membership([Active, Active]);
            for drawn in events {
                let event = event(&now, drawn);
                let Ok(next) = now.after(event.clone(), 9) else { continue };
                let names = |membership: &Membership| -> Vec<_> {
                    membership.members.iter().map(|member| member.name.clone()).collect()
                };
                prop_assert_eq!(&names(&next)[..now.members.len()], &names(&now)[..], "{:?}", event);
                for (was, is) in now.members.iter().zip(&next.members) {
                    prop_assert!(was.state != Removed || is.state == Removed, "{:?} brings {} back", event, was.name);
                }
                let mut known: Vec<_> = next.ids().map(|id| next.member(id).name.clone()).collect();
                known.sort();
                prop_assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "two nodes of one name: {:?}", known);
                prop_assert!(next.current().next().is_some(), "{:?} leaves nobody", event);
                if let Event::Configured { nodes } = &event {
                    prop_assert_eq!(known.len(), nodes.len());
                    let stay = now.active().filter(|id| next.member(*id).state != Removed);
                    prop_assert!(stay.eq(next.active()), "only who is removed stops to serve");
                    prop_assert_eq!(now.leader().is_some(), next.leader().is_some());
                }
                prop_assert_eq!(now.active().eq(next.active()), now.epoch == next.epoch, "{:?}", event);
                now = next;
            }
        }
    }
}
