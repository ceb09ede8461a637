//! What a statement's success changes.

use std::sync::Arc;

use bytes::Bytes;

use super::role::Role;
use super::{AfterDrain, Block, Session, Settings};
use crate::auth::md5::Md5Digest;
use crate::auth::scram::{ITERATIONS, Keys};
use crate::catalog::SchemaEpoch;
use crate::fault::{Fault, SqlState};
use crate::plan::modes::Modes;
use crate::plan::{Action, Ddl, Marks, Plan, Transaction, Write};
use crate::quote::quote_literal;
use crate::reply::{Done, Note, Rows, Share, Source, WriteExecution};
use crate::unit::Order;
use crate::wire::backend::Status;

impl Session {
    pub(super) fn write_execution(
        &mut self,
        write: &Arc<Write>,
        marks: Marks,
        source: Source,
        share: Share,
    ) -> Box<WriteExecution> {
        self.writes(source.planned_in);
        let done = Done { marks, ..Done::default() };
        let rows = Rows::default();
        Box::new(WriteExecution { write: write.clone(), rows, source, done, copies: false, share })
    }

    pub(super) fn apply(&mut self, done: &Done) {
        // A lock of the session would be taken twice; text that is watched is known to come again.
        let locks = done.marks.locks && self.unit.watch.is_none();
        if locks || !done.is_of_the_unit() {
            self.runs_once();
        }
        let marks = done.marks;
        if done.waived.is_some() {
            self.waived();
        }
        if let Some(source) = &done.source {
            self.check_source(Source::clone(source));
        }
        self.unit.depends |= marks.depends;
        self.unit.defaults |= marks.defaults;
        if marks.holdable {
            self.unit.order = Order::LeaderFirst;
        }
        self.unit.learned.extend(done.memory.as_deref().cloned());
        if let Some(again) = &done.again {
            self.would_tell(again);
        }
        if marks.settings {
            self.unit.renames = true;
            self.forget_names();
        }
        if marks.temporary {
            self.temporary = true;
            self.own_catalog = None;
            self.search_path = None;
        }
        match &done.note {
            Note::None | Note::MakesObject(_) => {}
            Note::Transaction(transaction) => self.apply_transaction(transaction),
            Note::Schema(sql) => self.apply_schema(sql),
            note @ (Note::Prepared { .. } | Note::Deallocated { .. }) => self.note_names(note),
            Note::Discarded { all } => self.apply_discard(*all),
        }
    }

    /// What success of a statement that is the leader's alone means.
    pub(super) fn note_for(&self, plan: &Arc<Plan>, text: &[u8], planned_in: SchemaEpoch) -> Note {
        match &plan.action {
            Action::Transaction(transaction) => Note::Transaction(transaction.clone()),
            Action::Deallocate { name } => Note::Deallocated { name: name.clone() },
            Action::Discard { all } => Note::Discarded { all: *all },
            Action::Prepare { name, .. } => Note::Prepared {
                name: name.clone().into_bytes().into(),
                statement: self.prepared(text, planned_in, plan),
            },
            _ => Note::None,
        }
    }

    fn apply_discard(&mut self, all: bool) {
        self.own_catalog = None;
        self.forget_names();
        if all {
            self.statements.clear();
            self.temporary = false;
            self.locks.gone();
            self.memory.clear();
            self.serializable_by_default = false;
        }
    }

    fn apply_transaction(&mut self, transaction: &Transaction) {
        match transaction {
            Transaction::Begin { modes, .. } => {
                self.told_block = Block::Explicit;
                self.enter(*modes);
            }
            Transaction::Commit { chain } | Transaction::Rollback { chain } => {
                if matches!(transaction, Transaction::Commit { .. }) && self.status != Status::Failed {
                    self.learn();
                }
                if matches!(transaction, Transaction::Rollback { .. }) {
                    self.instead = None;
                }
                self.end_unit_before(*chain);
                self.told_block = if *chain { Block::Explicit } else { Block::None };
                self.recovered(if *chain { Status::InTransaction } else { Status::Idle });
            }
            Transaction::Savepoint { name } => {
                let (mark, learned) = (self.unit.log.mark(), self.unit.learned.len());
                self.unit.diary.savepoint(name.clone(), mark, learned);
            }
            Transaction::Release { name } => self.unit.diary.release(name),
            Transaction::RollbackTo { name } => {
                self.recovered(Status::InTransaction);
                self.forget_names();
                self.own_catalog = None;
                self.unit.objects.rolled_back();
                // The server has them fire again that had fired in what is rolled back, for what was changed before.
                self.unit.unflushed |= self.unit.captured.is_some();
                self.forget_triggers();
                if let Some((mark, learned)) = self.unit.diary.roll_back_to(name) {
                    self.unit.learned.truncate(learned);
                    self.cut(mark);
                }
            }
            Transaction::Modes { modes, session: true } => {
                self.serializable_by_default = modes.serializable().unwrap_or(self.serializable_by_default);
                // It may be rolled back, or reset to what is not known: it is asked before the next write.
                self.unit.renames = true;
                self.forget_names();
            }
            Transaction::Modes { modes, session: false } => self.enter(*modes),
        }
    }

    /// The transaction that had failed is over, which no ReadyForQuery has told yet: what follows in the same segment has
    /// effects again.
    fn recovered(&mut self, now: Status) {
        if self.status == Status::Failed {
            self.status = now;
        }
    }

    /// Only the leader can judge a serializable transaction: it commits first.
    fn enter(&mut self, modes: Modes) {
        self.unit.modes.then(modes);
        match modes.serializable() {
            Some(true) => self.unit.order = Order::LeaderFirst,
            Some(false) => self.unit.order = Order::FollowersFirst,
            None => {}
        }
    }

    pub(super) fn cut(&mut self, mark: crate::unit::Mark) {
        // What set them may be among what is cut.
        self.unit.settings.clear();
        self.unit.role = self.unit.role.is_some().then(String::new);
        if let Some(length) = self.unit.log.cut(mark) {
            self.actions.push_back(super::Action::CutSpill(length));
        }
    }

    /// DDL has run on the leader: its text goes into the log, after the settings under which it ran.
    pub(super) fn apply_schema(&mut self, sql: &str) {
        self.enter_schema();
        self.unit.log.schema_change(sql);
        self.forget_names();
        self.spill();
    }

    /// What goes into the log before DDL that has run on the leader.
    pub(super) fn enter_schema(&mut self) {
        let settings = self.settings.take().unwrap_or_default();
        self.note_encoding();
        if let Some(role) = setting(&settings, "role") {
            self.role = Role::Set(role);
        }
        self.note_role();
        let text = settings_text(&settings);
        if text != self.unit.settings {
            if !text.is_empty() {
                self.unit.log.schema_change(&text);
            }
            self.unit.settings = text;
        }
        self.unit.own_schema = true;
        self.unit.sequences = true;
        self.own_catalog = None;
    }

    /// The DDL's text as all nodes get it, when the settings under which it runs are known; else they are asked first.
    pub(super) fn ready_for_ddl(&mut self, ddl: &Ddl, text: &Bytes, then: AfterDrain) -> Option<Arc<str>> {
        if !self.knows_settings(then) {
            return None;
        }
        match std::str::from_utf8(text) {
            Ok(text) => Some(self.with_verifier(ddl, text)),
            Err(_) => {
                let why = "this DDL is refused: it has characters that are not UTF-8";
                self.poison(
                    Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Set client_encoding to UTF8."),
                    0,
                );
                None
            }
        }
    }
}

impl Session {
    /// Whether the leader has told its settings; if not it is asked, and `then` is handled when it has.
    pub(super) fn knows_settings(&mut self, then: AfterDrain) -> bool {
        if self.settings.is_none() {
            self.ask_settings();
            self.drain(then);
        }
        self.settings.is_some()
    }

    /// The text with a verifier in place of a password in clear: each server would salt the password in its own way.
    fn with_verifier(&self, ddl: &Ddl, text: &str) -> Arc<str> {
        let Some(literal) = &ddl.password else { return text.into() };
        let is_md5 = |row: &Vec<Option<Bytes>>| matches!(&row[..], [Some(name), Some(value)] if name == "password_encryption" && value == "md5");
        let verifier = if self.settings.iter().flatten().any(is_md5) {
            Md5Digest::of(&literal.role, &literal.password).verifier()
        } else {
            Keys::derive(&literal.password, &self.salt, ITERATIONS).verifier(&self.salt, ITERATIONS).to_text()
        };
        let (before, after) = (&text[..literal.span.start], &text[literal.span.end..]);
        format!("{before}{}{after}", quote_literal(&verifier)).into()
    }
}

/// What followers get of DDL that has run on the leader.
pub(super) fn for_followers(text: &Arc<str>, marks: Marks) -> Arc<str> {
    if !marks.upkeep {
        return text.clone();
    }
    // A table may be gone by now that the leader has passed over, and any other failure is worth no node.
    let body = format!(
        "BEGIN EXECUTE {}; EXCEPTION WHEN OTHERS THEN \
         RAISE LOG 'this server could not do what the leader has done: %', SQLERRM; END",
        quote_literal(text)
    );
    format!("DO LANGUAGE plpgsql {}", quote_literal(&body)).into()
}

fn setting(rows: &[Vec<Option<Bytes>>], name: &str) -> Option<String> {
    let row = rows.iter().find(|row| row.first().is_some_and(|n| n.as_deref() == Some(name.as_bytes())))?;
    String::from_utf8(row.get(1)?.as_ref()?.to_vec()).ok()
}

/// Matters to CREATE TABLESPACE alone; the role that DDL in a transaction is run by may not be one that can set it.
pub(super) const OF_UTILITIES: &str = "allow_in_place_tablespaces";

/// It is told by itself, before the settings.
const ROLE: &str = "role";

/// A function's body may name temporary tables, which followers do not have; the leader has checked it.
const BODY_CHECK: &str = "check_function_bodies";

/// The settings of the leader's session for a follower connection that runs its command.
pub(super) fn connection_settings(rows: Option<Vec<Vec<Option<Bytes>>>>) -> Settings {
    let rows = rows.into_iter().flatten();
    rows.filter_map(|row| match &row[..] {
        [Some(name), Some(value)] if name != ROLE => Some((name.clone(), value.clone())),
        _ => None,
    })
    .collect()
}

/// One statement that gives a follower's transaction the settings of the leader's session.
fn settings_text(rows: &[Vec<Option<Bytes>>]) -> String {
    let calls: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let name = std::str::from_utf8(row.first()?.as_ref()?).ok()?;
            let value = std::str::from_utf8(row.get(1)?.as_ref()?).ok()?;
            if [ROLE, OF_UTILITIES, BODY_CHECK].contains(&name) {
                return None;
            }
            Some(format!("pg_catalog.set_config({}, {}, true)", quote_literal(name), quote_literal(value)))
        })
        .collect();
    let unchecked = format!("pg_catalog.set_config('{BODY_CHECK}', 'off', true)");
    if calls.is_empty() { String::new() } else { format!("SELECT {}, {unchecked}", calls.join(", ")) }
}
