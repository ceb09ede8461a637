//! Typed settings that the runtime needs. Reading files is the command line's business (`cli/src/config`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    /// The file that this came from; part of every remedy that names a setting.
    pub file: PathBuf,
    pub listen: Listen,
    pub control: Control,
    pub cluster: Cluster,
    pub service: Service,
    pub auth: Auth,
    pub health: Health,
    pub replication: Replication,
    /// In the order of the file; the position is the node's id. At least one.
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
pub struct Listen {
    pub address: SocketAddr,
    /// Directory of a Unix socket `.s.PGSQL.<port>`, as libpq looks for it.
    pub unix_directory: Option<PathBuf>,
    /// Clients beyond this get 53300.
    pub max_clients: usize,
    /// How long a client may take to log in.
    pub authentication_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Control {
    pub socket: PathBuf,
    pub http: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct Cluster {
    pub name: String,
    pub state_dir: PathBuf,
}

/// The proxy's own connections.
#[derive(Clone)]
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

#[derive(Debug, Clone)]
pub struct Auth {
    pub users_file: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Health {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Replication {
    /// How often the active nodes are compared in the background; `None`: never.
    pub scrub: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    /// A host name, an IP address, or the directory of a Unix socket (starts with `/`).
    pub host: String,
    pub port: u16,
    pub weight: u32,
    pub recovery: Option<Recovery>,
}

impl Node {
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// How commands run on the node's machine.
#[derive(Debug, Clone)]
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
