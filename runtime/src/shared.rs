//! What every session, pool and door sees of the whole.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use lockstep_core::cluster::Membership;
use lockstep_core::commitlock::CommitLock;

use crate::cluster::ClusterClient;
use crate::config::Config;

/// One per process, in an `Arc`.
#[derive(Debug)]
pub struct Shared {
    pub config: Arc<Config>,
    /// The newest membership. Whoever commits reads it *after* entering the commit lock.
    pub membership: Arc<ArcSwap<Membership>>,
    pub commit_lock: CommitLock,
    pub cluster: ClusterClient,
    /// Clients that are logged in.
    pub clients: AtomicUsize,
}
