//! Who is a member: the cluster actor and the leveller of sequences, around the core's own decisions.

use super::faults::Fault;
use super::start::Killed;
use super::world::World;
use crate::cluster::sequence::{self, Counting, Positions};
use crate::cluster::{ClusterId, Event, Lineage, Member, MemberState, Membership, Record};
use crate::id::{Epoch, NodeId};

#[derive(Debug)]
pub(super) struct Cluster {
    /// What everybody sees.
    pub membership: Membership,
    record: Record,
    /// The state file.
    pub disk: Record,
    /// A change that is being written down; the next waits for it.
    pub changing: Option<Membership>,
    /// Counts how often somebody said that sequences have moved; 0: they are level.
    pub moved: u64,
    level: Level,
}

/// Where a round of levelling stands.
#[derive(Debug, Clone)]
enum Level {
    Rests,
    /// The leader has been read.
    Before {
        mark: u64,
        epoch: Epoch,
        before: Positions,
    },
    There {
        mark: u64,
        epoch: Epoch,
        before: Positions,
        there: Vec<(NodeId, Positions)>,
    },
    Now {
        mark: u64,
        epoch: Epoch,
        steps: Vec<(NodeId, Positions)>,
        still: bool,
    },
}

/// Values that a takeover passes over.
const GAP: u64 = 1000;
const UP: Counting = Counting { increment: 1, min: 1, max: i64::MAX, cycle: false };

impl Cluster {
    pub(super) fn new(nodes: usize, heaviest_last: bool) -> Self {
        let member = |n: usize| Member {
            name: char::from(b'A' + n as u8).to_string(),
            address: String::new(),
            weight: if heaviest_last { n + 1 } else { nodes - n } as u32,
            state: MemberState::Active,
            reason: String::new(),
            since: 0,
        };
        let members = (0..nodes).map(member).collect();
        let membership = Membership { epoch: Epoch(1), members, leading: Some(NodeId(0)) };
        let cluster = ClusterId("c".into());
        let record = Record { cluster, clean: false, membership, written: vec![Epoch(1); nodes] };
        let (membership, disk) = (record.membership.clone(), record.clone());
        Self { membership, record, disk, changing: None, moved: 0, level: Level::Rests }
    }

    /// What a proxy knows that has just been started.
    pub(super) fn forget(&mut self) {
        self.membership = self.disk.membership.unknown(0);
        (self.changing, self.moved, self.level) = (None, 0, Level::Rests);
    }

    pub(super) fn is_active(&self, node: NodeId) -> bool {
        self.membership.member(node).state == MemberState::Active
    }

    pub(super) fn can_level(&self) -> bool {
        self.moved > 0 && self.changing.is_none() && self.membership.leader().is_some()
            || !matches!(self.level, Level::Rests)
    }
}

impl World {
    /// The journal of a proxy that has begun to serve.
    pub(super) fn begin_journal(&mut self) {
        let Record { cluster, membership, .. } = &self.cluster.record;
        self.paper.begin(&cluster.0);
        for (member, node) in membership.members.iter().zip(&self.nodes) {
            self.paper.note(&member.name, membership.epoch, node.start);
        }
    }

    /// Begins a change; it is in force when it has been written down.
    pub(super) fn change(&mut self, event: Event) {
        match self.cluster.membership.after(event.clone(), 0) {
            Ok(next) => {
                if let Event::Lost { node, .. } | Event::Diverged { node, .. } = &event {
                    self.heirs.fell(*node, true);
                }
                self.note(|| format!("cluster: {event:?}"));
                self.cluster.changing = Some(next);
            }
            Err(refusal) => self.note(|| format!("cluster: {event:?} refused: {refusal}")),
        }
    }

    /// A node that does not answer is out, if another one is there to go on.
    pub(super) fn lost(&mut self, node: NodeId) {
        let why = "it does not answer".to_owned();
        let witness =
            self.cluster.membership.active().any(|other| other != node && self.nodes[usize::from(other.0)].up);
        self.change(if witness { Event::Lost { node, why } } else { Event::AllLost { why } });
    }

    /// What is being written down comes into force, unless the proxy is killed in the midst of it.
    pub(super) fn enact(&mut self) {
        let Some(next) = self.cluster.changing.take() else { return };
        let record = self.cluster.record.with(next);
        let _ = self.install(record);
    }

    /// On disk; sequences of a new leader; lineage on the active nodes; then everybody sees it.
    pub(super) fn install(&mut self, mut record: Record) -> Result<(), Killed> {
        self.outlived()?;
        self.cluster.disk = record.clone();
        let (before, after) = (self.cluster.membership.clone(), record.membership.clone());
        let lost = |node: &NodeId| {
            let is = |membership: &Membership| membership.member(*node).state == MemberState::Unreachable;
            is(&after) && !is(&before)
        };
        if after.ids().any(|node| lost(&node)) {
            self.paper.suspend(before.epoch, after.epoch);
        }
        self.outlived()?;
        let moved_on = self.cluster.moved > 0 && self.fault != Some(Fault::SequencesNotMovedOn);
        if let (Some(old), Some(new), true) = (before.leader(), after.leader(), moved_on)
            && old != new
        {
            self.jump_sequences(new);
        }
        if before.epoch != after.epoch {
            self.write_lineage(before.epoch, &mut record)?;
        }
        let leader = after.leader();
        (self.cluster.membership, self.cluster.record) = (after, record);
        self.note(|| format!("cluster: in force, {leader:?} leads"));
        Ok(())
    }

    fn write_lineage(&mut self, parent: Epoch, record: &mut Record) -> Result<(), Killed> {
        let (epoch, nodes) = (record.membership.epoch, record.membership.active().collect::<Vec<_>>());
        let active: Vec<String> = nodes.iter().map(|node| record.membership.member(*node).name.clone()).collect();
        for number in nodes.into_iter().map(|node| usize::from(node.0)) {
            self.outlived()?;
            let node = &mut self.nodes[number];
            if !node.up {
                continue;
            }
            node.lineage = Lineage { cluster: record.cluster.clone(), epoch, parent, active: active.clone() };
            record.written[number] = epoch;
            self.paper.note(&record.membership.members[number].name, epoch, node.start);
        }
        Ok(())
    }

    pub(super) fn outlived(&mut self) -> Result<(), Killed> {
        if self.dies() { Err(Killed) } else { Ok(()) }
    }

    pub(super) fn jump_sequences(&mut self, leader: NodeId) {
        let store = &mut self.nodes[usize::from(leader.0)].store;
        let jumped = store.positions().into_iter().map(|(n, p)| (n, sequence::jump(p, UP, GAP))).collect();
        store.set_positions(&jumped);
    }

    pub(super) fn sequences_moved(&mut self) {
        if self.fault != Some(Fault::SequencesForgotten) {
            self.cluster.moved += 1;
        }
    }

    fn positions(&self, node: NodeId) -> Positions {
        self.nodes[usize::from(node.0)].store.positions()
    }

    /// One reading or setting of a round.
    pub(super) fn step_level(&mut self) {
        let (epoch, leader) = (self.cluster.membership.epoch, self.cluster.membership.leader());
        let Some(leader) = leader.filter(|leader| self.nodes[usize::from(leader.0)].up) else {
            self.cluster.level = Level::Rests;
            return;
        };
        let stale = |then: Epoch| then != epoch;
        self.cluster.level = match std::mem::replace(&mut self.cluster.level, Level::Rests) {
            Level::Rests => Level::Before { mark: self.cluster.moved, epoch, before: self.positions(leader) },
            Level::Before { epoch, .. } | Level::There { epoch, .. } if stale(epoch) => Level::Rests,
            Level::Before { mark, epoch, before } => {
                let there = self.cluster.membership.followers().map(|node| (node, self.positions(node))).collect();
                Level::There { mark, epoch, before, there }
            }
            Level::There { mark, epoch, before, there } => {
                let now = self.positions(leader);
                let counting = now.keys().map(|name| (name.clone(), UP)).collect();
                let steps = |positions| sequence::steps(&before, &now, positions, &counting);
                let steps = there.iter().map(|(node, positions)| (*node, steps(positions))).collect();
                Level::Now { mark, epoch, steps, still: before == now }
            }
            Level::Now { mark, epoch, steps, still } => {
                for (node, positions) in steps {
                    if stale(epoch) {
                        break;
                    }
                    let node = &mut self.nodes[usize::from(node.0)];
                    if node.up {
                        node.store.set_positions(&positions);
                    }
                }
                if still && !stale(epoch) && self.cluster.moved == mark {
                    self.cluster.moved = 0;
                }
                Level::Rests
            }
        };
    }
}
