//! Who serves when the proxy starts, or when nobody has served for a while.
//!
//! Invariant: nothing is trusted unseen. A node serves at once only if the state file or the nodes' own lineage name it
//! as current, or if it is the preferred node of a cluster that has none yet; every other node has to be shown equal.

use super::lineage::{ClusterId, Kinship, Lineage};
use super::{MemberState, Membership};
use crate::id::{Epoch, NodeId};

/// What the proxy remembers of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub cluster: ClusterId,
    /// Nothing was under way when the proxy stopped, and its last act was to begin an epoch ([`Record::stopped`]).
    pub clean: bool,
    pub membership: Membership,
    /// The newest lineage known to be on each node.
    pub written: Vec<Epoch>,
}

impl Record {
    /// The same cluster with another membership. A node that is new in it bears no lineage of this cluster's.
    pub fn with(&self, membership: Membership) -> Self {
        let mut written = self.written.clone();
        written.resize(membership.members.len(), Epoch(0));
        Self { membership, written, ..self.clone() }
    }

    /// An epoch of its own for the stop: a copy of a node that was made while the proxy served bears an older one, and is
    /// not taken for the node when it is put in its place.
    pub fn stopped(&self) -> Self {
        let mut stopped = self.clone();
        stopped.membership.epoch.0 += 1;
        stopped
    }

    /// Whether the node was active to the end of an orderly stop, and was given that end's epoch.
    fn has_seen_the_end(&self, node: NodeId) -> bool {
        self.clean && self.written[usize::from(node.0)] == self.membership.epoch
    }
}

/// What a node showed when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    Silent(String),
    Seen(Option<Lineage>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Serve {
        record: Record,
        /// Nodes that become active when a full comparison under held commits shows them equal.
        compare: Vec<NodeId>,
        ghosts: Ghosts,
        /// Another node may have led last: what it gave out of its sequences may not have come to the one that leads now.
        jump: bool,
    },
    /// Nobody serves; look again later.
    Wait { record: Option<Record>, why: String },
    /// Only a human can say which data is right.
    Refuse { why: String },
}

/// Backends of a former proxy that may still execute, and have to be seen gone before nodes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ghosts {
    None,
    /// They are connected from where this proxy is.
    Here,
    /// Nobody knows from where they are connected.
    Anywhere,
}

/// Decides from the record, if there is one.
pub fn reopen(record: Record, seen: &[Sighting], now: u64) -> Opening {
    let mut next = record.clone();
    let mut usable = Vec::new();
    let mut missing = Vec::new();
    let mut strangers = Vec::new();
    for node in record.membership.current() {
        match judge(&record, node, &seen[usize::from(node.0)]) {
            Ok(()) => usable.push(node),
            Err(Unusable::Data(why)) => missing.push((node, why)),
            Err(Unusable::Stranger(why)) => strangers.push((node, why)),
            Err(Unusable::Conflict(why)) => return Opening::Refuse { why },
        }
    }
    // A node of another cluster is not this one's concern while a node of this one bears the record out.
    if let (true, Some((_, why))) = (usable.is_empty(), strangers.first()) {
        return Opening::Refuse { why: why.clone() };
    }
    missing.extend(strangers);
    let Some(leader) =
        usable.iter().copied().min_by_key(|id| (!record.has_seen_the_end(*id), preference(&record.membership, *id)))
    else {
        let why = missing.iter().map(|(node, why)| format!("{}: {why}", record.membership.member(*node).name));
        let why = why.collect::<Vec<_>>().join("; ");
        for (node, why) in missing {
            set(&mut next.membership, node, MemberState::Unreachable, why, now);
        }
        return Opening::Wait { record: Some(next), why };
    };
    let name = record.membership.member(leader).name.clone();
    set(&mut next.membership, leader, MemberState::Active, "serves since the proxy started".into(), now);
    next.membership.leading = Some(leader);
    for (node, why) in missing {
        set(&mut next.membership, node, MemberState::Degraded, why, now);
    }
    let mut compare = Vec::new();
    for node in usable.into_iter().filter(|node| *node != leader) {
        if record.has_seen_the_end(leader) && record.has_seen_the_end(node) {
            set(&mut next.membership, node, MemberState::Active, "the proxy had stopped in order".into(), now);
        } else {
            let why = format!("has not been shown equal to {name} since the proxy stopped");
            set(&mut next.membership, node, MemberState::Degraded, why, now);
            compare.push(node);
        }
    }
    next.membership.epoch = Epoch(record.membership.epoch.0 + 1);
    next.clean = false;
    let lived = record.written.iter().any(|epoch| epoch.0 > 0);
    let ghosts = match record.membership.leading {
        _ if record.clean || !lived => Ghosts::None,
        Some(_) => Ghosts::Here,
        // Another proxy has served last.
        None => Ghosts::Anywhere,
    };
    let jump =
        !record.clean && (record.membership.leading != Some(leader) || lived && !bears_newest(&record, leader, seen));
    Opening::Serve { record: next, compare, ghosts, jump }
}

/// A node whose sequences have been moved past what a leader before it gave out is given its epoch's lineage then.
fn bears_newest(record: &Record, node: NodeId, seen: &[Sighting]) -> bool {
    matches!(&seen[usize::from(node.0)], Sighting::Seen(Some(lineage)) if lineage.epoch >= record.membership.epoch)
}

/// Decides for a proxy that has stood by: others have served since it wrote its record, if it ever did. The nodes' own
/// lineage counts where it is newer.
pub fn relieve(record: Option<Record>, fresh: Membership, id: ClusterId, seen: &[Sighting], now: u64) -> Opening {
    match record.filter(|record| !has_been_left_behind(record, seen)) {
        Some(record) => reopen(record, seen, now),
        None => first(fresh, id, seen, now),
    }
}

fn has_been_left_behind(record: &Record, seen: &[Sighting]) -> bool {
    seen.iter().any(|sighting| {
        matches!(sighting, Sighting::Seen(Some(lineage))
            if lineage.cluster == record.cluster && lineage.epoch > record.membership.epoch)
    })
}

/// `nodes`, which were to be compared, were shown to be equal before anybody serves.
pub fn let_in(record: &mut Record, nodes: &[NodeId], now: u64) {
    for node in nodes {
        let why = "the journal has settled what was under way";
        set(&mut record.membership, *node, MemberState::Active, why.into(), now);
    }
}

/// Decides without a record. `fresh` has the configured nodes, all new; `id` is used if there is no cluster yet.
pub fn first(fresh: Membership, id: ClusterId, seen: &[Sighting], now: u64) -> Opening {
    let lineages: Vec<(NodeId, &Lineage)> = fresh
        .ids()
        .filter_map(|node| match &seen[usize::from(node.0)] {
            Sighting::Seen(Some(lineage)) => Some((node, lineage)),
            _ => None,
        })
        .collect();
    match lineages.iter().max_by_key(|(_, lineage)| lineage.epoch) {
        Some((_, newest)) => inherit(fresh, newest, &lineages, seen, now),
        None => found(fresh, id, seen, now),
    }
}

/// A cluster that has never been: the preferred node's data is the data.
fn found(fresh: Membership, cluster: ClusterId, seen: &[Sighting], now: u64) -> Opening {
    let Some(leader) = fresh.ids().min_by_key(|id| preference(&fresh, *id)) else {
        return Opening::Refuse { why: "no node is configured".into() };
    };
    let name = fresh.member(leader).name.clone();
    if let Sighting::Silent(why) = &seen[usize::from(leader.0)] {
        let why = format!("at the first start the preferred node's data counts, but {name} does not answer: {why}");
        return Opening::Wait { record: None, why };
    }
    let written = vec![Epoch(0); fresh.members.len()];
    let mut record = Record { cluster, clean: false, membership: fresh, written };
    record.membership.epoch = Epoch(1);
    set(&mut record.membership, leader, MemberState::Active, "preferred node of a new cluster".into(), now);
    record.membership.leading = Some(leader);
    let mut compare = Vec::new();
    for node in record.membership.ids().filter(|node| *node != leader).collect::<Vec<_>>() {
        let why = match &seen[usize::from(node.0)] {
            Sighting::Silent(why) => format!("did not answer at the first start: {why}"),
            Sighting::Seen(_) => {
                compare.push(node);
                format!("has not been shown equal to {name} yet")
            }
        };
        set(&mut record.membership, node, MemberState::New, why, now);
    }
    Opening::Serve { record, compare, ghosts: Ghosts::None, jump: false }
}

/// The state file is gone, but the nodes remember: whoever is named by the newest lineage must be there to be compared.
fn inherit(
    mut fresh: Membership,
    newest: &Lineage,
    lineages: &[(NodeId, &Lineage)],
    seen: &[Sighting],
    now: u64,
) -> Opening {
    for (node, lineage) in lineages {
        let name = &fresh.member(*node).name;
        if lineage.cluster != newest.cluster {
            let why = format!("{name} belongs to another cluster than the other nodes ({})", lineage.cluster.0);
            return Opening::Refuse { why };
        }
        if lineage.is_forked_from(newest) {
            let why = format!(
                "split brain: {name} was active in epoch {} with [{}], another node in epoch {} with [{}]; \
                 `lockstep takeover --node` says whose data counts, and the others are recovered from it",
                lineage.epoch,
                lineage.active.join(", "),
                newest.epoch,
                newest.active.join(", ")
            );
            return Opening::Refuse { why };
        }
    }
    for name in &newest.active {
        let Some(node) = fresh.find(name) else {
            let why = format!("the nodes' lineage names {name} as active, but it is not in the configuration");
            return Opening::Refuse { why };
        };
        if let Sighting::Silent(why) = &seen[usize::from(node.0)] {
            let why = format!(
                "{name}, which the nodes' lineage names as active, may hold more and does not answer: {why}; if it is gone \
                 for good, `lockstep takeover` goes on without it"
            );
            return Opening::Wait { record: None, why };
        }
        set(&mut fresh, node, MemberState::Active, "named by the lineage".into(), now);
    }
    for (node, lineage) in lineages.iter().filter(|(_, lineage)| lineage.epoch < newest.epoch) {
        let why = format!("stayed behind in epoch {}; the others are in {}", lineage.epoch, newest.epoch);
        set(&mut fresh, *node, MemberState::Degraded, why, now);
    }
    fresh.epoch = newest.epoch;
    let written = vec![newest.epoch; fresh.members.len()];
    reopen(Record { cluster: newest.cluster.clone(), clean: false, membership: fresh, written }, seen, now)
}

enum Unusable {
    /// The node is not there, or is not what it was.
    Data(String),
    /// The node, or else the record, is another cluster's.
    Stranger(String),
    /// The record itself may be wrong.
    Conflict(String),
}

fn judge(record: &Record, node: NodeId, sighting: &Sighting) -> Result<(), Unusable> {
    let name = &record.membership.member(node).name;
    let lineage = match sighting {
        Sighting::Silent(why) => return Err(Unusable::Data(why.clone())),
        Sighting::Seen(None) if record.written[usize::from(node.0)] == Epoch(0) => return Ok(()),
        Sighting::Seen(None) => {
            return Err(Unusable::Data("its data has no lineage: it is not the data it had".into()));
        }
        Sighting::Seen(Some(lineage)) => lineage,
    };
    match lineage.kinship(&record.cluster, record.written[usize::from(node.0)], record.membership.epoch) {
        Kinship::Same => Ok(()),
        Kinship::Behind => Err(Unusable::Data(format!(
            "its data is of epoch {}, but it has been in {} before: an older state was restored",
            lineage.epoch,
            record.written[usize::from(node.0)]
        ))),
        Kinship::Stranger => Err(Unusable::Stranger(format!(
            "{name} belongs to cluster {}, the state file to {}: look at its address; what it holds is lost in a recovery",
            lineage.cluster.0, record.cluster.0
        ))),
        Kinship::Ahead => Err(Unusable::Conflict(format!(
            "{name} is in epoch {}, the state file in {}: another proxy has served since, or the file is an old copy; stop the \
             other for good, and move membership.json out of state_dir to start from what the nodes say",
            lineage.epoch, record.membership.epoch
        ))),
    }
}

/// Heaviest first, the first of equals.
pub(super) fn preference(membership: &Membership, node: NodeId) -> (std::cmp::Reverse<u32>, NodeId) {
    (std::cmp::Reverse(membership.member(node).weight), node)
}

pub(super) fn set(membership: &mut Membership, node: NodeId, state: MemberState, reason: String, now: u64) {
    let member = &mut membership.members[usize::from(node.0)];
    if member.state != state {
        member.since = now;
    }
    member.state = state;
    member.reason = reason;
}

#[cfg(test)]
mod tests {
    use super::MemberState::{Active, Degraded, New, Unreachable};
    use super::*;
    use crate::cluster::Member;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn membership(states: [MemberState; 2]) -> Membership {
        let member = |(n, state): (usize, MemberState)| Member {
            name: ["a", "b"][n].into(),
            address: String::new(),
            weight: 2 - n as u32,
            state,
            reason: String::new(),
            since: 1,
        };
        Membership { epoch: Epoch(5), members: states.into_iter().enumerate().map(member).collect(), leading: None }
    }

    fn record(clean: bool, states: [MemberState; 2]) -> Record {
        let cluster = ClusterId("c".into());
        Record { cluster, clean, membership: membership(states), written: vec![Epoch(5); 2] }
    }

    fn seen(epoch: u64, active: &[&str]) -> Sighting {
        let active = active.iter().map(|name| (*name).to_owned()).collect();
        let cluster = ClusterId("c".into());
        Sighting::Seen(Some(Lineage { cluster, epoch: Epoch(epoch), parent: Epoch(epoch - 1), active }))
    }

    fn silent() -> Sighting {
        Sighting::Silent("refused".into())
    }

    fn served(opening: Opening) -> ([MemberState; 2], Vec<NodeId>) {
        match opening {
            Opening::Serve { record, compare, .. } => {
                ([record.membership.members[0].state, record.membership.members[1].state], compare)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_was_not_given_the_epoch_of_an_orderly_stop_may_be_an_older_copy() {
        let mut stopped = Record { clean: true, ..record(false, [Active, Active]).stopped() };
        stopped.written[0] = Epoch(6);
        let both = [seen(6, &["a", "b"]), seen(5, &["a", "b"])];
        assert_eq!(served(reopen(stopped.clone(), &both, 9)), ([Active, Degraded], vec![B]), "it is compared");
        stopped.written[1] = Epoch(6);
        assert_eq!(served(reopen(stopped, &both, 9)), ([Active, Degraded], vec![]), "an older state was restored");
    }

    #[test]
    fn a_node_that_was_not_given_the_epoch_of_an_orderly_stop_does_not_lead_one_that_was() {
        let mut stopped = Record { clean: true, ..record(false, [Active, Active]).stopped() };
        stopped.written[1] = Epoch(6);
        let both = [seen(5, &["a", "b"]), seen(6, &["a", "b"])];
        assert_eq!(served(reopen(stopped.clone(), &both, 9)), ([Degraded, Active], vec![A]));
        stopped.written[1] = Epoch(5);
        let neither = [seen(5, &["a", "b"]), seen(5, &["a", "b"])];
        assert_eq!(served(reopen(stopped, &neither, 9)), ([Active, Degraded], vec![B]), "they are compared");
    }

    #[test]
    fn after_an_orderly_stop_everybody_who_is_there_is_active() {
        let all = [seen(5, &["a", "b"]), seen(5, &["a", "b"])];
        assert_eq!(served(reopen(record(true, [Active, Active]), &all, 9)), ([Active, Active], vec![]));
        let one = [silent(), seen(5, &["a", "b"])];
        assert_eq!(served(reopen(record(true, [Active, Active]), &one, 9)), ([Degraded, Active], vec![]));
    }

    #[test]
    fn after_an_unclean_stop_the_preferred_node_serves_and_the_others_are_compared() {
        let all = [seen(5, &["a", "b"]), seen(5, &["a", "b"])];
        assert_eq!(served(reopen(record(false, [Active, Active]), &all, 9)), ([Active, Degraded], vec![B]));
    }

    #[test]
    fn statements_and_sequence_values_of_a_former_proxy_are_reckoned_with() {
        let all = [seen(5, &["a", "b"]), seen(5, &["a", "b"])];
        let told = |record: Record| match reopen(record, &all, 9) {
            Opening::Serve { ghosts, jump, .. } => (ghosts, jump),
            other => panic!("{other:?}"),
        };
        let led_by = |clean, leading| {
            let mut record = record(clean, [Active, Active]);
            record.membership.leading = leading;
            record
        };
        assert_eq!(told(led_by(true, Some(B))), (Ghosts::None, false));
        assert_eq!(told(led_by(false, Some(NodeId(0)))), (Ghosts::Here, false));
        assert_eq!(told(led_by(false, Some(B))), (Ghosts::Here, true));
        assert_eq!(told(led_by(false, None)), (Ghosts::Anywhere, true));
    }

    #[test]
    fn a_leader_that_was_chosen_and_had_not_taken_its_place_yet_when_the_proxy_was_killed_gives_out_no_value_again() {
        let mut record = record(false, [Degraded, Active]);
        record.membership.leading = Some(B);
        let jumps = |record: &Record, epoch| match reopen(record.clone(), &[silent(), seen(epoch, &["a", "b"])], 9) {
            Opening::Serve { jump, .. } => jump,
            other => panic!("{other:?}"),
        };
        record.written[1] = Epoch(4);
        assert!(jumps(&record, 4) && !jumps(&record, 5));
    }

    #[test]
    fn a_restart_never_brings_a_degraded_node_back() {
        let all = [seen(4, &["a", "b"]), seen(5, &["b"])];
        assert_eq!(served(reopen(record(true, [Degraded, Active]), &all, 9)), ([Degraded, Active], vec![]));
        let only_the_degraded = [seen(4, &["a", "b"]), silent()];
        let Opening::Wait { record: Some(waiting), .. } =
            reopen(record(true, [Degraded, Active]), &only_the_degraded, 9)
        else {
            panic!("it must wait for b");
        };
        assert_eq!(waiting.membership.members[1].state, Unreachable);
        assert!(waiting.clean, "waiting changes no data");
    }

    #[test]
    fn a_restored_backup_and_an_empty_server_are_not_current() {
        for other in [seen(3, &["a", "b"]), Sighting::Seen(None)] {
            let found = [seen(5, &["a", "b"]), other];
            assert_eq!(served(reopen(record(true, [Active, Active]), &found, 9)), ([Active, Degraded], vec![]));
        }
    }

    fn of_another_cluster() -> Sighting {
        let lineage = Lineage { cluster: ClusterId("x".into()), epoch: Epoch(5), parent: Epoch(4), active: vec![] };
        Sighting::Seen(Some(lineage))
    }

    #[test]
    fn a_node_of_another_cluster_is_out_and_keeps_nobody_from_serving() {
        for clean in [true, false] {
            let found = [of_another_cluster(), seen(5, &["a", "b"])];
            assert_eq!(served(reopen(record(clean, [Active, Active]), &found, 9)), ([Degraded, Active], vec![]));
        }
        for alone in [of_another_cluster(), silent()] {
            let found = [of_another_cluster(), alone];
            let refused = reopen(record(true, [Active, Active]), &found, 9);
            assert!(matches!(&refused, Opening::Refuse { why } if why.contains("belongs to cluster x")), "{refused:?}");
        }
    }

    #[test]
    fn another_proxys_work_is_not_overwritten() {
        let found = [seen(6, &["a"]), seen(5, &["a", "b"])];
        assert!(matches!(reopen(record(true, [Active, Active]), &found, 9), Opening::Refuse { .. }));
    }

    #[test]
    fn a_proxy_that_stood_by_goes_by_what_others_have_written_since() {
        let relieved =
            |record, seen: &[Sighting]| relieve(Some(record), membership([New, New]), ClusterId("n".into()), seen, 9);
        let left_behind = [seen(7, &["a"]), seen(6, &["a", "b"])];
        assert_eq!(served(relieved(record(true, [Active, Active]), &left_behind)), ([Active, Degraded], vec![]));
        let level = [seen(5, &["a", "b"]), seen(5, &["a", "b"])];
        assert_eq!(served(relieved(record(true, [Active, Active]), &level)), ([Active, Active], vec![]));
        let may_hold_more = [silent(), seen(6, &["a", "b"])];
        assert!(matches!(relieved(record(true, [Active, Active]), &may_hold_more), Opening::Wait { .. }));
    }

    #[test]
    fn a_new_cluster_is_the_preferred_node_and_whoever_equals_it() {
        let fresh = || membership([New, New]);
        let id = || ClusterId("n".into());
        let both = [Sighting::Seen(None), Sighting::Seen(None)];
        assert_eq!(served(first(fresh(), id(), &both, 9)), ([Active, New], vec![B]));
        assert_eq!(served(first(fresh(), id(), &[Sighting::Seen(None), silent()], 9)), ([Active, New], vec![]));
        assert!(matches!(
            first(fresh(), id(), &[silent(), Sighting::Seen(None)], 9),
            Opening::Wait { record: None, .. }
        ));
    }

    #[test]
    fn a_lost_state_file_is_made_up_from_lineage_and_comparison() {
        let id = || ClusterId("n".into());
        let fresh = || membership([New, New]);
        let level = [seen(7, &["a", "b"]), seen(7, &["a", "b"])];
        assert_eq!(served(first(fresh(), id(), &level, 9)), ([Active, Degraded], vec![B]));
        let behind = [seen(6, &["a", "b"]), seen(7, &["b"])];
        assert_eq!(served(first(fresh(), id(), &behind, 9)), ([Degraded, Active], vec![]));
        let absent = [seen(6, &["a", "b"]), silent()];
        assert!(matches!(first(fresh(), id(), &absent, 9), Opening::Wait { .. }));
        let forked = [seen(7, &["a"]), seen(7, &["b"])];
        assert!(matches!(first(fresh(), id(), &forked, 9), Opening::Refuse { .. }));
    }
}
