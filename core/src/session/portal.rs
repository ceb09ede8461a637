//! Portals: what Bind has made, and how far it has been executed.
//!
//! PostgreSQL runs a write with RETURNING to its end at the first Execute, keeps its rows, and gives them out as Execute
//! asks. Here the leader is asked for all of them at once, for the followers need them; what the client did not ask for yet
//! is kept in the portal. A write without RETURNING is executed once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Session;
use super::locks::Keeps;
use super::names::Meaning;
use crate::fault::{Fault, SqlState};
use crate::plan::{ClientColumns, Write};
use crate::reply::share::TooManyWait;
use crate::reply::{Source, Statement, WriteExecution};
use crate::unit::Retold;
use crate::wire::Frame;
use crate::wire::backend;
use crate::wire::frontend::Execute;

/// A portal that Bind has made.
#[derive(Debug, Clone)]
pub(super) struct Portal {
    pub statement: Arc<Statement>,
    pub meaning: Meaning,
    pub run: Run,
    /// Tells portals apart that have had the same name.
    pub serial: u64,
    pub again: Option<Box<Retold>>,
    pub keeps: Keeps,
}

impl Portal {
    /// What its plan was made of: of its own text, or of that which EXECUTE in it names.
    pub fn source(&self) -> Source {
        self.meaning.named.clone().unwrap_or_else(|| self.statement.source(&self.meaning.plan))
    }
}

/// How far a write has come in its portal.
#[derive(Debug, Clone)]
pub(super) enum Run {
    Not,
    Sent,
    /// What is left of its rows, and its CommandComplete.
    Done {
        rows: VecDeque<Bytes>,
        tag: Bytes,
    },
}

impl Session {
    /// A write that has been executed before, in the same portal: the leader is not asked again.
    pub(super) fn execute_again(&mut self, execute: &Execute<&[u8]>, portal: &Portal, write: &Write, frame: &Frame) {
        if write.client_columns == ClientColumns::None {
            let message = format!("portal \"{}\" cannot be run", String::from_utf8_lossy(execute.portal));
            return self.poison(Fault::error(SqlState::NOT_IN_PREREQUISITE_STATE, message), 0);
        }
        if !self.owed.is_empty() {
            return self.postpone(frame);
        }
        let Run::Done { mut rows, tag } = portal.run.clone() else { return };
        let asked = usize::try_from(execute.max_rows).unwrap_or(0);
        let given = if asked == 0 { rows.len() } else { asked.min(rows.len()) };
        rows.drain(..given).for_each(|row| self.tell_raw(&row));
        if asked > 0 && given == asked {
            self.tell(|out| backend::bare(out, backend::PORTAL_SUSPENDED));
        } else {
            self.tell(|out| backend::command_complete(out, &counted(&tag, given)));
        }
        if let Some(portal) = self.portals.get_mut(execute.portal) {
            portal.run = Run::Done { rows, tag };
        }
    }

    /// A row of the client's: for it now, or when it asks for more.
    pub(super) fn share_row(&mut self, execution: &mut WriteExecution, row: BytesMut) {
        match execution.share.take(row) {
            Ok(Some(row)) => self.answer(&row),
            Ok(None) => {}
            Err(TooManyWait) => {
                let why = "a statement returns more rows than can be kept for an Execute with a row limit";
                self.end(&Fault::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, why).with_hint("Ask for all rows at once."));
            }
        }
    }

    /// All rows of a write have come: the rest waits in its portal.
    pub(super) fn keep_rows(&mut self, execution: &mut WriteExecution, tag: Bytes) {
        let rows = execution.share.rest();
        let Some((name, serial)) = &execution.share.portal else { return };
        if let Some(portal) = self.portals.get_mut(name).filter(|portal| portal.serial == *serial) {
            portal.run = Run::Done { rows, tag };
        }
    }
}

/// A command's tag with the number of rows that this Execute has given.
fn counted(tag: &[u8], rows: usize) -> String {
    let tag = String::from_utf8_lossy(tag);
    let command = tag.rsplit_once(' ').map_or(&*tag, |(command, _)| command);
    format!("{command} {rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_the_rows_of_one_execute() {
        assert_eq!(counted(b"INSERT 0 5", 2), "INSERT 0 2");
        assert_eq!(counted(b"UPDATE 5", 0), "UPDATE 0");
    }
}
