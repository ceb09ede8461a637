//! Typed settings that the runtime needs. Reading files is the command line's business (`cli/src/config`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lockstep_core::cluster::Configured;
use lockstep_core::journal::Outlives;
use lockstep_core::plan::Policy;
use lockstep_core::unit::stall::Strangers;

use crate::roster::Roster;

#[derive(Debug, Clone)]
pub struct Config {
    /// The file that this came from; part of every remedy that names a setting.
    pub file: PathBuf,
    /// It waits while another proxy serves. Said on the command line.
    pub standby: bool,
    pub listen: Listen,
    pub limits: LiveLimits,
    pub control: Control,
    pub cluster: Cluster,
    pub service: Service,
    pub auth: Auth,
    pub health: LiveHealth,
    pub replication: Replication,
    pub journal: Journal,
    pub guard: Option<Guard>,
    /// In the order of the file; those that come while the proxy serves come after them, and those that have gone keep their
    /// place: the position is the node's id. At least one.
    pub nodes: Roster<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    /// Directory of a Unix socket `.s.PGSQL.<port>`, as libpq looks for it.
    pub unix_directory: Option<PathBuf>,
}

/// What a client may ask for, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients beyond this get 53300.
    pub max_clients: usize,
    /// How long a client may take to log in.
    pub authentication_timeout: Duration,
    /// How long a client waits for a server when there is none.
    pub hold_timeout: Duration,
    /// How long a transaction may wait for its client's next statement; `None`: for ever.
    pub idle_in_transaction_timeout: Option<Duration>,
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

/// Settings of the moment: a reload changes them for all who look.
#[derive(Debug, Clone)]
pub struct Live<T>(Arc<ArcSwap<T>>);

pub type LiveHealth = Live<Health>;
pub type LiveLimits = Live<Limits>;

impl<T: Copy> Live<T> {
    pub fn new(settings: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    pub fn now(&self) -> T {
        **self.0.load()
    }

    pub fn set(&self, settings: T) {
        self.0.store(Arc::new(settings));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    /// So long may a small commit take while the node answers otherwise. Disks stand still for seconds and go on.
    pub disk_timeout: Duration,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Journal {
    pub outlives: Outlives,
}

/// Clients are served only while a name points here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pub name: String,
    /// What counts as here; none: this machine's own.
    pub addresses: Vec<IpAddr>,
    pub interval: Duration,
    /// Rounds in a row without an answer, after which clients are not served any more.
    pub failures: u32,
    /// Who is asked; none: whom the system would ask.
    pub servers: Vec<SocketAddr>,
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
            ("journal", self.journal == other.journal),
            ("guard", self.guard == other.guard),
        ]
        .into_iter()
        .filter_map(|(section, same)| (!same).then_some(section))
        .collect()
    }
}

impl Node {
    /// What cannot change while it serves.
    pub fn unweighed(&self) -> (&str, &str, u16, &Option<Recovery>) {
        (&self.name, &self.host, self.port, &self.recovery)
    }

    pub fn configured(&self) -> Configured {
        Configured { name: self.name.clone(), address: self.address(), weight: self.weight }
    }

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
