//! Whose data goes on when a machine is gone, and a human says so.
//!
//! Invariant: a takeover only ever chooses among nodes that have been in the cluster, says all that is known to be
//! missing on the one it chooses, and leaves every other node out until it has been shown equal or copied afresh. What it
//! decides is a [`Record`], from which an ordinary start ([`super::opening`]) goes on.

use super::lineage::Lineage;
use super::opening::{Record, Sighting, preference, set};
use super::{MemberState, Membership};
use crate::id::{Epoch, NodeId};

/// What a takeover comes to, if it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Who leads last is left open in it: the sequences jump past all that anybody else can have given out.
    pub record: Record,
    pub chosen: NodeId,
    /// The lineage that the chosen node bears.
    pub lineage: Lineage,
    /// Nodes that may have gone on without the chosen one, which nothing here can tell.
    pub unseen: Vec<Unseen>,
    /// What shows that acknowledged writes are missing on the chosen node. Not to be passed over without being asked.
    pub losses: Vec<String>,
}

/// A node that was active together with the chosen one and does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub name: String,
    pub why: String,
}

/// Why there is nothing to take over, or nobody to take over with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTakeover {
    #[error("no node answers: {0}")]
    NobodyAnswers(String),
    #[error("{0} is not among the nodes of the configuration")]
    UnknownNode(String),
    #[error("{name} cannot take over: {why}")]
    Unfit { name: String, why: String },
    #[error("no node that answers has ever been in a cluster; `lockstep run` starts a new one")]
    NoCluster,
    #[error("the nodes belong to different clusters: {0}; say with --node whose data counts")]
    Clusters(String),
    #[error("split brain: {0}; say with --node whose data counts")]
    Fork(String),
    #[error("every node that was active answers; `lockstep run` serves with all of them")]
    NothingMissing,
}

/// `fresh` has the nodes as configured, `known` is what this machine's state file says, `keep` the node whose data counts.
pub fn take_over(
    fresh: Membership,
    known: Option<&Record>,
    seen: &[Sighting],
    keep: Option<&str>,
    now: u64,
) -> Result<Takeover, NoTakeover> {
    let lineages = lineages(&fresh, seen)?;
    let (chosen, lineage) = match keep {
        Some(name) => kept(&fresh, &lineages, seen, name)?,
        None => newest(&fresh, &lineages)?,
    };
    let unseen = unseen(&fresh, seen, lineage);
    let losses = losses(&fresh, known, &lineages, chosen, lineage);
    let level = |(node, other): &(NodeId, &Lineage)| *node != chosen && *other == lineage;
    let companions: Vec<NodeId> = lineages.iter().filter(|found| level(found)).map(|(node, _)| *node).collect();
    let whole =
        lineage.active.iter().all(|name| fresh.find(name).is_some_and(|n| n == chosen || companions.contains(&n)));
    if whole && losses.is_empty() && known.is_none_or(|known| known.membership.epoch <= lineage.epoch) {
        return Err(NoTakeover::NothingMissing);
    }
    let (lineage, epoch) = (lineage.clone(), next_epoch(&lineages, known));
    let written = seen.iter().map(|sighting| written(sighting, &lineage)).collect();
    let mut membership = fresh;
    for node in membership.ids().collect::<Vec<_>>() {
        let (state, why) = match node {
            node if node == chosen => (MemberState::Active, "has taken over"),
            node if companions.contains(&node) => (MemberState::Active, "was active with the node that took over"),
            _ => (MemberState::Degraded, "was left out by a takeover"),
        };
        set(&mut membership, node, state, why.to_owned(), now);
    }
    membership.epoch = epoch;
    membership.leading = None;
    let record = Record { cluster: lineage.cluster.clone(), clean: false, membership, written };
    Ok(Takeover { record, chosen, lineage, unseen, losses })
}

fn lineages<'a>(fresh: &Membership, seen: &'a [Sighting]) -> Result<Vec<(NodeId, &'a Lineage)>, NoTakeover> {
    let mut found = Vec::new();
    let mut silent = Vec::new();
    for node in fresh.ids() {
        match &seen[usize::from(node.0)] {
            Sighting::Seen(Some(lineage)) => found.push((node, lineage)),
            Sighting::Seen(None) => {}
            Sighting::Silent(why) => silent.push(format!("{}: {why}", fresh.member(node).name)),
        }
    }
    match found.is_empty() {
        true if silent.len() == seen.len() => Err(NoTakeover::NobodyAnswers(silent.join("; "))),
        true => Err(NoTakeover::NoCluster),
        false => Ok(found),
    }
}

/// The node that the operator has named.
fn kept<'a>(
    fresh: &Membership,
    lineages: &[(NodeId, &'a Lineage)],
    seen: &[Sighting],
    name: &str,
) -> Result<(NodeId, &'a Lineage), NoTakeover> {
    let node = fresh.find(name).ok_or_else(|| NoTakeover::UnknownNode(name.to_owned()))?;
    lineages.iter().copied().find(|(of, _)| *of == node).ok_or_else(|| {
        let why = match &seen[usize::from(node.0)] {
            Sighting::Silent(why) => why.clone(),
            Sighting::Seen(_) => "it has never been in a cluster".to_owned(),
        };
        NoTakeover::Unfit { name: name.to_owned(), why }
    })
}

/// The heaviest of those in the newest epoch, where these agree; of those that it names as active, if any is there.
fn newest<'a>(fresh: &Membership, lineages: &[(NodeId, &'a Lineage)]) -> Result<(NodeId, &'a Lineage), NoTakeover> {
    let epoch = lineages.iter().map(|(_, lineage)| lineage.epoch).max().unwrap_or(Epoch(0));
    let shown = |(node, lineage): &(NodeId, &Lineage)| {
        let active = lineage.active.join(", ");
        format!(
            "{} is of cluster {}, epoch {} with [{active}]",
            fresh.member(*node).name,
            lineage.cluster.0,
            lineage.epoch
        )
    };
    let all = || lineages.iter().map(shown).collect::<Vec<_>>().join("; ");
    if lineages.windows(2).any(|pair| pair[0].1.cluster != pair[1].1.cluster) {
        return Err(NoTakeover::Clusters(all()));
    }
    let mut latest = lineages.iter().copied().filter(|(_, lineage)| lineage.epoch == epoch).collect::<Vec<_>>();
    let forked = |(_, lineage): &(NodeId, &Lineage)| latest.iter().any(|(_, other)| other.is_forked_from(lineage));
    if lineages.iter().any(forked) {
        return Err(NoTakeover::Fork(all()));
    }
    latest
        .sort_by_key(|(node, lineage)| (!lineage.active.contains(&fresh.member(*node).name), preference(fresh, *node)));
    latest.first().copied().ok_or(NoTakeover::NoCluster)
}

fn unseen(fresh: &Membership, seen: &[Sighting], lineage: &Lineage) -> Vec<Unseen> {
    let missing = |name: &String| {
        let why = match fresh.find(name).map(|node| &seen[usize::from(node.0)]) {
            None => "it is not in the configuration".to_owned(),
            Some(Sighting::Silent(why)) => why.clone(),
            Some(Sighting::Seen(_)) => return None,
        };
        Some(Unseen { name: name.clone(), why })
    };
    lineage.active.iter().filter_map(missing).collect()
}

/// What is known to have been acknowledged without the chosen node.
fn losses(
    fresh: &Membership,
    known: Option<&Record>,
    lineages: &[(NodeId, &Lineage)],
    chosen: NodeId,
    lineage: &Lineage,
) -> Vec<String> {
    let name = &fresh.member(chosen).name;
    let mut losses = Vec::new();
    if !lineage.active.contains(name) {
        let active = lineage.active.join(", ");
        losses.push(format!(
            "{name} was not active in epoch {}: what [{active}] did without it is not on it",
            lineage.epoch
        ));
    }
    for (node, other) in lineages.iter().filter(|(node, _)| *node != chosen) {
        let whose = &fresh.member(*node).name;
        if other.cluster != lineage.cluster {
            losses.push(format!("{whose} belongs to another cluster ({}), whose data is given up", other.cluster.0));
        } else if other.is_forked_from(lineage) {
            losses.push(format!(
                "split brain: {whose} went on without {name} in epoch {}, {name} without {whose} in {}",
                other.epoch, lineage.epoch
            ));
        } else if other.epoch > lineage.epoch {
            losses.push(format!(
                "{whose} went on without {name} in epoch {}, {name} stayed in {}",
                other.epoch, lineage.epoch
            ));
        }
    }
    let Some(known) = known.filter(|known| known.cluster == lineage.cluster) else { return losses };
    let member = known.membership.member(chosen);
    if known.written[usize::from(chosen.0)] > lineage.epoch {
        let written = known.written[usize::from(chosen.0)];
        losses.push(format!(
            "{name} has been in epoch {written} before and is of {} now: an older state was restored",
            lineage.epoch
        ));
    } else if known.membership.epoch > lineage.epoch && !member.state.is_current() {
        let (state, reason) = (member.state.name(), &member.reason);
        losses
            .push(format!("the state file here has {name} as {state} ({reason}) in epoch {}", known.membership.epoch));
    }
    losses
}

/// Past every epoch that anybody is known to have been in: whoever comes back sees that it has been left behind.
fn next_epoch(lineages: &[(NodeId, &Lineage)], known: Option<&Record>) -> Epoch {
    let lived = lineages.iter().map(|(_, lineage)| lineage.epoch.0);
    let newest = lived.chain(known.map(|known| known.membership.epoch.0)).max().unwrap_or(0);
    Epoch(newest + 1)
}

fn written(sighting: &Sighting, lineage: &Lineage) -> Epoch {
    match sighting {
        Sighting::Seen(Some(found)) if found.cluster == lineage.cluster => found.epoch,
        _ => Epoch(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::opening::{self, Opening};
    use crate::cluster::{ClusterId, Member};

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn fresh() -> Membership {
        let member = |(n, name): (usize, &str)| Member {
            name: name.into(),
            address: String::new(),
            weight: 2 - n as u32,
            state: MemberState::New,
            reason: String::new(),
            since: 1,
        };
        let members = ["a", "b"].into_iter().enumerate().map(member).collect();
        Membership { epoch: Epoch(0), members, leading: None }
    }

    fn of(cluster: &str, epoch: u64, active: &[&str]) -> Sighting {
        let active = active.iter().map(|name| (*name).to_owned()).collect();
        let (cluster, parent) = (ClusterId(cluster.into()), Epoch(epoch - 1));
        Sighting::Seen(Some(Lineage { cluster, epoch: Epoch(epoch), parent, active }))
    }

    fn silent() -> Sighting {
        Sighting::Silent("no route".into())
    }

    fn taken(seen: [Sighting; 2], keep: Option<&str>) -> Takeover {
        take_over(fresh(), None, &seen, keep, 9).unwrap()
    }

    #[test]
    fn the_node_that_is_left_goes_on_alone_in_a_later_epoch_and_an_ordinary_start_serves_with_it() {
        let seen = [silent(), of("c", 5, &["a", "b"])];
        let takeover = taken(seen.clone(), None);
        assert_eq!((takeover.chosen, takeover.losses.as_slice()), (B, &[][..]));
        assert_eq!(takeover.unseen, [Unseen { name: "a".into(), why: "no route".into() }]);
        assert_eq!(takeover.record.membership.epoch, Epoch(6));
        let Opening::Serve { record, compare, .. } = opening::reopen(takeover.record, &seen, 10) else {
            panic!("it serves")
        };
        assert_eq!((record.membership.leading, record.membership.epoch), (Some(B), Epoch(7)));
        assert!(compare.is_empty());
        let back = [of("c", 6, &["a"]), of("c", 7, &["b"])];
        let Opening::Serve { record, compare, .. } = opening::reopen(record, &back, 11) else { panic!("it serves") };
        assert_eq!(record.membership.member(A).state, MemberState::Degraded, "it does not come back by itself");
        assert!(compare.is_empty());
    }

    #[test]
    fn the_proxy_of_the_lost_machine_does_not_serve_beside_it() {
        let takeover = taken([silent(), of("c", 5, &["a", "b"])], None);
        let mut theirs = Record { written: vec![Epoch(5); 2], ..takeover.record };
        theirs.membership.epoch = Epoch(5);
        theirs.membership.members.iter_mut().for_each(|member| member.state = MemberState::Active);
        let found = [of("c", 5, &["a", "b"]), of("c", 7, &["b"])];
        assert!(matches!(opening::reopen(theirs, &found, 12), Opening::Refuse { .. }));
    }

    #[test]
    fn there_is_nothing_to_take_over_where_all_are_there() {
        let all = [of("c", 5, &["a", "b"]), of("c", 5, &["a", "b"])];
        assert_eq!(take_over(fresh(), None, &all, None, 9), Err(NoTakeover::NothingMissing));
        let alone = [silent(), of("c", 5, &["b"])];
        assert_eq!(take_over(fresh(), None, &alone, None, 9), Err(NoTakeover::NothingMissing));
    }

    #[test]
    fn what_others_did_without_it_is_named_as_lost() {
        let left_out = taken([silent(), of("c", 5, &["a"])], None);
        assert!(left_out.losses[0].contains("[a] did without it"), "{:?}", left_out.losses);
        let older = taken([of("c", 6, &["a"]), of("c", 5, &["a", "b"])], Some("b"));
        assert!(older.losses[0].contains("a went on without b in epoch 6"), "{:?}", older.losses);
        let mut known = taken([silent(), of("c", 5, &["a", "b"])], None).record;
        set(&mut known.membership, B, MemberState::Degraded, "diverged".into(), 9);
        let seen = [silent(), of("c", 5, &["a", "b"])];
        let told = take_over(fresh(), Some(&known), &seen, None, 9).unwrap();
        assert!(told.losses[0].contains("degraded (diverged)"), "{:?}", told.losses);
        known.written[1] = Epoch(6);
        let restored = take_over(fresh(), Some(&known), &seen, None, 9).unwrap();
        assert!(restored.losses[0].contains("an older state was restored"), "{:?}", restored.losses);
    }

    #[test]
    fn a_fork_and_two_clusters_are_for_the_operator_to_decide() {
        let fork = [of("c", 6, &["a"]), of("c", 6, &["b"])];
        let refused = take_over(fresh(), None, &fork, None, 9).unwrap_err();
        assert!(matches!(&refused, NoTakeover::Fork(shown) if shown.contains("epoch 6 with [a]")), "{refused}");
        let takeover = taken(fork, Some("b"));
        assert!(takeover.losses[0].contains("split brain: a went on"), "{:?}", takeover.losses);
        let members = &takeover.record.membership;
        assert_eq!(members.member(A).state, MemberState::Degraded);
        let two = [of("x", 6, &["a"]), of("c", 6, &["b"])];
        assert!(matches!(take_over(fresh(), None, &two, None, 9), Err(NoTakeover::Clusters(_))));
        assert!(taken(two, Some("b")).losses[0].contains("another cluster (x)"));
    }

    #[test]
    fn nobody_takes_over_with_a_node_that_is_not_there_or_never_was_a_member() {
        let seen = [silent(), Sighting::Seen(None)];
        assert_eq!(take_over(fresh(), None, &seen, None, 9), Err(NoTakeover::NoCluster));
        let seen = [of("c", 5, &["a", "b"]), Sighting::Seen(None)];
        let refused = take_over(fresh(), None, &seen, Some("b"), 9).unwrap_err();
        assert!(matches!(refused, NoTakeover::Unfit { .. }), "{refused}");
        assert!(matches!(take_over(fresh(), None, &seen, Some("q"), 9), Err(NoTakeover::UnknownNode(_))));
        assert!(matches!(take_over(fresh(), None, &[silent(), silent()], None, 9), Err(NoTakeover::NobodyAnswers(_))));
    }
}
