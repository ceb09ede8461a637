//! The driver of one session: carries out what the core wants, and brings it what has happened.
//!
//! One loop: turn the core, carry out its actions ([`super::perform`]), write, and wait ([`super::wait`]) for the first of:
//! bytes from the client or the leader, room to write, something that was asked for, control. It is the only caller of
//! [`Session`], and has no opinions.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use lockstep_core::cluster::Membership;
use lockstep_core::id::{NodeId, SessionId};
use lockstep_core::session::{Birth, CommitNumber, Session, World};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::ahead::Ahead;
use super::local::Local;
use super::login::{Identity, LoggedIn};
use super::oncall::OnCall;
use super::peer::Peer;
use super::perform::{Event, Held};
use super::pool::Follower;
use super::spill::Spill;
use super::{Control, ended};
use crate::entropy;
use crate::intake::Seat;
use crate::server::{Place, Server};

pub(super) type Pending = Pin<Box<dyn Future<Output = Event>>>;

pub(super) struct Leader {
    pub(super) peer: Peer,
    pub(super) pid: u32,
    pub(super) cancel_key: bytes::Bytes,
}

pub struct Driver {
    pub(super) session: Session,
    pub(super) identity: Rc<Identity>,
    pub(super) server: Arc<Server>,
    pub(super) local: Rc<Local>,
    pub(super) client: Peer,
    pub(super) client_open: bool,
    pub(super) leader: Option<Leader>,
    pub(super) ahead: Ahead,
    pub(super) reserved: HashMap<NodeId, Follower>,
    pub(super) pending: OnCall<FuturesUnordered<Pending>>,
    pub(super) held: Held,
    /// The commit that waits for a clear look.
    pub(super) looks: Option<CommitNumber>,
    /// Whether others wait for what the leader's connection says.
    pub(super) busy: bool,
    pub(super) spill: Option<Rc<Spill>>,
    pub(super) inbox: OnCall<mpsc::Receiver<Control>>,
    pub(super) seen: Arc<Membership>,
    /// Until the session has ended.
    _place: Place,
    seat: Seat,
    /// When the client has had its turn for too long, in an open transaction.
    pub(super) idle_until: Option<Pin<Box<Sleep>>>,
    /// When the client has not taken what it was sent for too long, while the session is to end.
    pub(super) deaf_until: Option<Pin<Box<Sleep>>>,
    leaving: Leave,
    pub(super) closing: bool,
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
        let mut session = Session::new(Birth {
            id,
            leader: node,
            catalogs,
            parameters: link.parameters,
            policy,
            heirs: server.shared().heirs.clone(),
        });
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
            ahead: Ahead::default(),
            reserved: HashMap::new(),
            pending: OnCall::new(FuturesUnordered::new()),
            held: Held::default(),
            looks: None,
            busy: false,
            spill: None,
            inbox: OnCall::new(inbox),
            seen,
            _place: place,
            seat,
            idle_until: None,
            deaf_until: None,
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

    pub(super) fn watch_world(&mut self) {
        let (server, seen, pause) = (self.server.clone(), self.seen.clone(), self.seat.pausing());
        self.ask(Box::pin(async move {
            tokio::select! {
                _ = server.cluster().changed(&seen) => Event::WorldChanged,
                () = server.shared().intake.not(pause) => Event::WorldChanged,
            }
        }));
    }

    /// Writes what the sockets take.
    fn flush(&mut self) {
        let waits = self.session.client_out.len();
        if self.client_open && self.client.write(&mut self.session.client_out).is_err() {
            self.client_gone();
        }
        if self.session.client_out.len() < waits {
            self.deaf_until = None;
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

    /// Whether its client is all that the end of the session waits for.
    pub(super) fn waits_for_client_to_leave(&self) -> bool {
        self.leaving != Leave::No && self.client_open && !self.session.client_out.is_empty()
    }

    pub(super) fn leader_lost(&mut self, why: String) {
        self.be_busy();
        self.hear_out();
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
            Control::Cancel if self.session.cancel_waiting() => {}
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
