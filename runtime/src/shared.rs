//! What every session, pool and door sees of the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::{ArcSwap, ArcSwapOption};
use lockstep_core::cluster::Membership;
use lockstep_core::commitlock::CommitLock;
use lockstep_core::heirs::Heirs;
use lockstep_core::inflight::InFlight;
use tokio::sync::{RwLock, broadcast};

use crate::cluster::{Admission, ClusterClient, Succession};
use crate::config::Config;
use crate::door::protocol::Scrubbed;
use crate::door::reload::Asking;
use crate::intake::Intake;
use crate::journal::Journal;
use crate::session::{Commands, Lookout};

/// One per process, in an `Arc`.
#[derive(Debug)]
pub struct Shared {
    pub config: Arc<Config>,
    /// The newest membership. Whoever commits reads it *after* entering the commit lock.
    pub membership: Arc<ArcSwap<Membership>>,
    /// Whether clients may begin something.
    pub intake: Arc<Intake>,
    pub commit_lock: CommitLock,
    pub succession: Succession,
    /// Open units that a new leader is to inherit.
    pub heirs: Heirs,
    /// Commits whose batches are under way to followers.
    pub in_flight: InFlight<Lookout>,
    /// Held in common by commands that each node runs by itself, alone by whoever compares nodes or lets one in.
    pub utilities: Arc<RwLock<()>>,
    /// Backends on followers that run such commands.
    pub commands: Arc<Commands>,
    /// Databases that idle follower connections must leave, told to every arbiter.
    pub vacated: broadcast::Sender<Arc<str>>,
    pub journal: Arc<Journal>,
    /// Why a change of the membership cannot be written down, for which commits wait.
    pub unwritten: Arc<ArcSwapOption<String>>,
    pub cluster: ClusterClient,
    /// What the salts are made of that users without a stored one are shown.
    pub login_secret: [u8; 32],
    /// Clients that are logged in.
    pub clients: AtomicUsize,
    pub reloads: Asking,
    /// Statements that could not be replicated exactly and were allowed, since the start.
    pub waived: AtomicU64,
    /// The comparison that decides who comes in, while there is one.
    pub admission: Arc<Admission>,
    /// The last comparison in the background.
    pub scrubbed: ArcSwapOption<Scrubbed>,
}
