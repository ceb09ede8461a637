//! Statements that run text which functions make ([`crate::plan::watch`]): whether what they did is known in full.
//!
//! The leader compares what is counted before and behind, and says itself what is wrong; its word before is kept here too
//! and compared once more, for the text could have had the leader count anew in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::Session;
use super::capture::refuse;
use crate::fault::{Fault, SqlState};
use crate::plan::{Action, Script, watch};
use crate::reply::{Execution, Own, What};
use crate::wire::notice::Fields;

#[derive(Debug, Default)]
pub(super) struct Watching {
    /// What was counted before the statement.
    pub begun: Option<Bytes>,
    /// Tables that the last statement has changed unseen.
    changed: BTreeSet<String>,
    /// What must get our trigger for such.
    pub needs: Option<Arc<[String]>>,
}

impl Session {
    pub(super) fn watch(&mut self) {
        if let Some(watch) = self.unit.watch.clone() {
            self.ask(&watch.begins, Own::Watch);
        }
    }

    pub(super) fn end_watch(&mut self) {
        if let Some(watch) = self.unit.watch.clone() {
            self.ask(&watch.ends, Own::Watched);
        }
    }

    pub(super) fn watch_begins(&mut self, rows: &[Vec<Option<Bytes>>]) {
        self.capture.watching.begun = counted(rows);
    }

    pub(super) fn watched(&mut self, rows: &[Vec<Option<Bytes>>]) {
        let begun = self.capture.watching.begun.take();
        if begun.is_none() || begun != counted(rows) {
            let why = "this transaction is refused: text that it ran by EXECUTE has tampered with what is counted";
            self.doom(
                Fault::error(SqlState::FEATURE_NOT_SUPPORTED, why).with_hint("Do not call functions of the proxy."),
            );
        }
        if self.segment.script.is_some() {
            // Its answer was held back, so that it could be run again.
            self.runs_once();
        }
        self.capture.watching.changed.clear();
        self.captured_all();
    }

    /// Whether a statement that is over may yet have to be run again, and its answer can wait.
    pub(super) fn is_watched(&self) -> bool {
        self.unit.watch.is_some() && self.untold.is_empty() && !self.segment.told
    }

    /// An error of the leader's: whether it is about tables that have no trigger yet, and the segment is run again.
    pub(super) fn changed_unseen(&mut self, fields: &Fields) -> bool {
        let is_ours = matches!(self.owed.front().map(|o| &o.what), Some(What::Execution(Execution::Own(Own::Watched))));
        if !is_ours || fields.state() != SqlState::SERIALIZATION_FAILURE.0.as_bytes() {
            return false;
        }
        let names = fields.get(b'D').map(|names| String::from_utf8_lossy(names).into_owned()).unwrap_or_default();
        let changed: BTreeSet<String> = names.lines().map(str::to_owned).collect();
        let in_vain = changed == self.capture.watching.changed;
        self.catalogs.miss(&changed);
        self.capture.watching.changed = changed;
        if in_vain || !self.is_overtaken() {
            return false;
        }
        // What was to close ours was passed over.
        self.own_left = true;
        self.run_again();
        true
    }

    /// Statements that run text wait for triggers on what such have changed unseen, whoever's they were.
    pub(super) fn need_what_text_changed(&mut self, plans: &mut Script) {
        let runs_text = |action: &Action| match action {
            Action::Captured(captured) => captured.watch.is_some(),
            Action::Prepare { inner, .. } => {
                matches!(&inner.action, Action::Captured(captured) if captured.watch.is_some())
            }
            _ => false,
        };
        if !plans.statements.iter().any(|planned| runs_text(&planned.plan.action)) {
            return;
        }
        let Some(catalog) = self.catalog() else { return };
        let changed = self.catalogs.take_missed();
        match watch::needed(&catalog, &changed) {
            Ok(tables) => {
                self.capture.watching.needs = Some(tables.into()).filter(|tables: &Arc<[String]>| !tables.is_empty())
            }
            Err(fault) => plans.statements.iter_mut().for_each(|planned| refuse(planned, &fault)),
        }
    }
}

fn counted(rows: &[Vec<Option<Bytes>>]) -> Option<Bytes> {
    rows.first()?.first()?.clone()
}
