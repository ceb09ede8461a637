//! What an application's connections have cost on the wires: which messages, and how many round trips in sequence.
//!
//! Round trips are counted by a logical clock and not by time. What the proxy sends carries the clock's reading; the
//! server's answer to it carries one more; when the answer reaches the proxy, the clock is set to at least that. So two
//! questions that are under way together cost one round trip, and two of which the second waits for the first's answer
//! cost two. A busy machine can only make a count too high (a question that was sent late looks as if it had waited), so
//! the least of a few is exact.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use lockstep_core::wire::frontend::{self, Parse};
use lockstep_core::wire::startup::{Startup, take_startup};
use lockstep_core::wire::take_frame;

const LIMIT: usize = i32::MAX as usize;

/// A message to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The server's position in the cluster.
    pub node: usize,
    pub tag: u8,
    /// The SQL of a Query or a Parse.
    pub sql: Option<String>,
}

#[derive(Debug, Default)]
struct Ledger {
    clock: usize,
    messages: Vec<Message>,
}

/// Listens to all wires of a cluster, but only to the connections of one user.
#[derive(Debug, Clone)]
pub struct Tap {
    user: &'static str,
    ledger: Arc<Mutex<Ledger>>,
}

/// What was heard between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub round_trips: usize,
    pub messages: Vec<Message>,
}

impl Heard {
    /// The texts that one server was sent, in order.
    pub fn texts(&self, node: usize) -> Vec<&str> {
        self.messages.iter().filter(|m| m.node == node).filter_map(|m| m.sql.as_deref()).collect()
    }

    /// The types of the messages that one server was sent, in order.
    pub fn tags(&self, node: usize) -> String {
        self.messages.iter().filter(|m| m.node == node).map(|m| char::from(m.tag)).collect()
    }
}

impl Tap {
    pub fn on(user: &'static str) -> Self {
        Self { user, ledger: Arc::default() }
    }

    /// What `action` costs. Nothing else of the user's may be under way.
    pub fn hear(&self, action: impl FnOnce()) -> Heard {
        let before = {
            let mut ledger = self.ledger();
            ledger.messages.clear();
            ledger.clock
        };
        action();
        let mut ledger = self.ledger();
        Heard { round_trips: ledger.clock - before, messages: std::mem::take(&mut ledger.messages) }
    }

    /// A connection to this server begins.
    pub fn connection(&self, node: usize) -> Ear {
        Ear { tap: self.clone(), node, line: Arc::default() }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no thread of a relay panics")
    }
}

#[derive(Debug, Default)]
struct Line {
    /// What has come from the proxy and is no whole message yet.
    up: BytesMut,
    /// Whether it is the user's, when its startup packet has told.
    counts: Option<bool>,
    /// The latest clock reading that has reached the server.
    arrived: usize,
}

/// One connection as the tap hears it.
#[derive(Debug, Clone)]
pub struct Ear {
    tap: Tap,
    node: usize,
    line: Arc<Mutex<Line>>,
}

impl Ear {
    /// The proxy has sent this; the clock reading that travels with it.
    pub fn sent(&self, bytes: &[u8]) -> usize {
        let mut line = self.line();
        let mut ledger = self.tap.ledger();
        line.up.extend_from_slice(bytes);
        if line.counts.is_none() {
            line.counts = self.user_of(&mut line.up);
        }
        while line.counts == Some(true)
            && let Ok(Some(frame)) = take_frame(&mut line.up, LIMIT)
        {
            let sql = match frame.tag {
                frontend::QUERY => frontend::read_query(frame.body()).ok(),
                frontend::PARSE => Parse::read(frame.body()).ok().map(|parse| parse.sql),
                _ => None,
            };
            let sql = sql.map(|text| String::from_utf8_lossy(&text).into_owned());
            ledger.messages.push(Message { node: self.node, tag: frame.tag, sql });
        }
        ledger.clock
    }

    /// The server has been given what carries this reading.
    pub fn delivered(&self, reading: usize) {
        let mut line = self.line();
        line.arrived = line.arrived.max(reading);
    }

    /// The server has answered; the reading that travels with the answer.
    pub fn answered(&self) -> usize {
        self.line().arrived + 1
    }

    /// The proxy is given an answer that carries this reading.
    pub fn heard(&self, reading: usize) {
        if self.line().counts == Some(true) {
            let mut ledger = self.tap.ledger();
            ledger.clock = ledger.clock.max(reading);
        }
    }

    /// Whether this is the user's connection. What is not is not looked at any further.
    fn user_of(&self, up: &mut BytesMut) -> Option<bool> {
        let parameters = match take_startup(up) {
            Ok(None) => return None,
            Ok(Some(Startup::Session { parameters, .. })) => parameters,
            Ok(Some(_)) | Err(_) => Vec::new(),
        };
        Some(parameters.iter().any(|(name, value)| name == "user" && value == self.tap.user))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no thread of a relay panics")
    }
}
