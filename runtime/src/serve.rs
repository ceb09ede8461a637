//! The proxy as a whole: started, serving, stopped.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Arbiter;
use lockstep_core::auth::{Users, UsersFault};
use lockstep_core::cluster::intake::Place;
use tokio::task::JoinHandle;

use crate::cluster::{self, Running};
use crate::config::Config;
use crate::descriptors::{self, Room};
use crate::door::reload::Reloads;
use crate::guard;
use crate::listen::Doors;
use crate::server::Server;
use crate::session;
use crate::session::Control;
use crate::supervise::{Guardian, Life};

/// How long commits that are under way may take when a stop has waited for transactions long enough.
const LAST_COMMITS: Duration = Duration::from_secs(10);
/// From one look at who is still there to the next.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    #[error("the users file {} cannot be read: {error}", file.display())]
    UsersFile { file: PathBuf, error: io::Error },
    #[error("{}: {fault}", file.display())]
    Users { file: PathBuf, fault: UsersFault },
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Cluster(#[from] cluster::StartFault),
}

/// Why a changed configuration is not taken on. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    #[error(transparent)]
    Users(ServeFault),
    #[error("{} names nobody: everybody would be shut out; write a line user:secret for each user", .0.display())]
    Nobody(PathBuf),
    #[error("what has changed in [{}] needs a restart; while it serves, only [auth], [health], \
             max_clients and the times in [listen], the weights of nodes, and which nodes there are can change",
            .0.join("], ["))]
    Fixed(Vec<&'static str>),
    #[error("the nodes cannot change: {0}")]
    Nodes(String),
}

/// A proxy that serves. To be stopped with [`Service::drain`]; dropped, it leaves what a crash would leave.
pub struct Service {
    server: Arc<Server>,
    running: Running,
    accepting: JoinHandle<()>,
    arbiters: Vec<Arbiter>,
    address: SocketAddr,
    _guard: Option<Guardian>,
}

/// Starts everything. Must be called within an actix system.
pub async fn serve(config: Config) -> Result<Service, ServeFault> {
    let users = read_users(&config)?;
    let (listen, room) = (config.listen.address, room(&config));
    // Before anything is done on the nodes that would be in vain. Who comes early waits to be let in.
    let doors = Doors::open(&config.listen).await;
    let doors = doors.and_then(|doors| Ok((doors.address()?, doors)));
    let (address, doors) = doors.map_err(|error| ServeFault::Listen { address: listen, error })?;
    let running = cluster::start(config).await?;
    let server = Arc::new(Server::new(running.shared().clone(), users, room.clients));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arbiters: Vec<Arbiter> = (0..cores).map(|_| Arbiter::new()).collect();
    for arbiter in &arbiters {
        let (databases, server) = (server.shared().vacated.subscribe(), server.clone());
        arbiter.spawn_fn(|| {
            drop(tokio::task::spawn_local(session::vacate(databases, server)));
            drop(tokio::task::spawn_local(session::beat()));
        });
    }
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let guard = arbiters.first().and_then(|arbiter| start_guard(&server, arbiter));
    let accepting = tokio::task::spawn_local(doors.serve(server.clone(), handles, room.connections));
    Ok(Service { server, running, accepting, arbiters, address, _guard: guard })
}

/// Before anybody is let in: where the service is has to be found out first.
fn start_guard(server: &Arc<Server>, arbiter: &Arbiter) -> Option<Guardian> {
    let settings = server.config().guard.clone()?;
    server.shared().intake.is_at(Place::Unknown);
    let server = server.clone();
    let make = move || -> Life { Box::pin(guard::keep(server.clone(), settings.clone())) };
    Some(Guardian::start(&arbiter.handle(), "guard".to_owned(), Box::new(make)))
}

/// How many clients may be connected at once, for the open files that the system grants.
fn room(config: &Config) -> Room {
    let room = descriptors::room(descriptors::raise());
    let max_clients = config.limits.now().max_clients;
    if room.clients < max_clients {
        tracing::warn!(
            files = room.files,
            most = room.clients,
            max_clients,
            remedy = "set LimitNOFILE= in the unit, or `ulimit -Hn`, to 3 for each client and 96 more, or lower listen.max_clients",
            "fewer clients than max_clients can be let in, for want of open files"
        );
    }
    room
}

fn read_users(config: &Config) -> Result<Users, ServeFault> {
    let file = config.auth.users_file.clone();
    let text = std::fs::read_to_string(&file).map_err(|error| ServeFault::UsersFile { file: file.clone(), error })?;
    Users::parse(&text).map_err(|fault| ServeFault::Users { file, fault })
}

impl Service {
    /// Where clients are served; the port is a real one even if the configuration left it open.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Operators' wishes to take on a changed configuration; for the first who asks for them.
    pub fn reloads(&mut self) -> Option<Reloads> {
        self.running.reloads()
    }

    /// Takes on all of a changed configuration, or nothing of it: who may log in from now on, nodes and their weights, health
    /// settings and limits. It says how many users there are.
    pub async fn reload(&self, config: &Config) -> Result<usize, ReloadFault> {
        let unlike = self.server.config().fixed_sections_unlike(config);
        if !unlike.is_empty() {
            return Err(ReloadFault::Fixed(unlike));
        }
        let users = read_users(config).map_err(ReloadFault::Users)?;
        let count = users.len();
        if users.is_empty() {
            return Err(ReloadFault::Nobody(config.auth.users_file.clone()));
        }
        let nodes = config.nodes.iter().cloned().collect();
        self.server.cluster().configure(nodes).await.map_err(ReloadFault::Nodes)?;
        self.server.set_users(users);
        self.server.config().health.set(config.health.now());
        self.server.config().limits.set(config.limits.now());
        Ok(count)
    }

    /// Lets nobody in any more, lets sessions finish their transactions for as long as `patience`, ends those that are
    /// left, whose open transactions are rolled back, and notes that the stop was orderly.
    pub async fn drain(self, patience: Duration) {
        self.accepting.abort();
        self.server.shared().intake.stop();
        if !self.ask_to_leave(Control::Drain, patience).await {
            let clients = self.clients();
            tracing::warn!(clients, after = ?patience, "ending the sessions that have not finished their transactions");
            self.ask_to_leave(Control::End, LAST_COMMITS).await;
        }
        let unfinished = self.clients() > 0;
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        if unfinished {
            // A commit may have been cut off between two nodes: the next start has to compare them.
            tracing::error!("commits are still under way; the next start will compare the nodes");
            self.running.abandon().await;
        } else {
            self.running.stop().await;
        }
    }

    /// Whether nobody is left after `patience`. Asked again and again, for a session may just be coming in.
    async fn ask_to_leave(&self, how: Control, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        while self.clients() > 0 {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            for session in self.server.all_sessions() {
                session.do_send(how);
            }
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
        true
    }

    fn clients(&self) -> usize {
        self.server.shared().clients.load(Ordering::Relaxed)
    }
}
