//! What all sessions share, and what the command line starts and stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use bytes::Bytes;
use lockstep_core::auth::Users;
use lockstep_core::catalog::{Catalog, Cell};
use lockstep_core::fault::{Fault, SqlState};
use lockstep_core::id::{NodeId, SessionId};

use crate::cluster::ClusterClient;
use crate::config::{Config, Node};
use crate::session::SessionActor;
use crate::shared::Shared;

/// One per process.
pub struct Server {
    shared: Arc<Shared>,
    users: ArcSwap<Users>,
    sessions: Mutex<HashMap<SessionId, Addr<SessionActor>>>,
    /// By the cancel key that the client was given.
    cancels: Mutex<HashMap<(u32, Bytes), SessionId>>,
    catalogs: Mutex<HashMap<String, Arc<Cell<Catalog>>>>,
    next_session: AtomicU64,
    /// Clients for which there are open files, whatever is configured.
    most: usize,
}

impl Server {
    pub fn new(shared: Arc<Shared>, users: Users, most: usize) -> Self {
        Self {
            shared,
            most,
            users: ArcSwap::from_pointee(users),
            sessions: Mutex::default(),
            cancels: Mutex::default(),
            catalogs: Mutex::default(),
            next_session: AtomicU64::new(1),
        }
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn cluster(&self) -> &ClusterClient {
        &self.shared.cluster
    }

    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// For logins to come; who is in stays.
    pub fn set_users(&self, users: Users) {
        self.users.store(Arc::new(users));
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.shared.config.nodes[usize::from(id.0)]
    }

    /// The schema that all sessions of a database share.
    pub fn catalogs(&self, database: &str) -> Arc<Cell<Catalog>> {
        let mut catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        let number = catalogs.len() as u32;
        catalogs.entry(database.to_owned()).or_insert_with(|| Arc::new(Cell::new(number))).clone()
    }

    /// Whether one more client may log in, as far as that can be said before it has.
    pub fn admit(&self) -> Result<(), Fault> {
        let most = self.max_clients();
        if self.shared.clients.load(Ordering::Relaxed) < most { Ok(()) } else { Err(self.full()) }
    }

    fn max_clients(&self) -> usize {
        self.config().limits.now().max_clients.min(self.most)
    }

    fn full(&self) -> Fault {
        let hint = if self.config().limits.now().max_clients > self.most {
            "Lockstep may open too few files for more: raise LimitNOFILE in its unit, or `ulimit -Hn`."
        } else {
            "Raise [listen] max_clients in the configuration of Lockstep."
        };
        Fault::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already").with_hint(hint)
    }

    /// For a client that has shown who it is, before it is told so.
    pub fn take_place(&self) -> Result<Place, Fault> {
        let (clients, most) = (&self.shared.clients, self.max_clients());
        let taken = clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        taken.map(|_| Place(self.shared.clone())).map_err(|_| self.full())
    }

    /// The leader of the moment; when nobody leads, or nobody may log in yet, the next one, for a while.
    pub async fn wait_for_leader(&self) -> Result<NodeId, Fault> {
        loop {
            let patience = self.config().limits.now().hold_timeout;
            if let Ok(leader) = tokio::time::timeout(patience, self.leader_for_clients()).await {
                return Ok(leader);
            }
            // Who is held by an operator is in no hurry: the time begins anew when clients are let go.
            let Some(pause) = self.shared.intake.pausing() else {
                return Err(self.shared.admission.keeps_clients().unwrap_or_else(|| nobody_serves(patience)));
            };
            tokio::select! {
                leader = self.leader_for_clients() => return Ok(leader),
                () = self.shared.intake.not(Some(pause)) => {}
            }
        }
    }

    async fn leader_for_clients(&self) -> NodeId {
        loop {
            let leader = match self.shared.membership.load().leader() {
                Some(leader) => leader,
                None => self.cluster().leader().await,
            };
            // Whether a leader is new to clients is known before it leads.
            if self.shared.admission.keeps_clients().is_none() {
                return leader;
            }
            self.shared.admission.open_to_clients().await;
        }
    }

    pub fn new_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    pub fn enter(&self, id: SessionId, key: (u32, Bytes), address: Addr<SessionActor>) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, address);
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner).insert(key, id);
    }

    pub fn leave(&self, id: SessionId, key: &(u32, Bytes)) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The session that was given this cancel key.
    pub fn by_cancel_key(&self, pid: u32, key: Bytes) -> Option<Addr<SessionActor>> {
        let id = *self.cancels.lock().unwrap_or_else(PoisonError::into_inner).get(&(pid, key))?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn all_sessions(&self) -> Vec<Addr<SessionActor>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A client's among [`crate::config::Limits::max_clients`], for as long as it is held.
pub struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nobody_serves(patience: Duration) -> Fault {
    Fault::fatal(SqlState::CANNOT_CONNECT_NOW, "no server is active")
        .with_detail(format!("None has become active within {patience:?}."))
        .with_hint("See \"lockstep status\".")
}
