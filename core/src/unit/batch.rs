//! What one follower is sent at COMMIT, and what it must answer: one pipeline, one Sync, one round trip.
//!
//! Without DDL the pipeline's own implicit transaction is the unit: an error in it undoes all of it, and its Sync is the
//! COMMIT (documentation, "Extended Query", pipelining). What holds within a transaction only (settings for DDL and COPY,
//! deferred constraints) makes it an explicit block.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::Log;
use crate::effect::{Template, TemplateId};
use crate::limits;
use crate::wire::backend::{self, Status};
use crate::wire::notice::Fields;
use crate::wire::{Frame, FrameFault, frame, frontend};

/// Cheap to clone: all followers share the bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    templates: Arc<[Template]>,
    spilled: u64,
    tail: Bytes,
    block: bool,
    deferred: bool,
    rows_only: bool,
}

impl Batch {
    pub fn new(templates: Vec<Template>, spilled: u64, tail: Bytes, block: bool, deferred: bool) -> Self {
        Self { templates: templates.into(), spilled, tail, block, deferred, rows_only: false }
    }

    /// Nothing in it but rows by key, and settings under which they are applied.
    pub fn rows_only(self, rows_only: bool) -> Self {
        Self { rows_only, ..self }
    }

    pub fn has_rows_only(&self) -> bool {
        self.rows_only
    }

    /// The log that it was made of, where that can be played on a new leader.
    pub fn log(&self) -> Option<Log> {
        let plain = self.rows_only && !self.deferred && self.spilled == 0;
        plain.then(|| Log::of_executions(&self.templates, &self.tail, self.block))
    }

    /// The statement of this name.
    pub fn template(&self, name: &[u8]) -> Option<&Template> {
        let digits = std::str::from_utf8(name.strip_prefix(b"ls_")?).ok()?;
        let id = TemplateId(u128::from_str_radix(digits, 16).ok()?);
        self.templates.iter().find(|template| template.id == id)
    }

    /// What comes first: statements that this connection does not know yet.
    pub fn head(&self, known: &HashSet<TemplateId>) -> BytesMut {
        let mut out = BytesMut::new();
        if self.block {
            command(&mut out, b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
        }
        if self.deferred {
            command(&mut out, b"SET CONSTRAINTS ALL DEFERRED");
        }
        for template in self.templates.iter().filter(|t| !known.contains(&t.id)) {
            frontend::parse(&mut out, template.id.statement_name().as_bytes(), template.sql.as_bytes(), &[]);
        }
        out
    }

    /// How many bytes of the shell's file come next.
    pub fn spilled(&self) -> u64 {
        self.spilled
    }

    /// Then these, and [`Batch::end`].
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// What has the server answer when it has come so far, with nothing committed: for a batch that is a block.
    pub fn pause(&self) -> BytesMut {
        let mut out = BytesMut::new();
        frontend::sync(&mut out);
        out
    }

    /// What commits it.
    pub fn end(&self) -> BytesMut {
        let mut out = BytesMut::new();
        if self.block {
            command(&mut out, b"COMMIT");
        }
        frontend::sync(&mut out);
        out
    }

    /// To be noted for a connection on which the batch has succeeded.
    pub fn templates(&self) -> impl Iterator<Item = TemplateId> + '_ {
        self.templates.iter().map(|t| t.id)
    }
}

fn command(out: &mut BytesMut, sql: &[u8]) {
    frontend::parse(out, b"", sql, &[]);
    frontend::bind(out, b"", b"", frontend::NO_PARAMETERS, &[]);
    frontend::execute(out, b"", 0);
}

/// Reads a follower's answer up to the ReadyForQuery that ends it.
#[derive(Debug, Default)]
pub struct Answer {
    /// What the server has said first of what has become of the batch.
    word: Option<BatchResult>,
    /// Bytes of a message that is passed over and has not arrived whole.
    skip: usize,
}

/// How a follower's batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchResult {
    Committed,
    /// The follower said why not; nothing of the batch is there.
    Refused {
        state: String,
        message: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error(transparent)]
    Frame(#[from] FrameFault),
    #[error("it ended its answer with {0:?} instead of being idle")]
    Status(Status),
    #[error("its answer is malformed: {0}")]
    Malformed(#[from] crate::wire::Malformed),
}

impl Answer {
    /// Takes what has arrived off `input`. `None`: more is to come.
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<Option<BatchResult>, AnswerFault> {
        match (self.ready(input)?, self.last_word()) {
            (None, _) => Ok(None),
            (Some(_), Some(refused @ BatchResult::Refused { .. })) => Ok(Some(refused)),
            (Some(Status::Idle), _) => Ok(Some(BatchResult::Committed)),
            (Some(status), _) => Err(AnswerFault::Status(status)),
        }
    }

    /// The same for a batch up to its [`Batch::pause`]: whether all of it was played.
    pub fn feed_ahead(&mut self, input: &mut BytesMut) -> Result<Option<bool>, AnswerFault> {
        Ok(self.ready(input)?.map(|status| status == Status::InTransaction))
    }

    fn ready(&mut self, input: &mut BytesMut) -> Result<Option<Status>, AnswerFault> {
        loop {
            let step = self.skip.min(input.len());
            input.advance(step);
            self.skip -= step;
            let Some((tag, size)) = frame::peek(input, limits::MESSAGE)? else { return Ok(None) };
            if !matches!(tag, backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE | backend::READY_FOR_QUERY) {
                self.skip = size;
                continue;
            }
            if input.len() < size {
                return Ok(None);
            }
            if tag == backend::COMMAND_COMPLETE {
                match &input[frame::HEADER..size] {
                    b"COMMIT\0" => drop(self.word.get_or_insert(BatchResult::Committed)),
                    // COMMIT of a transaction that has failed (documentation, "COMMIT").
                    b"ROLLBACK\0" => drop(self.word.get_or_insert_with(rolled_back)),
                    _ => {}
                }
                self.skip = size;
                continue;
            }
            let body = Frame { tag, raw: input.split_to(size).freeze() }.body();
            if tag == backend::ERROR_RESPONSE {
                let fields = Fields::read(body)?;
                self.word.get_or_insert_with(|| refused(&fields));
                continue;
            }
            return Ok(Some(Status::read(body)?));
        }
    }

    /// What the server had said before the connection ended, if it had: that it has committed, which nothing after that can
    /// change (it may be ended between its COMMIT and the Sync), or why nothing was.
    pub fn last_word(&self) -> Option<BatchResult> {
        self.word.clone()
    }
}

fn rolled_back() -> BatchResult {
    BatchResult::Refused { state: "25P02".into(), message: "its transaction had failed before its COMMIT".into() }
}

fn refused(fields: &Fields) -> BatchResult {
    BatchResult::Refused { state: String::from_utf8_lossy(fields.state()).into_owned(), message: fields.message() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, SqlState};
    use crate::wire::notice;

    fn answer(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        backend::bare(&mut out, backend::PARSE_COMPLETE);
        backend::bare(&mut out, backend::BIND_COMPLETE);
        write(&mut out);
        backend::ready_for_query(&mut out, Status::Idle);
        out
    }

    #[test]
    fn an_answer_is_the_same_however_its_bytes_are_split() {
        let whole = answer(|out| {
            backend::command_complete(out, "UPDATE 1");
            notice::error(out, &Fault::error(SqlState::INTERNAL, "no"));
        });
        for cut in 0..whole.len() {
            let mut reader = Answer::default();
            let mut input = BytesMut::from(&whole[..cut]);
            assert_eq!(reader.feed(&mut input), Ok(None), "cut at {cut}");
            input.extend_from_slice(&whole[cut..]);
            let result = reader.feed(&mut input).unwrap().unwrap();
            assert_eq!(result, BatchResult::Refused { state: "XX000".into(), message: "no".into() });
        }
    }

    #[test]
    fn a_batch_whose_commit_was_answered_is_committed_whatever_the_server_says_after_it() {
        let ended = Fault::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command");
        let mut out = BytesMut::new();
        backend::command_complete(&mut out, "COMMIT");
        notice::error(&mut out, &ended);
        let mut reader = Answer::default();
        assert_eq!(reader.feed(&mut out.clone()), Ok(None));
        assert_eq!(reader.last_word(), Some(BatchResult::Committed));
        backend::ready_for_query(&mut out, Status::Idle);
        assert_eq!(Answer::default().feed(&mut out), Ok(Some(BatchResult::Committed)));
    }

    #[test]
    fn an_error_before_the_commit_is_the_servers_word_that_nothing_was_committed() {
        let mut out = BytesMut::new();
        backend::command_complete(&mut out, "UPDATE 1");
        notice::error(&mut out, &Fault::fatal(SqlState::ADMIN_SHUTDOWN, "terminating"));
        let mut reader = Answer::default();
        assert_eq!(reader.feed(&mut out), Ok(None));
        assert!(matches!(reader.last_word(), Some(BatchResult::Refused { .. })));
    }

    #[test]
    fn a_commit_that_was_a_rollback_has_committed_nothing() {
        let mut out = answer(|out| backend::command_complete(out, "ROLLBACK"));
        assert!(matches!(Answer::default().feed(&mut out), Ok(Some(BatchResult::Refused { .. }))));
    }

    #[test]
    fn a_batch_is_played_ahead_when_its_transaction_is_open_and_has_not_failed() {
        for (status, played) in [(Status::InTransaction, true), (Status::Failed, false), (Status::Idle, false)] {
            let mut out = BytesMut::new();
            backend::command_complete(&mut out, "ALTER TABLE");
            backend::ready_for_query(&mut out, status);
            assert_eq!(Answer::default().feed_ahead(&mut out), Ok(Some(played)));
        }
    }

    #[test]
    fn only_an_idle_end_without_an_error_is_a_commit() {
        assert_eq!(Answer::default().feed(&mut answer(|_| ())), Ok(Some(BatchResult::Committed)));
        let mut open = BytesMut::new();
        backend::ready_for_query(&mut open, Status::InTransaction);
        assert_eq!(Answer::default().feed(&mut open), Err(AnswerFault::Status(Status::InTransaction)));
    }

    #[test]
    fn a_connection_is_told_only_the_statements_that_it_does_not_know() {
        let template = Template { id: TemplateId(5), sql: "DELETE FROM t WHERE k = $1".into(), finder: None };
        let batch = Batch::new(vec![template.clone()], 0, Bytes::new(), false, false);
        assert!(!batch.head(&HashSet::new()).is_empty());
        assert!(batch.head(&HashSet::from([template.id])).is_empty());
    }
}
