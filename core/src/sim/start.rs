//! The next proxy: what it finds, what it settles, and who comes back to it. As `runtime/src/cluster/open.rs` does it.

use super::faults::Fault;
use super::kill::{Proxy, Spoiled};
use super::node::Node;
use super::rows::Keys;
use super::seat::Lock;
use super::world::World;
use crate::cluster::opening::{self, Ghosts, Opening, Sighting};
use crate::cluster::{Event, Membership, Record};
use crate::id::NodeId;
use crate::journal::{self, Contents, Doubt, Present, Settlement};
use crate::session::LockMode;

/// Nodes that come in when they are shown to be equal while nobody commits.
pub(super) struct Admission {
    pub nodes: Vec<NodeId>,
    pub lock: Lock,
}

/// It was killed again in the middle of it.
pub(super) struct Killed;

impl World {
    pub(super) fn start(&mut self) {
        if self.kills > 0 && self.fates.one_in(3) {
            self.lives = Some(self.fates.below(6));
        }
        let started = self.open();
        self.lives = None;
        if started.is_err() {
            self.note(|| "!!! the proxy is killed while it starts".into());
            self.kills -= 1;
            self.spoiled.change = true;
            self.cluster.forget();
        }
    }

    fn open(&mut self) -> Result<(), Killed> {
        let known = self.cluster.disk.clone();
        let see = |node: &Node| match node.up {
            true => Sighting::Seen(Some(node.lineage.clone())),
            false => Sighting::Silent("connection refused".into()),
        };
        let seen: Vec<Sighting> = self.nodes.iter().map(see).collect();
        let (mut record, mut compare, ghosts, jump) = match opening::reopen(known.clone(), &seen, 0) {
            Opening::Serve { record, compare, ghosts, jump } => (record, compare, ghosts, jump),
            Opening::Refuse { why } => {
                self.fail(format!("nobody may serve: {why}"));
                return Ok(());
            }
            Opening::Wait { record, why } => {
                self.note(|| format!("nobody serves: {why}"));
                record.map_or(Ok(()), |record| self.install(record))?;
                self.somebody_comes_back(&known.membership);
                return Ok(());
            }
        };
        if ghosts != Ghosts::None && self.fault != Some(Fault::GhostsLeft) {
            self.lay_ghosts();
        }
        let next = record.membership.clone();
        let former = ghosts == Ghosts::Here && !compare.is_empty();
        let settled = former && self.settled(&known, &next, &compare, jump)?;
        if !settled && jump {
            self.jump(&next);
        }
        if self.fault == Some(Fault::LetInUnseen) {
            self.level(&next, &compare);
        }
        if settled || self.fault == Some(Fault::LetInUnseen) {
            opening::let_in(&mut record, &std::mem::take(&mut compare), 0);
        }
        self.outlived()?;
        self.paper.begin(&record.cluster.0);
        self.install(record)?;
        self.check_start();
        if !compare.is_empty() {
            self.admission = Some(Admission { nodes: compare, lock: Lock::wait(&self.lock, LockMode::Exclusive) });
        }
        (self.proxy, self.spoiled) = (Proxy::Serves, Spoiled::default());
        Ok(())
    }

    /// Whoever was current, sooner or later.
    fn somebody_comes_back(&mut self, known: &Membership) {
        let lost: Vec<usize> =
            known.current().map(|node| usize::from(node.0)).filter(|node| !self.nodes[*node].up).collect();
        if lost.is_empty() {
            return self.fail("nobody serves, and all are there".into());
        }
        let node = lost[self.fates.below(lost.len())];
        self.power_on(node);
    }

    /// Everything of the former proxy is ended, and seen to be gone.
    fn lay_ghosts(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.up) {
            for backend in &mut node.backends {
                if !backend.ended {
                    backend.end(&mut node.store);
                }
            }
        }
    }

    fn jump(&mut self, next: &Membership) {
        if self.fault != Some(Fault::SequencesNotMovedOn)
            && let Some(leader) = next.leader()
        {
            self.jump_sequences(leader);
        }
    }

    fn level(&mut self, next: &Membership, nodes: &[NodeId]) {
        let Some(leader) = next.leader() else { return };
        let level = self.nodes[usize::from(leader.0)].store.positions();
        nodes.iter().for_each(|node| self.nodes[usize::from(node.0)].store.set_positions(&level));
    }

    /// False: the nodes have to be compared.
    fn settled(&mut self, known: &Record, next: &Membership, nodes: &[NodeId], jump: bool) -> Result<bool, Killed> {
        let Some(leader) = next.leader() else { return Ok(false) };
        let settlement = match self.settlement(known, leader, nodes) {
            Ok(settlement) => settlement,
            Err(why) => {
                self.note(|| format!("the journal settles nothing: {why}"));
                return Ok(false);
            }
        };
        if let Err(why) = self.make_equal(&settlement)? {
            self.note(|| format!("the journal settles nothing: {why}"));
            return Ok(false);
        }
        if jump {
            self.jump(next);
        }
        if self.fault != Some(Fault::NotLevelledAtStart) {
            self.level(next, nodes);
        }
        self.note(|| format!("the journal has settled {} units", settlement.units));
        Ok(true)
    }

    fn settlement(&mut self, known: &Record, leader: NodeId, nodes: &[NodeId]) -> Result<Settlement, String> {
        let read = if self.fault == Some(Fault::DamageIsTheEnd) {
            self.paper.read_up_to_the_damage()
        } else {
            self.paper.read()
        };
        let contents = match read {
            Some(Ok(contents)) => contents,
            Some(Err(damage)) => {
                if !(self.spoiled.file || self.spoiled.machine) {
                    self.fail(format!("nothing has happened to the journal, and {damage}"));
                }
                return Err(damage.to_string());
            }
            None => return Err("there is no journal".into()),
        };
        let Spoiled { file, machine, node, change } = self.spoiled;
        self.judged(contents, known, leader, nodes).map_err(|doubt| {
            let expected = match doubt {
                Doubt::Boot => machine,
                Doubt::Restarted { .. } => node,
                Doubt::Epoch { .. } => file || machine || node || change,
                Doubt::Cluster | Doubt::Unknown { .. } => false,
            };
            if !expected {
                self.fail(format!("a journal is doubted without a reason: {doubt}"));
            }
            doubt.to_string()
        })
    }

    fn judged(
        &self,
        mut contents: Contents,
        known: &Record,
        leader: NodeId,
        nodes: &[NodeId],
    ) -> Result<Settlement, Doubt> {
        let mut origin = self.paper.origin(&known.cluster.0);
        match self.fault {
            Some(Fault::BootUnseen) => origin.boot.clone_from(&contents.origin.boot),
            Some(Fault::DoubtDropped) => contents.open.clear(),
            _ => {}
        }
        let present = |node: &NodeId| {
            let node = &self.nodes[usize::from(node.0)];
            Present { name: node.name.into(), start: Some(node.start.to_string()) }
        };
        let all: Vec<Present> = std::iter::once(&leader).chain(nodes).map(present).collect();
        journal::settle(contents, &origin, &known.membership, (leader, nodes), &all)
    }

    fn make_equal(&mut self, settlement: &Settlement) -> Result<Result<(), String>, Killed> {
        let touches: Vec<_> = settlement.touches.values().flatten().collect();
        let Some(keys) = touches.iter().map(|touch| Keys::of(touch)).collect::<Option<Vec<_>>>() else {
            let why = format!("what units have touched is not of the model: {touches:?}");
            self.fail(why.clone());
            return Ok(Err(why));
        };
        let keys: Vec<Keys> = keys.into_iter().flatten().collect();
        if let Some(hindrance) = keys.iter().find_map(Keys::hindrance) {
            return Ok(Err(format!("{hindrance:?}")));
        }
        let right = self.nodes[usize::from(settlement.right.0)].find(&keys);
        let adds = self.fault == Some(Fault::RowsOnlyAdded);
        for other in &settlement.others {
            self.outlived()?;
            if let Err(why) = self.nodes[usize::from(other.0)].bring_to(&right, &keys, adds) {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn can_admit(&self) -> bool {
        let waits = |admission: &Admission| {
            admission.lock.is_called() || admission.lock.is_held() && self.cluster.changing.is_none()
        };
        self.admission.as_ref().is_some_and(waits)
    }

    /// The next of the nodes that are to be compared with the leader.
    pub(super) fn admit(&mut self) {
        let Some(mut admission) = self.admission.take() else { return };
        if !admission.lock.is_held() {
            admission.lock.enter();
            self.admission = Some(admission);
            return;
        }
        let (Some(node), Some(leader)) = (admission.nodes.pop(), self.cluster.membership.leader()) else { return };
        let [here, there] = [leader, node].map(|node| &self.nodes[usize::from(node.0)]);
        let event = if !(here.up && there.up) {
            Event::Stayed { node, why: "it could not be compared".into() }
        } else if here.has_the_rows_of(there) {
            let level = here.store.positions();
            self.nodes[usize::from(node.0)].store.set_positions(&level);
            Event::Joined { node, how: "compared in full".into() }
        } else {
            Event::Stayed { node, why: "it differs".into() }
        };
        self.change(event);
        self.admission = Some(admission);
    }

    pub(super) fn can_come_back(&self, seat: usize) -> bool {
        let Some(leader) = self.cluster.membership.leader() else { return false };
        let there = self.nodes[usize::from(leader.0)].up && self.cluster.changing.is_none();
        self.seats[seat].returns && there && self.is_settled() && self.is_gathered(leader)
    }

    pub(super) fn come_back(&mut self, seat: usize) {
        let Some(leader) = self.cluster.membership.leader() else { return };
        let link = self.connect(leader);
        let session = self.session(seat, leader);
        let of = &mut self.seats[seat];
        (of.session, of.leader, of.leaders) = (session, Some(link), vec![link]);
        (of.closed, of.returns, of.client_open) = (false, false, true);
        of.seen = self.cluster.membership.clone();
        self.note(|| format!("s{seat}: the client is back, at {leader}"));
        self.turn(seat);
    }
}
