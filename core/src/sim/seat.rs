//! One session with its client, and what the shell holds for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;

use super::client::Client;
use super::exchange::{Exchange, Follower};
use super::node::Link;
use crate::cluster::Membership;
use crate::commitlock::{CommitLock, Pass};
use crate::id::NodeId;
use crate::inflight::Flight;
use crate::journal::{UnitNumber, Witness};
use crate::session::{CaptureNumber, CommitNumber, LockMode, Session};

pub(super) struct Seat {
    pub client: Client,
    pub session: Session,
    /// On its way from the client.
    pub sent: BytesMut,
    pub client_open: bool,
    pub leader: Option<Link>,
    /// All leader connections that it ever had.
    pub leaders: Vec<Link>,
    pub reserved: BTreeMap<NodeId, Follower>,
    /// The newest backend of each node that was sent a batch.
    pub sent_to: BTreeMap<NodeId, usize>,
    pub asked: Vec<Asked>,
    pub exchanges: Vec<Exchange>,
    pub lock: Lock,
    /// The commit that has asked for the lock.
    pub lock_of: CommitNumber,
    /// Its unit in the journal.
    pub unit: Option<UnitNumber>,
    /// Its unit is among the commits in flight.
    pub flight: Option<Flight<Link>>,
    /// Its unit waits for a clear look; rung when it is worth looking again.
    pub looks: Option<(CommitNumber, Arc<Bell>)>,
    pub seen: Membership,
    pub spill: BytesMut,
    pub closed: bool,
    /// The client comes again when somebody serves.
    pub returns: bool,
}

impl Seat {
    pub(super) fn new(client: Client, session: Session, seen: Membership) -> Self {
        Self {
            client,
            session,
            sent: BytesMut::new(),
            client_open: true,
            leader: None,
            leaders: Vec::new(),
            reserved: BTreeMap::new(),
            sent_to: BTreeMap::new(),
            asked: Vec::new(),
            exchanges: Vec::new(),
            lock: Lock::None,
            lock_of: CommitNumber::default(),
            unit: None,
            flight: None,
            looks: None,
            seen,
            spill: BytesMut::new(),
            closed: false,
            returns: false,
        }
    }
}

/// What the session wants to know or to have done, and has no answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Reserve(CommitNumber, NodeId),
    Verdict(CommitNumber, NodeId),
    Fate(CommitNumber, NodeId, Witness),
    Degraded(CommitNumber, NodeId, String),
    Dial,
    /// All units that may have been brought over to this leader.
    Gathered(NodeId),
    /// What captured rows are signed with.
    Key(CaptureNumber),
    /// A fault of ours.
    EnterAfterLook(CommitNumber),
}

/// The session's place at the commit lock.
#[derive(Default)]
pub(super) enum Lock {
    #[default]
    None,
    Waiting(Waiting),
    Held {
        _pass: Option<Pass>,
    },
}

pub(super) struct Waiting {
    future: Pin<Box<dyn Future<Output = Pass>>>,
    bell: Arc<Bell>,
}

pub(super) struct Bell(pub AtomicBool);

impl Bell {
    pub(super) fn rung() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn has_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Lock {
    pub(super) fn wait(lock: &CommitLock, mode: LockMode) -> Self {
        let future: Pin<Box<dyn Future<Output = Pass>>> =
            if mode == LockMode::Exclusive { Box::pin(lock.exclusive()) } else { Box::pin(lock.shared()) };
        Self::Waiting(Waiting { future, bell: Arc::new(Bell::rung()) })
    }

    /// Whether somebody has rung.
    pub(super) fn is_called(&self) -> bool {
        matches!(self, Self::Waiting(waiting) if waiting.bell.has_rung())
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// True: it is held now.
    pub(super) fn enter(&mut self) -> bool {
        let Self::Waiting(waiting) = self else { return false };
        waiting.bell.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(waiting.bell.clone());
        match waiting.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => false,
            Poll::Ready(pass) => {
                *self = Self::Held { _pass: Some(pass) };
                true
            }
        }
    }
}
