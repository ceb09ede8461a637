//! What the sessions of one arbiter share without locks: they run on one thread.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use lockstep_core::auth::KeyCache;
use lockstep_core::limits;
use lockstep_core::plan::PlanCache;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};

use super::beat::Beat;
use super::pool::Pool;
use crate::server::Server;

pub struct Local {
    plans: RefCell<PlanCache>,
    pool: RefCell<Pool>,
    keys: RefCell<KeyCache>,
    /// How many units of this arbiter may be committing at once: each may hold one connection to every follower.
    pub slots: Arc<Semaphore>,
    /// How many may have followers play their batch ahead: they hold connections while they wait for others.
    pub ahead: Arc<Semaphore>,
    pub beat: Beat,
}

/// Units of one arbiter that may be in their commit phase at once.
const COMMIT_SLOTS: usize = 32;
const AHEAD: usize = 4;

thread_local! {
    static LOCAL: Rc<Local> = Rc::new(Local {
        plans: RefCell::new(PlanCache::new(limits::PLAN_CACHE)),
        pool: RefCell::new(Pool::default()),
        keys: RefCell::new(KeyCache::default()),
        slots: Arc::new(Semaphore::new(COMMIT_SLOTS)),
        ahead: Arc::new(Semaphore::new(AHEAD)),
        beat: Beat::default(),
    });
}

impl Local {
    pub fn of_this_thread() -> Rc<Self> {
        LOCAL.with(Rc::clone)
    }

    pub fn plans(&self) -> RefMut<'_, PlanCache> {
        self.plans.borrow_mut()
    }

    pub fn pool(&self) -> RefMut<'_, Pool> {
        self.pool.borrow_mut()
    }

    /// The derived login keys. To be borrowed for one message at a time, never while something is awaited.
    pub fn keys(&self) -> &RefCell<KeyCache> {
        &self.keys
    }
}

/// Has time pass for this thread's sessions, for as long as the proxy runs.
pub async fn beat() {
    Local::of_this_thread().beat.go_on().await;
}

/// Closes this thread's idle connections to the databases that are to be left, and to the nodes that are out, for as long as
/// the proxy runs.
pub async fn vacate(mut databases: broadcast::Receiver<Arc<str>>, server: Arc<Server>) {
    let local = Local::of_this_thread();
    let mut seen = server.shared().membership.load_full();
    loop {
        let database = tokio::select! {
            database = databases.recv() => database,
            membership = server.cluster().changed(&seen) => {
                membership.out().for_each(|node| local.pool().leave(node));
                seen = membership;
                continue;
            }
        };
        match database {
            Ok(database) => local.pool().vacate(&database),
            // It is not known which databases were missed.
            Err(RecvError::Lagged(_)) => *local.pool() = Pool::default(),
            Err(RecvError::Closed) => return,
        }
    }
}
