//! Follower connections of one arbiter: borrowed for one batch, never held while something else is waited for.
//!
//! So a pool cannot deadlock. How many are in use at once is bounded by the arbiter's commit slots; how many idle ones are
//! kept is bounded here.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};

use bytes::{Bytes, BytesMut};
use lockstep_core::auth::{KeyCache, NodeKey};
use lockstep_core::effect::TemplateId;
use lockstep_core::id::NodeId;
use lockstep_core::session::Settings;

use super::link::{self, Greeting, Link, LinkFault};
use crate::config;

/// Idle follower connections that an arbiter keeps, over all nodes, databases and roles.
const IDLE: usize = 64;

/// Connections that can stand for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    pub node: NodeId,
    pub database: String,
    pub user: String,
    /// Text values come from the leader in the client's encoding, and go on in it.
    pub encoding: Bytes,
    /// What a command's text depends on; none for effects.
    pub settings: Settings,
}

#[derive(Debug)]
pub struct Follower {
    pub kind: Kind,
    pub link: Link,
    /// Statements that are prepared on this connection.
    pub known: HashSet<TemplateId>,
    /// A batch was played on it, of which the COMMIT is missing.
    pub open: bool,
}

impl Follower {
    /// Whatever a connection has to say of which nothing was asked is a reason not to use it.
    pub fn is_quiet(&mut self) -> bool {
        self.link.peer.is_quiet(&mut BytesMut::new()) && self.link.rest.is_empty()
    }
}

#[derive(Debug, Default)]
pub struct Pool {
    idle: VecDeque<Follower>,
    counts: HashMap<Kind, usize>,
}

impl Pool {
    /// An idle connection that its server has not closed.
    pub fn take(&mut self, kind: &Kind) -> Option<Follower> {
        while self.counts.get(kind).is_some_and(|n| *n > 0) {
            let at = self.idle.iter().rposition(|f| f.kind == *kind)?;
            let mut follower = self.idle.remove(at)?;
            self.forget(kind);
            if follower.is_quiet() {
                return Some(follower);
            }
        }
        None
    }

    pub fn put(&mut self, follower: Follower) {
        if follower.open || !follower.kind.settings.is_empty() {
            return;
        }
        if self.idle.len() >= IDLE
            && let Some(oldest) = self.idle.pop_front()
        {
            self.forget(&oldest.kind);
        }
        *self.counts.entry(follower.kind.clone()).or_default() += 1;
        self.idle.push_back(follower);
    }

    /// Closes the idle connections to a database.
    pub fn vacate(&mut self, database: &str) {
        self.keep(|kind| kind.database != database);
    }

    /// Closes the idle connections to a node.
    pub fn leave(&mut self, node: NodeId) {
        self.keep(|kind| kind.node != node);
    }

    fn keep(&mut self, what: impl Fn(&Kind) -> bool) {
        self.idle.retain(|follower| what(&follower.kind));
        self.counts.retain(|kind, _| what(kind));
    }

    fn forget(&mut self, kind: &Kind) {
        if let Some(count) = self.counts.get_mut(kind) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(kind);
            }
        }
    }
}

/// What a follower's session must have whatever the role's or the database's own settings are: effects are played under
/// the same conditions everywhere, and never against a time-out.
const PINNED: [(&str, &str); 15] = [
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("standard_conforming_strings", "on"),
    ("application_name", "lockstep follower"),
    ("client_min_messages", "error"),
];

pub async fn dial(
    node: &config::Node,
    kind: Kind,
    key: &NodeKey,
    keys: &RefCell<KeyCache>,
) -> Result<Follower, LinkFault> {
    let mut parameters: Vec<(Bytes, Bytes)> = PINNED
        .iter()
        .map(|(name, value)| (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())))
        .collect();
    parameters.push((Bytes::from_static(b"database"), kind.database.clone().into()));
    parameters.push((Bytes::from_static(b"client_encoding"), kind.encoding.clone()));
    parameters.extend(kind.settings.iter().cloned());
    let greeting = Greeting { user: &kind.user.clone(), key, parameters };
    let link = link::dial(node, greeting, keys).await?;
    Ok(Follower { kind, link, known: HashSet::new(), open: false })
}
