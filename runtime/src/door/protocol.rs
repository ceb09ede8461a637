//! What the command line and the proxy say to each other over the control socket: one JSON object a line. The client
//! sends one [`Request`]; the proxy answers with any number of [`Reply::Progress`] and then one final reply.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Reload,
    Verify(VerifyScope),
    /// Hold clients; give up when transactions are still open after so long.
    Pause {
        patience: Duration,
    },
    Resume,
    Recover {
        node: String,
    },
    Attach {
        node: String,
    },
    Detach {
        node: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Progress {
        /// The phase, such as `base backup`.
        phase: String,
        text: String,
        /// Done and total, where there is a measure (bytes).
        done: Option<u64>,
        total: Option<u64>,
    },
    Status(Box<Status>),
    Verified(Box<Verified>),
    /// The configuration has been taken on; so many users may log in.
    Reloaded {
        users: usize,
    },
    /// The command did what it was asked; `text` says what is true now.
    Done {
        text: String,
    },
    /// It did not; the cluster is as it was unless `message` says otherwise.
    Failed {
        message: String,
        hint: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub cluster: String,
    pub version: String,
    pub epoch: u64,
    pub clients: usize,
    /// Statements that could not be replicated exactly and were allowed, since the start.
    #[serde(default)]
    pub unsafe_statements: u64,
    /// Clients are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStatus>,
    /// Why clients are not served here, by `[guard]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// Why a change of the membership cannot be written down, for which commits wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten: Option<String>,
    pub nodes: Vec<NodeStatus>,
    /// Who is being compared before it may come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparing: Option<Comparing>,
    /// The last comparison in the background, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub: Option<Scrubbed>,
}

/// A comparison that decides which nodes come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparing {
    pub nodes: Vec<String>,
    pub leader: String,
    pub progress: String,
    /// It is the cluster's first: clients are let in when it has ended.
    pub clients_wait: bool,
}

/// A pause of an operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// RFC 3339, UTC: since when nothing has been under way. Absent while transactions finish.
    pub since: Option<String>,
}

/// What a comparison in the background came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// RFC 3339, UTC.
    pub finished: String,
    /// `equal`, `differs` or `failed`.
    pub result: String,
    pub tables: usize,
    pub rows: u64,
    pub seconds: u64,
    /// The first few differences, or why it failed.
    pub found: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub address: String,
    /// `leader`, `follower` or `none`.
    pub role: String,
    pub state: String,
    /// RFC 3339, UTC.
    pub since: String,
    pub reason: String,
    pub weight: u32,
}

/// What `verify` compares; everything by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyScope {
    pub database: Option<String>,
    /// `name` or `schema.name`; empty means all, and definitions and sequences too.
    pub tables: Vec<String>,
    /// As the command line takes it.
    pub rate: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verified {
    pub databases: usize,
    pub tables: usize,
    pub rows: u64,
    pub nodes: Vec<String>,
    /// One sentence for each difference; empty means equal.
    pub differences: Vec<String>,
    /// What could not be compared, and why: it is not shown to be equal.
    #[serde(default)]
    pub unread: Vec<String>,
    /// Nodes that differ from the first.
    #[serde(default)]
    pub differing: Vec<String>,
    /// The longest time for which commits were held, and how often they were.
    #[serde(default)]
    pub held_ms: f64,
    #[serde(default)]
    pub holds: u32,
    #[serde(default)]
    pub seconds: f64,
}

impl Verified {
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.unread.is_empty()
    }
}
