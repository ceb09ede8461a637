//! The shell of a session, as the runtime's driver is one: carries out what the core wants, and brings it what has happened.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::BytesMut;

use super::captured::KEY;
use super::client::{Client, Outcome};
use super::exchange::Follower;
use super::faults::Fault;
use super::node::Link;
use super::rng::Rng;
use super::schema;
use super::seat::{Asked, Lock, Seat};
use super::world::World;
use crate::catalog::{Catalog, Cell};
use crate::cluster::{Event, Verdict};
use crate::effect::capture::Triggers;
use crate::fault::{Fault as Error, SqlState};
use crate::id::{NodeId, SessionId};
use crate::plan::Policy;
use crate::session::{Action, Answers, Birth, CommitNumber, LockMode, Session, World as Sight};
use crate::unit::commit::ReserveFault;

/// Bytes of plans that are kept.
pub(super) const PLANS: usize = 1 << 20;

/// What sessions know of the tables.
pub(super) fn catalogs() -> Arc<Cell<Catalog>> {
    let catalogs = Arc::new(Cell::new(0));
    catalogs.publish(catalogs.epoch(), schema::catalog());
    catalogs
}

impl World {
    /// All clients are logged in at the first leader.
    pub(super) fn sit_down(&mut self, seats: usize) {
        for number in 0..seats {
            let link = self.connect(NodeId(0));
            let rng = self.rng.fork();
            let keys = self.keys.as_mut().map(Rng::fork);
            let client = Client::new(number, rng, keys, self.fault);
            let session = self.session(number, NodeId(0));
            let mut seat = Seat::new(client, session, self.cluster.membership.clone());
            (seat.leader, seat.leaders) = (Some(link), vec![link]);
            self.seats.push(seat);
            self.turn(number);
        }
    }

    pub(super) fn session(&self, number: usize, leader: NodeId) -> Session {
        Session::new(Birth {
            id: SessionId(number as u64 + 1),
            leader,
            catalogs: self.catalogs.clone(),
            parameters: Vec::new(),
            policy: Policy::default(),
            heirs: self.heirs.clone(),
        })
    }

    pub(super) fn connect(&mut self, node: NodeId) -> Link {
        let number = usize::from(node.0);
        Link { node: number, backend: self.nodes[number].connect() }
    }

    /// Turns the core until it wants nothing more, and writes.
    pub(super) fn turn(&mut self, seat: usize) {
        if self.seats[seat].closed {
            return;
        }
        loop {
            let rng = &mut self.rng;
            let mut random = |bytes: &mut [u8]| bytes.fill_with(|| rng.next() as u8);
            let (plans, membership) = (&mut self.plans, &self.cluster.membership);
            let mut sight = Sight { plans, membership, held: false, random: &mut random };
            self.seats[seat].session.turn(&mut sight);
            let Some(action) = self.seats[seat].session.poll_action() else { break };
            self.act(seat, action);
            while let Some(action) = self.seats[seat].session.poll_action() {
                self.act(seat, action);
            }
        }
        self.flush(seat);
    }

    fn flush(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        let out = of.session.client_out.split();
        if of.client_open {
            of.client.inbox.extend_from_slice(&out);
        }
        if let Some(link) = of.leader
            && let Some(out) = of.session.to_leader()
        {
            let backend = &mut self.nodes[link.node].backends[link.backend];
            backend.inbox.extend_from_slice(&out.split());
        }
    }

    fn act(&mut self, seat: usize, action: Action) {
        let of = &mut self.seats[seat];
        match action {
            Action::Spill(bytes) => of.spill.extend_from_slice(&bytes),
            Action::CutSpill(length) => of.spill.truncate(usize::try_from(length).unwrap_or(0)),
            Action::PlayAhead { .. } => self.fail(format!("s{seat}: nobody changes the schema here")),
            Action::Lock { of, mode } => self.take_lock(seat, of, mode),
            Action::Unlock => {
                (of.lock, of.flight, of.looks) = (Lock::None, None, None);
                of.unit.take().into_iter().for_each(|unit| self.paper.close(unit));
                of.asked.retain(|asked| !matches!(asked, Asked::EnterAfterLook(_)));
            }
            Action::Reserve { of, node, fresh, .. } => self.reserve(seat, of, node, fresh),
            Action::Look(of) => self.enter_flight(seat, of),
            Action::SendBatch { of, node, batch } => {
                self.note(|| format!("s{seat}: batch to {node}"));
                self.send_batch(seat, of, node, batch);
            }
            Action::Release => {
                let reserved = std::mem::take(&mut of.reserved);
                self.pool.extend(reserved.into_values());
            }
            Action::Suspect { of, node, why } => {
                self.seats[seat].asked.push(Asked::Verdict(of, node));
                self.note(|| format!("s{seat}: suspects {node}: {why}"));
            }
            Action::Ask { of, node, witness } => self.seats[seat].asked.push(Asked::Fate(of, node, witness)),
            Action::Degrade { of, node, why } => self.degrade(seat, of, node, why),
            Action::Dial => {
                self.drop_leader(seat);
                self.seats[seat].asked.push(Asked::Dial);
            }
            Action::Gather(node) => self.seats[seat].asked.push(Asked::Gathered(node)),
            Action::Orphaned { leader, touched } => {
                if self.fault != Some(Fault::OrphansForgotten) {
                    self.heirs.orphaned(leader, touched);
                }
            }
            Action::SequencesMoved => self.sequences_moved(),
            Action::Level(_) => self.fail(format!("s{seat}: nobody calls setval here")),
            Action::Waived => {}
            Action::Vacate(_) => {}
            Action::Reattach(partition) => self.fail(format!("s{seat}: {partition:?} was never to be detached")),
            Action::Capture { number, tables } if tables.is_empty() => of.asked.push(Asked::Key(number)),
            Action::Capture { tables, .. } => {
                self.fail(format!("s{seat}: {tables:?} are to be captured, and those that may be are already"))
            }
            Action::Close { draws } => self.close(seat, draws),
        }
    }

    fn take_lock(&mut self, seat: usize, of: CommitNumber, mode: LockMode) {
        self.seats[seat].lock_of = of;
        self.note(|| format!("s{seat}: wants the lock {mode:?}"));
        if self.fault == Some(Fault::LockIgnored) {
            return self.locked(seat, Lock::Held { _pass: None });
        }
        let shared = mode == LockMode::Shared || self.fault == Some(Fault::SharedForAll);
        if shared && let Some(pass) = self.lock.try_shared() {
            return self.locked(seat, Lock::Held { _pass: Some(pass) });
        }
        self.seats[seat].lock = Lock::wait(&self.lock, if shared { LockMode::Shared } else { mode });
    }

    fn locked(&mut self, seat: usize, held: Lock) {
        self.seats[seat].lock = held;
        if self.fault != Some(Fault::WrittenDownLate) {
            self.write_down(seat);
        }
        self.hear_out_if_out(seat);
        let seated = &mut self.seats[seat];
        if let Some(answers) = seated.session.answers(seated.lock_of) {
            answers.locked(&self.cluster.membership);
        }
    }

    /// The session is told something that its commit of this number has asked for.
    pub(super) fn answers(&mut self, seat: usize, of: CommitNumber, tell: impl FnOnce(Answers<'_>)) {
        if let Some(answers) = self.seats[seat].session.answers(of) {
            tell(answers);
        }
    }

    /// Before anything of its commit is sent, the unit is in the journal.
    pub(super) fn write_down(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        if let (None, Some(touched)) = (of.unit, of.session.touched()) {
            of.unit = Some(self.paper.open(touched));
        }
    }

    /// A session that waits for the lock has been called.
    pub(super) fn enter(&mut self, seat: usize) {
        let mut lock = std::mem::take(&mut self.seats[seat].lock);
        if lock.enter() {
            self.note(|| format!("s{seat}: has the lock"));
            self.locked(seat, lock);
            return self.turn(seat);
        }
        self.seats[seat].lock = lock;
    }

    pub(super) fn hear_out_if_out(&mut self, seat: usize) {
        if self.cluster.membership.leader() != Some(self.seats[seat].session.leader()) {
            self.hear_out(seat);
        }
    }

    /// Takes what a leader that is about to be left has said, if it may matter.
    pub(super) fn hear_out(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        if of.session.has_heir()
            && self.fault != Some(Fault::WordUnheard)
            && let Some(link) = of.leader
        {
            let said = self.nodes[link.node].backends[link.backend].out.split();
            of.session.leader_in.extend_from_slice(&said);
        }
    }

    fn reserve(&mut self, seat: usize, of: CommitNumber, node: NodeId, fresh: bool) {
        let idle = |follower: &Follower| follower.link.node == usize::from(node.0);
        let fresh = fresh || self.rng.one_in(4);
        while let Some(at) = self.pool.iter().rposition(idle).filter(|_| !fresh) {
            let follower = self.pool.remove(at);
            if !self.backend_of(follower.link).ended {
                self.seats[seat].reserved.insert(node, follower);
                return self.answers(seat, of, |answers| answers.reserved(node));
            }
        }
        self.seats[seat].asked.push(Asked::Reserve(of, node));
    }

    /// Something that was asked for is there.
    pub(super) fn answer(&mut self, seat: usize, number: usize) {
        let asked = self.seats[seat].asked.remove(number);
        match asked {
            Asked::Reserve(of, node) if std::mem::take(&mut self.full) => {
                self.answers(seat, of, |a| a.not_reserved(node, ReserveFault::Full("too many clients".into())));
            }
            Asked::Reserve(of, node) if self.nodes[usize::from(node.0)].up => {
                let follower = Follower { link: self.connect(node), known: HashSet::new() };
                match self.seats[seat].session.answers(of) {
                    Some(answers) => {
                        answers.reserved(node);
                        self.seats[seat].reserved.insert(node, follower);
                    }
                    None => self.pool.push(follower),
                }
            }
            Asked::Reserve(of, node) => {
                self.answers(seat, of, |a| a.not_reserved(node, ReserveFault::Broken("connection refused".into())));
            }
            Asked::Verdict(of, node) => match (self.cluster.is_active(node), self.nodes[usize::from(node.0)].up) {
                (false, _) => self.answers(seat, of, |answers| answers.verdict(node, Verdict::Out)),
                (true, true) => self.answers(seat, of, |answers| answers.verdict(node, Verdict::Alive)),
                (true, false) => {
                    self.lost(node);
                    self.seats[seat].asked.push(Asked::Verdict(of, node));
                }
            },
            Asked::Fate(of, node, witness) => self.tell_fate(seat, of, node, witness),
            Asked::Degraded(of, node, why) => self.degraded(seat, of, node, why),
            Asked::Dial => self.dial(seat),
            Asked::Gathered(node) => {
                if self.fault != Some(Fault::NoBarrier) && self.leads(node) {
                    self.heirs.give_up(node);
                }
                self.seats[seat].session.gathered(node);
            }
            Asked::Key(number) => self.seats[seat].session.captured(number, Ok((KEY.clone(), Triggers::Made))),
            Asked::EnterAfterLook(of) => self.enter_after_look(seat, of),
        }
        self.turn(seat);
    }

    fn degrade(&mut self, seat: usize, of: CommitNumber, node: NodeId, why: String) {
        if !self.disturbed {
            self.fail(format!("s{seat} has {node} degraded, and nothing has happened to it: {why}"));
        }
        self.note(|| format!("s{seat}: has {node} degraded: {why}"));
        if self.fault == Some(Fault::DegradedLate) {
            self.answers(seat, of, |answers| answers.degraded(node));
        }
        self.seats[seat].asked.push(Asked::Degraded(of, node, why));
    }

    fn degraded(&mut self, seat: usize, of: CommitNumber, node: NodeId, why: String) {
        if self.cluster.is_active(node) {
            self.change(Event::Diverged { node, why: why.clone() });
            if self.cluster.changing.is_some() {
                return self.seats[seat].asked.push(Asked::Degraded(of, node, why));
            }
        }
        if self.fault != Some(Fault::DegradedLate) {
            self.answers(seat, of, |answers| answers.degraded(node));
        }
    }

    fn dial(&mut self, seat: usize) {
        let Some(node) = self.cluster.membership.leader() else {
            // It has waited as long as one may.
            let fault = Error::fatal(SqlState::CANNOT_CONNECT_NOW, "no server can take writes");
            return self.seats[seat].session.not_dialled(&fault);
        };
        if !self.nodes[usize::from(node.0)].up {
            self.lost(node);
            return self.seats[seat].asked.push(Asked::Dial);
        }
        let link = self.connect(node);
        let of = &mut self.seats[seat];
        of.leader = Some(link);
        of.leaders.push(link);
        of.session.leader_in.clear();
        of.session.dialled(node, Vec::new());
        self.note(|| format!("s{seat}: leads on from {node}"));
    }

    fn drop_leader(&mut self, seat: usize) {
        if let Some(link) = self.seats[seat].leader.take() {
            self.abandon(link);
        }
    }

    pub(super) fn leader_lost(&mut self, seat: usize, why: &str) {
        self.busy(seat);
        if self.fault == Some(Fault::LeftLost) {
            self.seats[seat].flight = None;
        }
        self.hear_out(seat);
        self.drop_leader(seat);
        self.note(|| format!("s{seat}: has lost its leader: {why}"));
        self.seats[seat].session.leader_lost(why.into());
        self.turn(seat);
    }

    pub(super) fn leader_reads(&mut self, seat: usize) {
        let Some(link) = self.seats[seat].leader else { return };
        self.busy(seat);
        let (few, backend) = (self.rng.one_in(4), &mut self.nodes[link.node].backends[link.backend]);
        if backend.out.is_empty() {
            return self.leader_lost(seat, "it closed the connection");
        }
        let length = if few { 1 + self.rng.below(backend.out.len()) } else { backend.out.len() };
        let piece = backend.out.split_to(length.min(backend.out.len()));
        self.seats[seat].session.leader_in.extend_from_slice(&piece);
        self.turn(seat);
        self.trust(seat);
    }

    /// A follower connection breaks in the middle of a batch.
    pub(super) fn break_exchange(&mut self, seat: usize, number: usize) {
        let exchange = self.seats[seat].exchanges.remove(number);
        let node = NodeId(exchange.follower.link.node as u16);
        self.broken_exchange(seat, node, exchange);
    }

    /// The session is over; what it still waits for is dropped.
    fn close(&mut self, seat: usize, draws: bool) {
        self.flush(seat);
        let left = self.seats[seat].session.abandoned();
        if !left.is_empty() {
            self.fail(format!("s{seat} ends in the middle of a commit to {left:?}"));
        }
        let of = &mut self.seats[seat];
        (of.closed, of.lock, of.flight, of.looks) = (true, Lock::None, None, None);
        let last = std::mem::take(&mut of.session.leader_out);
        let links: Vec<Link> = of.exchanges.drain(..).map(|exchange| exchange.follower.link).collect();
        links.into_iter().for_each(|link| self.abandon(link));
        let reserved = std::mem::take(&mut self.seats[seat].reserved);
        self.pool.extend(reserved.into_values());
        if let Some(link) = self.seats[seat].leader {
            self.backend(link).inbox.extend_from_slice(&last);
            self.drawing.extend(Some(link).filter(|_| draws));
        }
        self.drop_leader(seat);
        self.client_listens(seat);
        self.seats[seat].client.cut_off();
        self.note(|| format!("s{seat}: is closed"));
    }

    pub(super) fn client_speaks(&mut self, seat: usize) {
        self.check_locks(seat);
        let of = &mut self.seats[seat];
        let text = of.client.speak(&mut of.sent);
        let how = if of.sent.first() == Some(&b'Q') { "asks" } else { "executes" };
        self.note(|| format!("s{seat}: client {how}: {text}"));
    }

    pub(super) fn client_listens(&mut self, seat: usize) {
        self.seats[seat].client.now = self.moment;
        match self.seats[seat].client.listen() {
            Ok(true) => self.acknowledged(seat),
            Ok(false) => {}
            Err(why) => self.fail(format!("s{seat}: the client: {why}")),
        }
        for (state, message) in std::mem::take(&mut self.seats[seat].client.errors) {
            self.note(|| format!("s{seat}: client is told: {state} {message}"));
            self.check_error(seat, &state, &message);
        }
    }

    pub(super) fn client_vanishes(&mut self, seat: usize) {
        let of = &mut self.seats[seat];
        if !of.client_open || of.closed {
            return;
        }
        (of.client_open, of.sent) = (false, BytesMut::new());
        of.client.cut_off();
        of.client.inbox.clear();
        self.note(|| format!("!!! the client of s{seat} vanishes"));
        self.seats[seat].session.client_gone();
        self.turn(seat);
    }

    fn acknowledged(&mut self, seat: usize) {
        // With one that was chained to it, it may be the last but one.
        let units: Vec<_> = self.seats[seat].client.units.iter().rev().take(2).collect();
        let Some(outcome) = units.first().map(|unit| unit.outcome) else { return };
        let there = units.into_iter().filter(|unit| unit.outcome == Outcome::Committed && unit.entered);
        let there: Vec<_> = there.map(|unit| unit.id).collect();
        self.note(|| format!("s{seat}: client has its answer: {outcome:?}"));
        there.into_iter().for_each(|id| self.check_everywhere(seat, id));
        self.check_locks(seat);
    }
}
