//! What the core wants done, and what comes of it: each [`Action`] is carried out here, and its answer, if it has one, is an
//! [`Event`] that the driver finds when it waits.

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstep_core::cluster::Verdict;
use lockstep_core::commitlock::Pass;
use lockstep_core::effect::capture::{CaptureKey, Triggers};
use lockstep_core::fault::Fault;
use lockstep_core::id::NodeId;
use lockstep_core::inflight::Flight;
use lockstep_core::journal::{Outlives, UnitNumber};
use lockstep_core::plan::Partition;
use lockstep_core::session::{Action, Attachment, CaptureNumber, CommitNumber, LevelNumber, LockMode, Settings};
use lockstep_core::unit::Batch;
use lockstep_core::unit::commit::{Fate, ReserveFault};
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit};

use super::ahead::Ahead;
use super::drive::{Driver, Leader, Pending};
use super::exchange::{Exchanged, exchange};
use super::link::{Link, LinkFault};
use super::login::{DialLeaderFault, dial_leader};
use super::look::Lookout;
use super::pool::{self, Follower, Kind};
use super::reattach;
use super::spill::Spill;
use super::watchdog::watch;
use crate::cluster::settle::fate;
use crate::cluster::{Wish, gathered};

/// From one attempt to write to the journal to the next, while neither that can be done nor taking it away.
const JOURNAL_PAUSE: Duration = Duration::from_millis(250);

/// The answer to something that was asked for.
pub(super) enum Event {
    OfCommit(CommitNumber, Answer),
    Dialled(Result<Box<(NodeId, Link)>, Fault>),
    Captured(CaptureNumber, Result<(CaptureKey, Triggers), Fault>),
    Gathered(NodeId),
    Levelled(LevelNumber),
    Reattached(Result<Attachment, String>),
    /// The membership, or whether clients are held.
    WorldChanged,
}

/// The answer to something that a commit has asked for.
pub(super) enum Answer {
    Played(Vec<Follower>),
    Locked(Held),
    Reserved(NodeId, Result<Box<Follower>, LinkFault>),
    Exchanged(NodeId, Exchanged),
    Verdict(NodeId, Verdict),
    Told(NodeId, Fate),
    Degraded(NodeId),
}

/// What a commit holds of what the sessions share; all of it is let go by dropping it.
#[derive(Default)]
pub(super) struct Held {
    /// The unit in the journal; closed only by who knows what has become of it.
    pub(super) unit: Option<UnitNumber>,
    /// Left before the lock is: an exclusive holder finds nobody in flight.
    pub(super) flight: Option<Flight<Lookout>>,
    /// The backends that were sent the batch, the newest of each node.
    sent: HashMap<NodeId, u32>,
    _slot: Option<OwnedSemaphorePermit>,
    _pass: Option<Pass>,
    _utility: Option<OwnedRwLockReadGuard<()>>,
}

impl Driver {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Spill(bytes) => {
                let spilled = self.spill().and_then(|spill| spill.append(&bytes));
                if let Err(error) = spilled {
                    self.session.spill_failed(&error.to_string());
                }
            }
            Action::CutSpill(0) => self.spill = None,
            Action::CutSpill(length) => {
                if let Some(Err(error)) = self.spill.as_ref().map(|spill| spill.cut(length)) {
                    self.session.spill_failed(&error.to_string());
                }
            }
            Action::PlayAhead { of, batch } => self.play_ahead(of, batch),
            Action::Lock { of, mode } => self.lock(of, mode),
            Action::Unlock => self.unlock(),
            Action::Reserve { of, node, fresh, settings } => self.reserve(of, node, fresh, settings),
            // Only fails when no arbiter listens any more.
            Action::Vacate(database) => drop(self.server.shared().vacated.send(database)),
            Action::Look(of) => self.enter_flight(of),
            Action::SendBatch { of, node, batch } => self.send(of, node, batch),
            Action::Release => {
                let mut pool = self.local.pool();
                self.reserved.drain().for_each(|(_, follower)| pool.put(follower));
            }
            Action::Suspect { of, node, why } => {
                let server = self.server.clone();
                self.ask_of(of, async move { Answer::Verdict(node, server.cluster().suspect(node, why).await) });
            }
            Action::Ask { of, node, witness } => {
                let (server, database) = (self.server.clone(), self.identity.database.clone());
                let backend = self.held.sent.get(&node).copied();
                self.ask_of(of, async move {
                    let fate = fate::find_out(server.config(), node, &database, backend, witness).await;
                    Answer::Told(node, fate)
                });
            }
            Action::Degrade { of, node, why } => {
                let server = self.server.clone();
                self.ask_of(of, async move {
                    server.cluster().diverged(node, why).await;
                    Answer::Degraded(node)
                });
            }
            Action::Capture { number, tables } => self.capture(number, tables),
            Action::Dial => self.dial(),
            Action::Gather(leader) => self.gather(leader),
            Action::Orphaned { leader, touched } => self.server.shared().heirs.orphaned(leader, touched),
            Action::Reattach(partition) => self.reattach(partition),
            Action::Waived => drop(self.server.shared().waived.fetch_add(1, Ordering::Relaxed)),
            Action::SequencesMoved => self.server.cluster().sequences_moved(&self.identity.database),
            Action::Level(number) => {
                let (server, database) = (self.server.clone(), self.identity.database.clone());
                self.ask(Box::pin(async move {
                    server.cluster().level(&database).await;
                    Event::Levelled(number)
                }));
            }
            Action::Close { draws } => {
                self.closing = true;
                self.draws = draws;
            }
        }
    }

    /// The answer will be an event.
    pub(super) fn ask(&mut self, answer: Pending) {
        self.pending.source().push(answer);
    }

    pub(super) fn ask_of(&mut self, of: CommitNumber, answer: impl Future<Output = Answer> + 'static) {
        self.ask(Box::pin(async move { Event::OfCommit(of, answer.await) }));
    }

    fn spill(&mut self) -> std::io::Result<Rc<Spill>> {
        if self.spill.is_none() {
            self.spill = Some(Rc::new(Spill::create(&self.server.config().cluster.state_dir)?));
        }
        self.spill.clone().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn lock(&mut self, of: CommitNumber, mode: LockMode) {
        let shared = self.server.shared();
        let (lock, slots) = (shared.commit_lock.clone(), self.local.slots.clone());
        if mode == LockMode::Shared
            && let Ok(slot) = slots.clone().try_acquire_owned()
            && let Some(pass) = lock.try_shared()
        {
            let held = Held { _slot: Some(slot), _pass: Some(pass), ..Held::default() };
            return self.answered(of, Answer::Locked(held));
        }
        let utilities = shared.utilities.clone();
        self.ask_of(of, async move {
            if mode == LockMode::Utility {
                let held = Held { _utility: Some(utilities.read_owned().await), ..Held::default() };
                return Answer::Locked(held);
            }
            let slot = slots.acquire_owned().await.ok();
            let pass = if mode == LockMode::Exclusive { lock.exclusive().await } else { lock.shared().await };
            Answer::Locked(Held { _slot: slot, _pass: Some(pass), ..Held::default() })
        });
    }

    fn unlock(&mut self) {
        if let Some(unit) = self.held.unit.take() {
            self.server.shared().journal.close(unit);
        }
        self.held = Held::default();
        self.ahead = Ahead::default();
        self.looks = None;
    }

    /// Goes on with the commit when it is in the journal.
    fn locked(&mut self, of: CommitNumber, mut held: Held) {
        if held.unit.is_none()
            && let Some(touched) = self.session.touched()
        {
            let opened = self.server.shared().journal.open(&self.identity.database, touched);
            held.unit = opened.ok();
            if held.unit.is_none() || self.server.config().journal.outlives == Outlives::Machine {
                return self.wait_for_journal(of, held);
            }
        }
        self.held = held;
        self.hear_out_if_out();
        let membership = self.server.shared().membership.load();
        if let Some(answers) = self.session.answers(of) {
            answers.locked(&membership);
        }
    }

    fn wait_for_journal(&mut self, of: CommitNumber, held: Held) {
        let server = self.server.clone();
        self.ask_of(of, async move {
            let pause = || tokio::time::sleep(JOURNAL_PAUSE);
            match held.unit {
                None => pause().await,
                Some(_) => {
                    while server.shared().journal.force().await.is_err() {
                        pause().await
                    }
                }
            }
            Answer::Locked(held)
        });
    }

    pub(super) fn follower_of(&self, node: NodeId, settings: Settings) -> Kind {
        Kind {
            node,
            database: self.identity.database.clone(),
            user: self.identity.user.clone(),
            encoding: self.session.client_encoding(),
            settings,
        }
    }

    fn reserve(&mut self, of: CommitNumber, node: NodeId, fresh: bool, settings: Settings) {
        let kind = self.follower_of(node, settings);
        let pooled = if fresh { None } else { self.ahead.take(node).or_else(|| self.local.pool().take(&kind)) };
        if let Some(follower) = pooled {
            return self.answered(of, Answer::Reserved(node, Ok(Box::new(follower))));
        }
        let (server, local, identity) = (self.server.clone(), self.local.clone(), self.identity.clone());
        self.ask_of(of, async move {
            let dialled = pool::dial(server.node(node), kind, &identity.key, local.keys()).await;
            Answer::Reserved(node, dialled.map(Box::new))
        });
    }

    fn send(&mut self, of: CommitNumber, node: NodeId, batch: Batch) {
        let Some(follower) = self.reserved.remove(&node) else {
            let gone = Exchanged::Broken("its connection was not there any more".into());
            return self.answered(of, Answer::Exchanged(node, gone));
        };
        let (server, local) = (self.server.clone(), self.local.clone());
        let (spill, pid) = (self.spill.clone(), follower.link.pid);
        self.held.sent.insert(node, pid);
        let command = self.held._utility.is_some().then(|| self.server.shared().commands.run_by(node, pid));
        self.ask_of(of, async move {
            let _command = command;
            let exchanged = tokio::select! {
                biased;
                exchanged = exchange(follower, batch, spill) => exchanged,
                why = watch(server, local, node, pid) => Exchanged::Stuck(why),
            };
            Answer::Exchanged(node, exchanged)
        });
    }

    fn capture(&mut self, number: CaptureNumber, tables: Arc<[String]>) {
        let (server, database) = (self.server.clone(), self.identity.database.clone());
        let (catalogs, backend) = (server.catalogs(&database), self.leader.as_ref().map_or(0, |leader| leader.pid));
        let wish = Wish { database, tables, catalogs, leader: self.session.leader(), backend };
        self.ask(Box::pin(async move { Event::Captured(number, server.cluster().capture(wish).await) }));
    }

    fn reattach(&mut self, partition: Arc<Partition>) {
        let (server, node, database) = (self.server.clone(), self.session.leader(), self.identity.database.clone());
        self.ask(Box::pin(async move {
            let done = reattach::reattach(server.config(), node, &database, &partition).await;
            Event::Reattached(done.map_err(|fault| fault.to_string()))
        }));
    }

    fn dial(&mut self) {
        self.leader = None;
        let (server, local, identity) = (self.server.clone(), self.local.clone(), self.identity.clone());
        self.ask(Box::pin(async move {
            let dialled = dial_leader(&identity, &server, &local).await;
            Event::Dialled(dialled.map(Box::new).map_err(DialLeaderFault::into_fault))
        }));
    }

    fn gather(&mut self, leader: NodeId) {
        let server = self.server.clone();
        self.ask(Box::pin(async move {
            gathered(leader, server.shared(), server.config().health.now().patience()).await;
            Event::Gathered(leader)
        }));
    }

    fn hear_out_if_out(&mut self) {
        if self.server.shared().membership.load().leader() != Some(self.session.leader()) {
            self.hear_out();
        }
    }

    /// Takes what a leader that is about to be left has still said, if it matters: it may have ended the session by itself.
    /// More than there is at one time is not waited for.
    pub(super) fn hear_out(&mut self) {
        if !self.session.has_heir() {
            return;
        }
        self.be_busy();
        if let Some(leader) = &self.leader {
            leader.peer.lookout().take(&mut self.session.leader_in);
        }
    }

    /// Something that this commit has asked for.
    pub(super) fn answered(&mut self, of: CommitNumber, answer: Answer) {
        let Some(answers) = self.session.answers(of) else { return self.came_too_late(answer) };
        match answer {
            Answer::Played(followers) => {
                self.ahead.have_played(followers);
                answers.played();
            }
            Answer::Locked(held) => self.locked(of, held),
            Answer::Reserved(node, Ok(follower)) => {
                self.reserved.insert(node, *follower);
                answers.reserved(node);
            }
            Answer::Reserved(node, Err(fault)) => {
                let why = fault.to_string();
                let fault = if fault.is_shortage() { ReserveFault::Full(why) } else { ReserveFault::Broken(why) };
                answers.not_reserved(node, fault);
            }
            Answer::Exchanged(node, Exchanged::Answered(result, follower)) => {
                if let Some(follower) = follower {
                    self.local.pool().put(*follower);
                }
                answers.answered(node, result);
            }
            Answer::Exchanged(node, Exchanged::Broken(why)) => answers.broken(node, why),
            Answer::Exchanged(node, Exchanged::Stuck(why)) => answers.stuck(node, why),
            Answer::Verdict(node, verdict) => answers.verdict(node, verdict),
            Answer::Told(node, fate) => answers.told(node, fate),
            Answer::Degraded(node) => answers.degraded(node),
        }
    }

    /// The commit is over. What was given to it is given back.
    fn came_too_late(&self, answer: Answer) {
        match answer {
            // Nothing of it was sent.
            Answer::Locked(held) => held.unit.into_iter().for_each(|unit| self.server.shared().journal.close(unit)),
            Answer::Reserved(_, Ok(follower)) | Answer::Exchanged(_, Exchanged::Answered(_, Some(follower))) => {
                self.local.pool().put(*follower);
            }
            _ => {}
        }
    }

    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::OfCommit(of, answer) => self.answered(of, answer),
            Event::Dialled(Ok(dialled)) => {
                let (node, link) = *dialled;
                self.session.leader_in = link.rest;
                self.leader = Some(Leader { peer: link.peer, pid: link.pid, cancel_key: link.cancel_key });
                self.session.dialled(node, link.parameters);
            }
            Event::Dialled(Err(fault)) => self.session.not_dialled(&fault),
            Event::Captured(number, outcome) => self.session.captured(number, outcome),
            Event::Gathered(leader) => self.session.gathered(leader),
            Event::Levelled(number) => self.session.levelled(number),
            Event::Reattached(outcome) => self.session.reattached(outcome),
            Event::WorldChanged => {
                let now = self.server.shared().membership.load_full();
                if !Arc::ptr_eq(&now, &std::mem::replace(&mut self.seen, now.clone())) {
                    self.hear_out_if_out();
                    self.session.membership_changed(&now);
                }
                self.watch_world();
            }
        }
    }
}
