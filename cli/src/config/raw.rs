//! The file as it is written: names, shapes and places, nothing checked against anything else.
//!
//! To add a setting: spell it here, give it its meaning in `resolve.rs`, its field in the runtime's `config.rs`, its
//! lines in `docs/configuration.md`. A setting of a later version stands in `error::LATER` until then.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::time::Time;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub listen: Listen,
    #[serde(default)]
    pub control: Control,
    pub cluster: Cluster,
    pub service: Service,
    pub auth: Auth,
    #[serde(default)]
    pub health: Health,
    #[serde(default)]
    pub replication: Replication,
    pub guard: Option<Guard>,
    #[serde(default)]
    pub journal: Journal,
    #[serde(default)]
    pub node: Vec<Node>,
}

/// What leads to a running proxy, whatever the rest of the file says.
#[derive(Debug, Deserialize)]
pub struct Way {
    control: Option<WayToSocket>,
    cluster: Option<WayToState>,
}

#[derive(Debug, Deserialize)]
struct WayToSocket {
    socket: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
struct WayToState {
    state_dir: Option<Spanned<PathBuf>>,
}

impl Way {
    /// `control.socket` and `cluster.state_dir`.
    pub fn parts(self) -> (Option<Spanned<PathBuf>>, Option<Spanned<PathBuf>>) {
        (self.control.and_then(|control| control.socket), self.cluster.and_then(|cluster| cluster.state_dir))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: Spanned<String>,
    pub unix_socket: Option<Spanned<PathBuf>>,
    pub max_clients: Option<Spanned<i64>>,
    pub authentication_timeout: Option<Spanned<Time>>,
    pub hold_timeout: Option<Spanned<Time>>,
    pub idle_in_transaction_timeout: Option<Spanned<Time>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub socket: Option<Spanned<PathBuf>>,
    pub http: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: Spanned<String>,
    pub state_dir: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub user: Spanned<String>,
    pub password: Option<String>,
    pub database: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub users_file: Spanned<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub interval: Option<Spanned<Time>>,
    pub timeout: Option<Spanned<Time>>,
    pub retries: Option<Spanned<i64>>,
    pub disk_timeout: Option<Spanned<Time>>,
    pub lock_timeout: Option<Spanned<Time>>,
    pub strangers: Option<Strangers>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strangers {
    End,
    Degrade,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    pub scrub: Option<Spanned<Time>>,
    pub r#unsafe: Option<Inexact>,
    pub capture: Option<Capturing>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inexact {
    Reject,
    Warn,
    Allow,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capturing {
    Auto,
    Off,
    All,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    pub sync: Option<Sync>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    Os,
    Commit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub name: Spanned<String>,
    #[serde(default)]
    pub addresses: Vec<Spanned<String>>,
    pub interval: Option<Spanned<Time>>,
    pub failures: Option<Spanned<i64>>,
    #[serde(default)]
    pub servers: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub name: Spanned<String>,
    pub address: Spanned<String>,
    pub weight: Option<Spanned<i64>>,
    pub recovery: Option<Recovery>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    #[serde(default)]
    pub shell: Vec<String>,
    pub run_as: Option<Spanned<String>>,
    pub data_directory: Spanned<PathBuf>,
    pub bin_directory: Option<Spanned<PathBuf>>,
    pub stop: Option<String>,
    pub backup: Option<String>,
    pub start: Option<String>,
}
