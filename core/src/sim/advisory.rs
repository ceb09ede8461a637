//! Advisory locks on a model node, of sessions and of transactions.

use bytes::Bytes;

use super::evaluate::error;
use super::select::Stop;
use super::sql::{Advisory, Span, Statement};
use super::store::{Store, Tx, TxId};
use crate::plan::kept::Locking;

/// One that is held, as often as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    key: i64,
    session: TxId,
    /// `None`: to the end of the session.
    tx: Option<TxId>,
}

/// Those of a node.
#[derive(Debug, Default)]
pub(super) struct Locks(Vec<Held>);

impl Locks {
    fn holder(&self, key: i64, but: TxId) -> Option<TxId> {
        self.0.iter().find(|held| held.key == key && held.session != but).map(|held| held.session)
    }

    fn lets_go(&mut self, lost: impl Fn(&Held) -> bool) -> bool {
        let at = self.0.iter().rposition(lost);
        at.map(|at| self.0.remove(at)).is_some()
    }

    pub(super) fn times(&self, key: i64, session: TxId) -> usize {
        self.0.iter().filter(|held| held.key == key && held.session == session).count()
    }

    /// True: it had some.
    pub(super) fn session_ends(&mut self, session: TxId) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.session != session);
        self.0.len() < before
    }

    /// The last that it has taken of this key.
    pub(super) fn undo(&mut self, key: i64, tx: TxId) {
        self.lets_go(|held| held.key == key && held.tx == Some(tx));
    }
}

/// `SELECT pg_advisory_lock(1)`, and the others of this kind; and what the core asks a new leader for.
pub(super) fn read(text: &str) -> Option<Statement> {
    let text = text.replace("/*", "").replace("*/", "");
    let call = text.strip_prefix("SELECT ")?;
    if let Some(all) = call.strip_prefix("1 OPERATOR(pg_catalog./) (") {
        let all = all.strip_suffix(")::pg_catalog.int4")?;
        return all.split(" AND ").map(again).collect::<Option<_>>().map(Statement::TakeAgain);
    }
    let (name, key) = call.strip_suffix(')')?.split_once('(')?;
    let (span, name) = match name.strip_suffix("_xact_lock") {
        Some(name) => (Span::Transaction, format!("{name}_lock")),
        None => (Span::Session, name.to_owned()),
    };
    let does = match &*name {
        "pg_advisory_lock" => Locking::Takes,
        "pg_try_advisory_lock" => Locking::Tries,
        "pg_advisory_unlock" => Locking::LetsGo,
        _ => return None,
    };
    Some(Statement::Advisory(Advisory { does, key: key.parse().ok()?, span }))
}

fn again(call: &str) -> Option<i64> {
    let key = call.strip_prefix("pg_catalog.pg_try_advisory_lock('")?;
    key.strip_suffix("'::pg_catalog.int8)")?.parse().ok()
}

impl Store {
    /// What the call gives.
    pub(super) fn advise(&mut self, tx: &mut Tx, session: TxId, call: Advisory) -> Result<Bytes, Stop> {
        let Advisory { does, key, span } = call;
        if does == Locking::LetsGo {
            let had = self.advisory.lets_go(|held| *held == Held { key, session, tx: None });
            self.releases += u64::from(had);
            return Ok(yes(had));
        }
        if let Some(holder) = self.advisory.holder(key, session) {
            return if does == Locking::Tries { Ok(yes(false)) } else { Err(Stop::Wait(holder)) };
        }
        let of_tx = Some(tx.id).filter(|_| span == Span::Transaction);
        self.advisory.0.push(Held { key, session, tx: of_tx });
        if of_tx.is_some() {
            tx.locked(key);
        }
        Ok(if does == Locking::Tries { yes(true) } else { Bytes::new() })
    }

    pub(super) fn take_again(&mut self, session: TxId, keys: &[i64]) -> Result<Bytes, Stop> {
        for key in keys {
            if self.advisory.holder(*key, session).is_some() {
                return Err(error("22012", "division by zero").into());
            }
            self.advisory.0.push(Held { key: *key, session, tx: None });
        }
        Ok(Bytes::from_static(b"1"))
    }
}

fn yes(yes: bool) -> Bytes {
    Bytes::from_static(if yes { b"t" } else { b"f" })
}
