//! What the command line and the proxy say to each other over the control socket: one JSON object a line. The client
//! sends one [`Request`]; the proxy answers with any number of [`Reply::Progress`] and then one final reply.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Verify,
    Recover { node: String },
    Attach { node: String },
    Detach { node: String },
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
    Status(Status),
    Verified(Verified),
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
    pub nodes: Vec<NodeStatus>,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub databases: usize,
    pub tables: usize,
    pub rows: u64,
    pub nodes: Vec<String>,
    /// One sentence for each difference; empty means equal.
    pub differences: Vec<String>,
}
