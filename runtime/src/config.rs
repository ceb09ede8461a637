//! Typed settings that the runtime needs. Reading files is the command line's business (`cli/src/config`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lockstep_core::plan::Policy;
use lockstep_core::unit::stall::Strangers;

#[derive(Debug, Clone)]
pub struct Config {
    /// The file that this came from; part of every remedy that names a setting.
    pub file: PathBuf,
    pub listen: Listen,
    pub control: Control,
    pub cluster: Cluster,
    pub service: Service,
    pub auth: Auth,
    pub health: LiveHealth,
    pub replication: Replication,
    /// In the order of the file; the position is the node's id. At least one.
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    /// Directory of a Unix socket `.s.PGSQL.<port>`, as libpq looks for it.
    pub unix_directory: Option<PathBuf>,
    /// Clients beyond this get 53300.
    pub max_clients: usize,
    /// How long a client may take to log in.
    pub authentication_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub socket: PathBuf,
    pub http: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    pub state_dir: PathBuf,
}

/// The proxy's own connections.
#[derive(Clone, PartialEq, Eq)]
pub struct Service {
    pub user: String,
    pub password: Option<String>,
    /// Where lineage lives and where the service connects first.
    pub database: String,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("user", &self.user).field("database", &self.database).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    pub users_file: PathBuf,
}

/// The health settings of the moment: a reload changes them for all who look.
#[derive(Debug, Clone)]
pub struct LiveHealth(Arc<ArcSwap<Health>>);

impl LiveHealth {
    pub fn new(health: Health) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(health)))
    }

    pub fn now(&self) -> Health {
        **self.0.load()
    }

    pub fn set(&self, health: Health) {
        self.0.store(Arc::new(health));
    }
}

impl PartialEq for LiveHealth {
    fn eq(&self, other: &Self) -> bool {
        self.now() == other.now()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    /// So long may somebody's lock on a follower hold up a commit.
    pub lock_timeout: Duration,
    pub strangers: Strangers,
}

impl Health {
    /// After this time a node that does not answer counts as dead, whatever the interval.
    pub fn patience(&self) -> Duration {
        self.timeout * (self.retries + 1)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replication {
    pub policy: Policy,
    /// How often the active nodes are compared in the background; `None`: never.
    pub scrub: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// A host name, an IP address, or the directory of a Unix socket (starts with `/`).
    pub host: String,
    pub port: u16,
    pub weight: u32,
    pub recovery: Option<Recovery>,
}

impl Config {
    /// The sections that differ from another configuration's, but for what can change while it serves.
    pub fn fixed_sections_unlike(&self, other: &Self) -> Vec<&'static str> {
        [
            ("listen", self.listen == other.listen),
            ("control", self.control == other.control),
            ("cluster", self.cluster == other.cluster),
            ("service", self.service == other.service),
            ("replication", self.replication == other.replication),
            ("node", self.nodes == other.nodes),
        ]
        .into_iter()
        .filter_map(|(section, same)| (!same).then_some(section))
        .collect()
    }
}

impl Node {
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// How commands run on the node's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Prefix of every command, such as `["ssh", "postgres@alp"]`; empty for this machine.
    pub shell: Vec<String>,
    /// The user who owns the data directory, when the shell is root.
    pub run_as: Option<String>,
    pub data_directory: PathBuf,
    /// Directory of PostgreSQL's programs on that machine; `None`: found there.
    pub bin_directory: Option<PathBuf>,
    /// Replaces the built-in `pg_ctl stop`, `pg_basebackup`, `pg_ctl start`, each as one shell line.
    pub stop: Option<String>,
    pub backup: Option<String>,
    pub start: Option<String>,
}
