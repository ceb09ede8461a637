//! The driver of one session: carries out what the core wants, and brings it what has happened.
//!
//! One loop: turn the core, carry out its actions, write, and wait for the first of: bytes from the client or the leader,
//! room to write, something that was asked for, control. It is the only caller of [`Session`], and has no opinions. How it waits: [`super::wait`].

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::FuturesUnordered;
use lockstep_core::cluster::{Membership, Verdict};
use lockstep_core::commitlock::Pass;
use lockstep_core::effect::capture::CaptureKey;
use lockstep_core::fault::Fault;
use lockstep_core::id::{NodeId, SessionId};
use lockstep_core::inflight::Flight;
use lockstep_core::session::{Action, Birth, LockMode, Session, Settings, World};
use lockstep_core::unit::Batch;
use lockstep_core::unit::commit::ReserveFault;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;

use super::exchange::{Exchanged, exchange};
use super::link::{Link, LinkFault};
use super::local::Local;
use super::login::{DialLeaderFault, Identity, LoggedIn, dial_leader};
use super::look::Lookout;
use super::peer::Peer;
use super::pool::{self, Follower, Kind};
use super::spill::Spill;
use super::watchdog::watch;
use super::{Control, ended};
use crate::cluster::Wish;
use crate::entropy;
use crate::intake::Seat;
use crate::server::{Place, Server};

/// The answer to something that was asked for.
pub(super) enum Event {
    Locked(u64, Held),
    Reserved(NodeId, Result<Box<Follower>, LinkFault>),
    Exchanged(NodeId, Exchanged),
    Verdict(NodeId, Verdict),
    Degraded(NodeId),
    Dialled(Result<Box<(NodeId, Link)>, Fault>),
    Captured(Result<CaptureKey, Fault>),
    /// The membership, or whether clients are held.
    WorldChanged,
}

/// What a commit holds of what the sessions share; all of it is let go by dropping it.
#[derive(Default)]
pub(super) struct Held {
    /// Left before the lock is: an exclusive holder finds nobody in flight.
    pub(super) flight: Option<Flight<Lookout>>,
    _slot: Option<OwnedSemaphorePermit>,
    _pass: Option<Pass>,
    _utility: Option<OwnedRwLockReadGuard<()>>,
}

type Pending = Pin<Box<dyn Future<Output = Event>>>;

pub(super) struct Leader {
    pub(super) peer: Peer,
    pid: u32,
    cancel_key: bytes::Bytes,
}

pub struct Driver {
    pub(super) session: Session,
    pub(super) identity: Rc<Identity>,
    pub(super) server: Arc<Server>,
    local: Rc<Local>,
    pub(super) client: Peer,
    pub(super) client_open: bool,
    pub(super) leader: Option<Leader>,
    reserved: HashMap<NodeId, Follower>,
    pub(super) pending: FuturesUnordered<Pending>,
    pub(super) held: Held,
    /// Whether the unit waits for a clear look.
    pub(super) looks: bool,
    /// Whether others wait for what the leader's connection says.
    pub(super) busy: bool,
    /// Counts requests for the commit lock: the answer to one that was taken back is let go.
    lock_request: u64,
    spill: Option<Rc<Spill>>,
    pub(super) inbox: mpsc::Receiver<Control>,
    seen: Arc<Membership>,
    /// Until the session has ended.
    _place: Place,
    seat: Seat,
    /// When the client has had its turn for too long, in an open transaction.
    pub(super) idle_until: Option<Pin<Box<Sleep>>>,
    leaving: Leave,
    closing: bool,
    /// A statement that draws from a sequence may go on at the leader when the session has ended.
    pub(super) draws: bool,
}

/// Whether the session is to end, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    No,
    WhenIdle,
    Now,
}

impl Driver {
    pub fn new(
        id: SessionId,
        arrival: LoggedIn,
        server: Arc<Server>,
        local: Rc<Local>,
        inbox: mpsc::Receiver<Control>,
    ) -> Self {
        let LoggedIn { peer, identity, node, link, place, rest } = arrival;
        let catalogs = server.catalogs(&identity.database);
        let policy = server.config().replication.policy;
        let mut session = Session::new(Birth { id, leader: node, catalogs, parameters: link.parameters, policy });
        session.client_in = rest;
        session.leader_in = link.rest;
        let seen = server.shared().membership.load_full();
        let seat = server.shared().intake.seat(id);
        Self {
            session,
            identity: Rc::new(identity),
            server,
            local,
            client: peer,
            client_open: true,
            leader: Some(Leader { peer: link.peer, pid: link.pid, cancel_key: link.cancel_key }),
            reserved: HashMap::new(),
            pending: FuturesUnordered::new(),
            held: Held::default(),
            looks: false,
            busy: false,
            lock_request: 0,
            spill: None,
            inbox,
            seen,
            _place: place,
            seat,
            idle_until: None,
            leaving: Leave::No,
            closing: false,
            draws: false,
        }
    }

    pub async fn run(mut self) {
        self.watch_world();
        while !self.closing {
            self.turn();
            self.be_trusted();
            let waited = self.session.waits_for_leader();
            self.flush();
            if self.closing {
                break;
            }
            if waited && !self.session.waits_for_leader() {
                continue;
            }
            self.wait().await;
        }
        self.farewell().await;
    }

    /// Turns the core until it wants nothing more.
    fn turn(&mut self) {
        loop {
            let membership = self.server.shared().membership.load();
            let mut plans = self.local.plans();
            let held = self.seat.pausing().is_some();
            let mut world = World { plans: &mut plans, membership: &membership, held, random: &mut entropy::fill };
            self.session.turn(&mut world);
            drop(plans);
            drop(membership);
            let Some(action) = self.session.poll_action() else { break };
            self.act(action);
            while let Some(action) = self.session.poll_action() {
                self.act(action);
            }
        }
        if let Some(pause) = self.seat.pausing().filter(|_| self.session.stands_still()) {
            self.seat.stands_still(pause);
        }
        let leaves = match self.leaving {
            Leave::No => false,
            Leave::WhenIdle => self.session.is_idle(),
            Leave::Now => !self.session.is_committing(),
        };
        if leaves {
            self.session.end(&ended(&self.server));
            self.leaving = Leave::No;
            self.turn();
        }
    }

    fn act(&mut self, action: Action) {
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
            Action::Lock(mode) => self.lock(mode),
            Action::Unlock => {
                self.held = Held::default();
                self.looks = false;
                self.lock_request += 1;
            }
            Action::Reserve { node, fresh, settings } => self.reserve(node, fresh, settings),
            // Only fails when no arbiter listens any more.
            Action::Vacate(database) => drop(self.server.shared().vacated.send(database)),
            Action::Look => self.enter_flight(),
            Action::SendBatch { node, batch } => self.send(node, batch),
            Action::Release => {
                let mut pool = self.local.pool();
                self.reserved.drain().for_each(|(_, follower)| pool.put(follower));
            }
            Action::Suspect { node, why } => {
                let server = self.server.clone();
                self.pending
                    .push(Box::pin(async move { Event::Verdict(node, server.cluster().suspect(node, why).await) }));
            }
            Action::Degrade { node, why } => {
                let server = self.server.clone();
                self.pending.push(Box::pin(async move {
                    server.cluster().diverged(node, why).await;
                    Event::Degraded(node)
                }));
            }
            Action::Capture(tables) => self.capture(tables),
            Action::Dial => self.dial(),
            Action::Waived => drop(self.server.shared().waived.fetch_add(1, Ordering::Relaxed)),
            Action::SequencesMoved => self.server.cluster().sequences_moved(&self.identity.database),
            Action::Close { draws } => {
                self.closing = true;
                self.draws = draws;
            }
        }
    }

    fn spill(&mut self) -> std::io::Result<Rc<Spill>> {
        if self.spill.is_none() {
            self.spill = Some(Rc::new(Spill::create(&self.server.config().cluster.state_dir)?));
        }
        self.spill.clone().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn lock(&mut self, mode: LockMode) {
        let shared = self.server.shared();
        let (lock, slots) = (shared.commit_lock.clone(), self.local.slots.clone());
        if mode == LockMode::Shared
            && let Ok(slot) = slots.clone().try_acquire_owned()
            && let Some(pass) = lock.try_shared()
        {
            return self.locked(Held { _slot: Some(slot), _pass: Some(pass), ..Held::default() });
        }
        let (request, utilities) = (self.lock_request, shared.utilities.clone());
        self.pending.push(Box::pin(async move {
            if mode == LockMode::Utility {
                let held = Held { _utility: Some(utilities.read_owned().await), ..Held::default() };
                return Event::Locked(request, held);
            }
            let slot = slots.acquire_owned().await.ok();
            let pass = if mode == LockMode::Exclusive { lock.exclusive().await } else { lock.shared().await };
            Event::Locked(request, Held { _slot: slot, _pass: Some(pass), ..Held::default() })
        }));
    }

    fn locked(&mut self, held: Held) {
        self.held = held;
        let membership = self.server.shared().membership.load();
        self.session.locked(&membership);
    }

    fn reserve(&mut self, node: NodeId, fresh: bool, settings: Settings) {
        let kind = Kind {
            node,
            database: self.identity.database.clone(),
            user: self.identity.user.clone(),
            encoding: self.session.client_encoding(),
            settings,
        };
        let pooled = if fresh { None } else { self.local.pool().take(&kind) };
        if let Some(follower) = pooled {
            self.reserved.insert(node, follower);
            return self.session.reserved(node);
        }
        let (server, local, identity) = (self.server.clone(), self.local.clone(), self.identity.clone());
        self.pending.push(Box::pin(async move {
            let dialled = pool::dial(server.node(node), kind, &identity.key, local.keys()).await;
            Event::Reserved(node, dialled.map(Box::new))
        }));
    }

    fn send(&mut self, node: NodeId, batch: Batch) {
        let Some(follower) = self.reserved.remove(&node) else {
            return self.session.broken(node, "its connection was not there any more".into());
        };
        let (server, spill, pid) = (self.server.clone(), self.spill.clone(), follower.link.pid);
        self.pending.push(Box::pin(async move {
            let exchanged = tokio::select! {
                biased;
                exchanged = exchange(follower, batch, spill) => exchanged,
                why = watch(server, node, pid) => Exchanged::Stuck(why),
            };
            Event::Exchanged(node, exchanged)
        }));
    }

    fn capture(&mut self, tables: Arc<[String]>) {
        let (server, database) = (self.server.clone(), self.identity.database.clone());
        let (catalogs, backend) = (server.catalogs(&database), self.leader.as_ref().map_or(0, |leader| leader.pid));
        let wish = Wish { database, tables, catalogs, backend };
        self.pending.push(Box::pin(async move { Event::Captured(server.cluster().capture(wish).await) }));
    }

    fn dial(&mut self) {
        self.leader = None;
        let (server, local, identity) = (self.server.clone(), self.local.clone(), self.identity.clone());
        self.pending.push(Box::pin(async move {
            let dialled = dial_leader(&identity, &server, &local).await;
            Event::Dialled(dialled.map(Box::new).map_err(DialLeaderFault::into_fault))
        }));
    }

    fn watch_world(&mut self) {
        let (server, seen, pause) = (self.server.clone(), self.seen.clone(), self.seat.pausing());
        self.pending.push(Box::pin(async move {
            tokio::select! {
                _ = server.cluster().changed(&seen) => Event::WorldChanged,
                () = server.shared().intake.not(pause) => Event::WorldChanged,
            }
        }));
    }

    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::Locked(request, held) if request == self.lock_request => self.locked(held),
            Event::Locked(..) => {}
            Event::Reserved(node, Ok(follower)) => {
                self.reserved.insert(node, *follower);
                self.session.reserved(node);
            }
            Event::Reserved(node, Err(fault)) => {
                let why = fault.to_string();
                let fault = if fault.is_shortage() { ReserveFault::Full(why) } else { ReserveFault::Broken(why) };
                self.session.not_reserved(node, fault);
            }
            Event::Exchanged(node, Exchanged::Answered(result, follower)) => {
                if let Some(follower) = follower {
                    self.local.pool().put(*follower);
                }
                self.session.answered(node, result);
            }
            Event::Exchanged(node, Exchanged::Broken(why)) => self.session.broken(node, why),
            Event::Exchanged(node, Exchanged::Stuck(why)) => self.session.stuck(node, why),
            Event::Verdict(node, verdict) => self.session.verdict(node, verdict),
            Event::Degraded(node) => self.session.degraded(node),
            Event::Dialled(Ok(dialled)) => {
                let (node, link) = *dialled;
                self.session.leader_in = link.rest;
                self.leader = Some(Leader { peer: link.peer, pid: link.pid, cancel_key: link.cancel_key });
                self.session.dialled(node, link.parameters);
            }
            Event::Dialled(Err(fault)) => self.session.not_dialled(&fault),
            Event::Captured(outcome) => self.session.captured(outcome),
            Event::WorldChanged => {
                let now = self.server.shared().membership.load_full();
                if !Arc::ptr_eq(&now, &std::mem::replace(&mut self.seen, now.clone())) {
                    self.session.membership_changed(&now);
                }
                self.watch_world();
            }
        }
    }

    /// Writes what the sockets take.
    fn flush(&mut self) {
        if self.client_open && self.client.write(&mut self.session.client_out).is_err() {
            self.client_gone();
        }
        if let (Some(leader), Some(out)) = (&self.leader, self.session.to_leader())
            && let Err(error) = leader.peer.write(out)
        {
            self.leader_lost(error.to_string());
        }
    }

    pub(super) fn client_gone(&mut self) {
        self.client_open = false;
        self.session.client_gone();
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
    }

    pub(super) fn leader_lost(&mut self, why: String) {
        self.be_busy();
        self.leader = None;
        self.session.leader_lost(why);
        self.turn();
    }

    pub(super) fn leader_ended(&mut self) {
        // Its last words may be in the buffer.
        self.turn();
        if self.leader.is_some() {
            self.leader_lost("it closed the connection".into());
        }
    }

    pub(super) fn control(&mut self, control: Control) {
        match control {
            Control::Drain if self.leaving == Leave::Now => {}
            Control::Drain => self.leaving = Leave::WhenIdle,
            Control::End => self.leaving = Leave::Now,
            Control::Cancel if self.session.cancellable() => {
                if let Some(Leader { pid, cancel_key, .. }) = &self.leader {
                    let (server, node, pid, key) =
                        (self.server.clone(), self.session.leader(), *pid, cancel_key.clone());
                    tokio::task::spawn_local(async move {
                        if let Err(error) = super::link::cancel(server.node(node), pid, &key).await {
                            tracing::debug!(%error, "a cancel request did not reach its server");
                        }
                    });
                }
            }
            Control::Cancel => {}
        }
    }
}
