//! Advisory locks of the session, which outlive its transactions: the next leader is asked for them before all else.
//!
//! Invariant: as long as a session may hold such a lock it has its place among the [`heirs`](crate::heirs), idle or
//! not. So nobody is served by a new leader before it has its locks there. If it cannot have one of them, or it is not
//! known which it has, the connection ends, as it would with the server: the client must not go on in the belief that
//! it keeps others out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use crate::fault::{Fault, SqlState};
use crate::heirs::Heir;
use crate::id::NodeId;
use crate::journal::{Touched, Unknown};
use crate::limits;
use crate::plan::kept::Locking;
use crate::plan::{Memory, Plan};
use crate::reply::Own;
use crate::reply::kept::{self, Call, Given, Key, Lock, Locks};
use crate::wire::backend;
use crate::wire::notice::Fields;
use crate::wire::{Frame, Malformed};

/// A transaction's are among them while it is open.
const HELD: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks \
    WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";

/// What is known of the rows that such a session relies on.
const RELIES_ON: Touched = Touched::Unknown(Unknown::Statement);

#[derive(Debug, Default)]
pub(super) struct SessionLocks {
    held: Held,
    /// It may have others.
    unclear: bool,
    /// Something has run that may have taken some behind our back.
    pub may: bool,
    heir: Option<Heir>,
}

/// What a statement leaves with the session, should it succeed.
#[derive(Debug, Clone, Default)]
pub(super) struct Keeps {
    pub memory: Option<Box<(Memory, Arc<str>)>>,
    pub locks: Option<Box<Locks>>,
}

/// Each as often as it was taken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held(BTreeMap<Lock, usize>);

impl SessionLocks {
    /// Whether it may have locks of which it is not known what they are.
    pub fn are_unclear(&self) -> bool {
        self.unclear || self.may
    }

    fn are_none(&self) -> bool {
        self.held.0.is_empty() && !self.unclear
    }

    pub fn has_heir(&self) -> bool {
        self.heir.is_some()
    }

    /// Its connection has broken, and what is with its leader is not known.
    pub fn broke(&self) {
        if let Some(heir) = &self.heir {
            heir.broke(RELIES_ON);
        }
    }

    /// All were let go. Its place is kept up to the end of the segment, for another statement may be under way.
    pub fn gone(&mut self) {
        (self.held, self.unclear, self.may) = (Held::default(), false, false);
    }

    fn note(&mut self, call: &Call, answer: Option<&[u8]>) -> bool {
        if call.does == Locking::LetsAllGo {
            self.gone();
            return false;
        }
        let takes = self.held.note(call, answer);
        self.unclear |= self.held.0.values().sum::<usize>() > limits::LOCKS_TAKEN_AGAIN;
        takes
    }
}

impl Held {
    /// True: it has one more.
    fn note(&mut self, call: &Call, answer: Option<&[u8]>) -> bool {
        let Some(lock) = call.lock else { return false };
        let yes = matches!(answer, Some(b"t" | [1]));
        match call.does {
            Locking::Takes => *self.0.entry(lock).or_default() += 1,
            Locking::Tries if yes => *self.0.entry(lock).or_default() += 1,
            Locking::LetsGo if yes => {
                if let Some(times) = self.0.get_mut(&lock) {
                    *times -= 1;
                }
                self.0.retain(|_, times| *times > 0);
            }
            Locking::Tries | Locking::LetsGo | Locking::LetsAllGo => {}
        }
        matches!(call.does, Locking::Takes) || matches!(call.does, Locking::Tries) && yes
    }

    /// Takes them all, or divides by zero.
    fn again(&self) -> String {
        let calls: Vec<String> =
            self.0.iter().flat_map(|(lock, times)| std::iter::repeat_n(again(lock), *times)).collect();
        format!("SELECT 1 OPERATOR(pg_catalog./) ({})::pg_catalog.int4", calls.join(" AND "))
    }
}

/// It never waits: nobody else can have it.
fn again(Lock { key, shared }: &Lock) -> String {
    let shared = if *shared { "_shared" } else { "" };
    let key = match key {
        Key::One(key) => format!("'{key}'::pg_catalog.int8"),
        Key::Two(first, second) => format!("'{first}'::pg_catalog.int4, '{second}'::pg_catalog.int4"),
    };
    format!("pg_catalog.pg_try_advisory_lock{shared}({key})")
}

impl Session {
    pub(super) fn keeps(&self, plan: &Plan, given: Given<'_>) -> Keeps {
        let Some(kept) = &plan.kept else { return Keeps::default() };
        // What is remembered is text for us, in the client's encoding.
        let readable = self.client_encoding() == "UTF8";
        let memory = kept::settings(kept, given).filter(|_| readable).map(Box::new);
        Keeps { memory, locks: Locks::of(kept, given).map(Box::new) }
    }

    /// A statement is sent.
    pub(super) fn may_lock(&mut self, locks: &Locks) {
        if self.locks.heir.is_none() {
            self.locks.heir = Some(self.heirs.enter(self.leader));
        }
        self.locks.unclear |= *locks == Locks::Some;
    }

    /// It was sent: where it is not known which locks it leaves, the leader is asked whether it leaves any.
    pub(super) fn look_at_locks(&mut self, locks: bool) {
        if locks && self.locks.unclear {
            self.ask(HELD, Own::Locks);
        }
    }

    /// The leader's word on that. How often it has each that it has, nobody tells.
    pub(super) fn locks_counted(&mut self, rows: &[Vec<Option<bytes::Bytes>>]) {
        self.has_locked();
        match rows {
            [row] if matches!(&row[..], [Some(count)] if count == "0") => self.locks.gone(),
            // The answer to a statement before it may have said that there are none.
            _ => self.locks.unclear = true,
        }
    }

    /// The row that answers such calls. To do the same again would be to do it twice.
    pub(super) fn note_locks(&mut self, calls: &[Call], frame: &Frame) -> Result<(), Malformed> {
        let row = backend::read_data_row(frame.body())?;
        self.runs_once();
        for call in calls {
            let answer = row.get(call.column).and_then(Option::as_deref);
            if self.locks.note(call, answer) {
                self.has_locked();
            }
        }
        Ok(())
    }

    /// One whose connection has broken may have had the lock.
    pub(super) fn has_locked(&self) {
        self.heirs.commits(self.leader, || RELIES_ON);
    }

    /// All that was sent has been answered.
    pub(super) fn settle_locks(&mut self) {
        if self.locks.are_none() {
            self.locks.heir = None;
        }
    }

    /// There is another leader. Why the session cannot have its locks there.
    pub(super) fn locks_lost(&mut self, next: NodeId) -> Option<&'static str> {
        self.settle_locks();
        if self.locks.are_none() {
            return None;
        }
        if self.locks.unclear {
            return Some("it is not known which");
        }
        if self.lost.as_ref().is_some_and(|lost| lost.ended) {
            return Some("the server had let them go");
        }
        match &self.locks.heir {
            Some(heir) => heir.hindrance(next, &RELIES_ON),
            None => Some("they were not announced"),
        }
    }

    pub(super) fn take_locks_again(&mut self) {
        if !self.locks.are_none() {
            self.own_query(self.locks.held.again().as_bytes(), Own::TakeLocks);
        }
    }

    pub(super) fn locks_taken(&mut self, error: Option<&Fields>) {
        if let Some(error) = error {
            tracing::warn!(why = error.message(), "advisory locks of a session cannot be taken again");
            self.end_without_locks("somebody else has one of them");
        }
    }

    /// Whether it is in time with them.
    pub(super) fn locks_arrived(&self) -> bool {
        self.locks.heir.as_ref().is_none_or(|heir| heir.arrived(self.leader))
    }

    /// False: it has none.
    pub(super) fn ends_with_its_locks(&mut self, why: &str) -> bool {
        let has = !self.locks.are_none();
        if has {
            self.end_without_locks(why);
        }
        has
    }

    pub(super) fn end_without_locks(&mut self, why: &str) {
        let message =
            format!("the server that held this session's advisory locks has failed, and they are lost: {why}");
        self.end(
            &Fault::fatal(SqlState::ADMIN_SHUTDOWN, message).with_hint("Connect again, and take the locks again."),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Lock = Lock { key: Key::One(-7), shared: false };
    const SHARED: Lock = Lock { key: Key::Two(1, -2), shared: true };

    fn call(does: Locking, lock: Lock) -> Call {
        Call { column: 0, does, lock: Some(lock) }
    }

    #[test]
    fn a_lock_is_held_as_often_as_it_was_taken_and_an_answer_says_whether_it_was() {
        let mut held = Held::default();
        assert!(held.note(&call(Locking::Takes, LOCK), Some(b"")));
        assert!(held.note(&call(Locking::Tries, LOCK), Some(b"t")));
        assert!(held.note(&call(Locking::Tries, SHARED), Some(&[1])));
        assert!(!held.note(&call(Locking::Tries, SHARED), Some(b"f")));
        assert!(!held.note(&Call { lock: None, ..call(Locking::Takes, LOCK) }, None));
        assert_eq!(held.0, [(LOCK, 2), (SHARED, 1)].into());
        assert!(!held.note(&call(Locking::LetsGo, LOCK), Some(b"t")));
        held.note(&call(Locking::LetsGo, SHARED), Some(b"f"));
        held.note(&call(Locking::LetsGo, SHARED), Some(&[1]));
        held.note(&call(Locking::LetsGo, SHARED), Some(&[1]));
        assert_eq!(held.0, [(LOCK, 1)].into());
    }

    #[test]
    fn all_are_taken_again_or_none() {
        let held = Held([(LOCK, 2), (SHARED, 1)].into());
        let one = "pg_catalog.pg_try_advisory_lock('-7'::pg_catalog.int8)";
        let two = "pg_catalog.pg_try_advisory_lock_shared('1'::pg_catalog.int4, '-2'::pg_catalog.int4)";
        let expected = format!("SELECT 1 OPERATOR(pg_catalog./) ({one} AND {one} AND {two})::pg_catalog.int4");
        assert_eq!(held.again(), expected);
    }
}
