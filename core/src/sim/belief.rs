//! What a client believes of its advisory locks, and which it asks for next.

use std::collections::BTreeMap;

use super::rng::Rng;
use super::sql::{Advisory, Span};
use super::workload::{Meaning, Request};
use crate::plan::kept::Locking;

/// Locks that everybody wants.
const KEYS: usize = 2;

#[derive(Debug)]
pub(super) struct Beliefs {
    /// `None`: it has nothing to do with such locks.
    chance: Option<Rng>,
    of_session: BTreeMap<i64, Belief>,
    of_transaction: BTreeMap<i64, Belief>,
    /// The answer to the call under way.
    yes: bool,
}

/// A lock that it was told it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belief {
    pub key: i64,
    pub times: usize,
    /// It was told first at this moment.
    pub since: u64,
}

impl Beliefs {
    pub(super) fn new(chance: Option<Rng>) -> Self {
        Self { chance, of_session: BTreeMap::new(), of_transaction: BTreeMap::new(), yes: false }
    }

    /// A call to be made before anything else.
    pub(super) fn call(&mut self, in_block: bool) -> Option<Request> {
        let rng = self.chance.as_mut()?;
        if !rng.one_in(3) {
            return None;
        }
        let key = rng.below(KEYS) as i64;
        let had = rng.below(self.of_session.len());
        let had = self.of_session.keys().nth(had).copied();
        let (does, key, span) = match (rng.below(6), had) {
            (0 | 1, Some(had)) => (Locking::LetsGo, had, Span::Session),
            (0 | 1, None) | (2, _) => (Locking::Takes, key, Span::Session),
            (3, _) if in_block => (Locking::Takes, key, Span::Transaction),
            (4, _) if in_block => (Locking::Tries, key, Span::Transaction),
            _ => (Locking::Tries, key, Span::Session),
        };
        let call = Advisory { does, key, span };
        let mut request = Request::one(&text(call), Meaning::Lock(call));
        request.simple = rng.one_in(2);
        Some(request)
    }

    /// What it is about to let go it relies on no longer.
    pub(super) fn asks(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Lock(Advisory { does: Locking::LetsGo, key, .. }) => {
                self.of_session.entry(key).and_modify(|belief| belief.times -= 1);
                self.of_session.retain(|_, belief| belief.times > 0);
            }
            other if other.lets_locks_go() => self.of_transaction.clear(),
            _ => {}
        }
    }

    pub(super) fn answer(&mut self, value: &[u8]) {
        self.yes = value == b"t";
    }

    pub(super) fn complete(&mut self, call: Advisory, now: u64) -> Result<(), String> {
        let Advisory { does, key, span } = call;
        match does {
            Locking::LetsGo if !self.yes => return Err(format!("it was told that it does not have lock {key}")),
            Locking::LetsGo => return Ok(()),
            Locking::Tries if !self.yes => return Ok(()),
            _ => {}
        }
        let beliefs = if span == Span::Session { &mut self.of_session } else { &mut self.of_transaction };
        beliefs.entry(key).or_insert(Belief { key, times: 0, since: now }).times += 1;
        Ok(())
    }

    /// The transaction is over, or has failed.
    pub(super) fn transaction_ends(&mut self) {
        self.of_transaction.clear();
    }

    pub(super) fn session_ends(&mut self) {
        self.of_session.clear();
        self.of_transaction.clear();
    }

    /// `in_block`: the server has the client's transaction.
    pub(super) fn all(&self, in_block: bool) -> Vec<Belief> {
        let of_transaction = self.of_transaction.values().filter(|_| in_block);
        self.of_session.values().chain(of_transaction).copied().collect()
    }
}

fn text(Advisory { does, key, span }: Advisory) -> String {
    let kind = if span == Span::Transaction { "xact_" } else { "" };
    let name = match does {
        Locking::Takes => format!("pg_advisory_{kind}lock"),
        Locking::Tries => format!("pg_try_advisory_{kind}lock"),
        Locking::LetsGo | Locking::LetsAllGo => "pg_advisory_unlock".to_owned(),
    };
    format!("SELECT {name}({key})")
}
