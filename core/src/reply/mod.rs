//! What the leader still owes for what it was sent, in order, and what each answer means.
//!
//! One entry per answer to come; the entry in front says whether a message goes to the client, is kept from it, or is
//! looked into. An error cuts the queue up to the next [`What::Ready`], for the leader skips everything up to Sync.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::catalog::SchemaEpoch;
use crate::fault::Fault;
use crate::plan::{Marks, Memory, Plan, Planned, Transaction, Waived, Write};
use crate::unit::Retold;
use crate::wire::backend;
use crate::wire::frontend::Format;
use crate::wire::notice::Fields;

pub mod kept;
pub mod rows;
pub mod share;

pub use rows::Rows;
pub use share::Share;

#[derive(Debug)]
pub struct Owed {
    pub what: What,
    /// Characters of the client's text before the statement that this answers: what an error position is moved by.
    pub shift: u32,
}

/// Small, for every message makes one, which goes through a queue: what is seldom there, or large, is in a box.
#[derive(Debug)]
pub enum What {
    /// ParseComplete, BindComplete or CloseComplete.
    Ack {
        to: To,
        undo: Undo,
    },
    /// An error to a message that cannot be parsed; the client is told this instead.
    Refusal(Box<Fault>),
    /// ParameterDescription, then RowDescription or NoData.
    Statement {
        shape: Shape,
    },
    /// RowDescription or NoData.
    Portal {
        shape: Shape,
        to: To,
    },
    Execution(Execution),
    /// ReadyForQuery after a Sync.
    Ready(Ready),
    /// All of it goes through, up to and with ReadyForQuery, which ends the segment.
    Raw {
        done: Done,
        failed: bool,
    },
    /// A Query of ours, up to ReadyForQuery.
    Own {
        purpose: Own,
        error: Option<Fields>,
        tag: Option<Bytes>,
    },
}

impl What {
    /// What success of a statement of the client's means besides its answer.
    pub fn marks(&self) -> Marks {
        match self {
            Self::Execution(Execution::Write(write)) => write.done.marks,
            Self::Execution(Execution::Pass { done } | Execution::Copy { done, .. }) => done.marks,
            Self::Raw { done, .. } => done.marks,
            _ => Marks::default(),
        }
    }

    /// What its calls do with locks of the session, as far as they are looked into.
    pub fn locks(&self) -> Option<&kept::Locks> {
        match self {
            Self::Execution(Execution::Pass { done }) => done.locks.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Client,
    /// The client did not ask for it.
    Nobody,
}

/// What the client may see of a result's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// The last columns are ours.
    Without(u16),
    /// All columns are ours: NoData.
    Nothing,
}

/// An Execute: rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
#[derive(Debug)]
pub enum Execution {
    Pass {
        done: Done,
    },
    Write(Box<WriteExecution>),
    /// `ended`: the client's CopyDone or CopyFail has been sent on.
    Copy {
        source: Box<Source>,
        done: Done,
        ended: bool,
    },
    /// DDL whose rows are read next.
    Image,
    /// Those rows.
    ImageRows(Box<WriteExecution>),
    /// COPY into the landing table; `ended` as above.
    Landing {
        ended: bool,
    },
    /// COPY that must fail at the leader; if it takes data, the client is told this.
    Unknown(Box<Fault>),
    /// Rows of a query of ours, in the middle of a client's pipeline.
    Own(Own),
    /// BEGIN put before a string of statements; or the client's own in such a string: what the leader has to remark of it
    /// is about ours.
    Begin {
        by_client: Option<Done>,
    },
}

/// What a plan was made of, so that it can be made again.
#[derive(Debug, Clone)]
pub struct Source {
    pub text: Arc<str>,
    pub plan: Arc<Plan>,
    pub planned_in: SchemaEpoch,
}

#[derive(Debug)]
pub struct WriteExecution {
    pub write: Arc<Write>,
    pub rows: Rows,
    pub source: Source,
    pub done: Done,
    /// It ends a COPY, and the client is told so.
    pub copies: bool,
    /// What the client sees of the rows.
    pub share: Share,
}

/// What a statement's success means for the session.
#[derive(Debug, Clone, Default)]
pub struct Done {
    pub note: Note,
    pub marks: Marks,
    /// What a new leader must be told, and the statement that says it.
    pub memory: Option<Box<(Memory, Arc<str>)>>,
    /// Of a write whose rows are captured: its plan must be that of the schema in which it has run.
    pub source: Option<Box<Source>>,
    /// It should have been refused.
    pub waived: Option<Arc<Waived>>,
    /// How a new leader would be told it.
    pub again: Option<Box<Retold>>,
    /// What it does with locks of the session.
    pub locks: Option<Box<kept::Locks>>,
}

impl Done {
    /// Whether all that it means is over when its transaction is undone.
    pub fn is_of_the_unit(&self) -> bool {
        let Marks { temporary, holdable, .. } = self.marks;
        let outlives = temporary || holdable;
        matches!(self.note, Note::None | Note::Schema(_)) && !outlives && self.memory.is_none() && self.waived.is_none()
    }

    /// Whether its rows are looked into on their way.
    fn reads_rows(&self) -> bool {
        self.again.is_some() || matches!(self.locks.as_deref(), Some(kept::Locks::Known(_)))
    }

    fn ends_transaction(&self) -> bool {
        matches!(self.note, Note::Transaction(Transaction::Commit { .. } | Transaction::Rollback { .. }))
    }
}

#[derive(Debug, Clone, Default)]
pub enum Note {
    #[default]
    None,
    Transaction(Transaction),
    /// DDL whose text goes into the log.
    Schema(Arc<str>),
    Prepared {
        name: Bytes,
        statement: Arc<Statement>,
    },
    Deallocated {
        name: Option<String>,
    },
    Discarded {
        all: bool,
    },
    /// A FunctionCall whose result, in this format, is the number of a large object that it has made.
    MakesObject(Format),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The segment's own Sync: the client waits for it.
    Segment,
    /// A Sync of ours.
    Ours,
}

/// What has to be taken back when the leader passes a message over because of an earlier error.
#[derive(Debug)]
pub enum Undo {
    Nothing,
    /// A statement was thought to be prepared.
    Forget(Bytes),
    /// A statement was thought to be closed.
    Restore(Bytes, Arc<Statement>),
    /// A statement was thought to be made again after a change of the schema: to be done before its next use.
    Outdated(Bytes),
}

/// A statement that the client has prepared.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: Bytes,
    /// The text as it is planned: a copy where the client's encoding is not UTF-8, with every byte in its place.
    pub readable: Arc<str>,
    pub types: Vec<u32>,
    pub planned: Option<Planned>,
    pub epoch: SchemaEpoch,
    /// How often the session had changed what names mean when it was planned.
    pub renamings: u64,
    pub maker: Maker,
}

/// What has prepared a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    Parse,
    /// PREPARE; the statement's text and plan are those of the whole command.
    Sql,
}

/// Queries of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// A BEGIN of the client's, of which it has been told that it is done.
    Begin,
    Rollback,
    /// The unit's COMMIT, or a utility command in its place.
    Commit,
    /// `SET CONSTRAINTS ALL IMMEDIATE`.
    Constraints,
    /// Has our triggers fire.
    Flush,
    /// Gives tables our trigger.
    Triggers,
    /// What is counted before a statement that runs text, and behind it.
    Watch,
    Watched,
    /// What has become of large objects.
    Objects,
    /// How the leader calls what the unit has made.
    Names,
    /// What is deferred in a unit with captured rows has its turn.
    Settle,
    Catalog(usize),
    /// The isolation level under which the catalog was read.
    Isolation,
    SearchPath,
    Settings,
    /// A statement that PREPARE has made, once more with our columns.
    Prepare,
    /// What has become of a table.
    Image,
    /// What is done around a COPY into the landing table.
    Landing,
    /// The ROLLBACK of a segment that is run again.
    Again,
    /// An empty message in the middle of a COPY.
    Intrusion,
    /// The leftovers of a command that has failed are dropped.
    Leftover,
    /// That is done, and the command's failure can be told.
    Refused,
    /// Something that a new leader is told before the session goes on there.
    Memory,
    /// The unit's log, on a new leader.
    Play,
    /// How many advisory locks there are.
    Locks,
    /// A new leader is asked for those of the session.
    TakeLocks,
}

impl Owed {
    /// Whether this message of the leader goes to the client as it is, without a look inside.
    pub fn passes(&self, tag: u8) -> bool {
        match &self.what {
            What::Raw { done, .. } => match tag {
                backend::READY_FOR_QUERY | backend::ERROR_RESPONSE | backend::COPY_IN_RESPONSE => false,
                backend::FUNCTION_CALL_RESPONSE => !matches!(done.note, Note::MakesObject(_)),
                // Not before it is known whether a transaction is open.
                backend::COMMAND_COMPLETE => !done.ends_transaction(),
                tag => !backend::is_asynchronous(tag),
            },
            What::Execution(Execution::Pass { done }) if done.reads_rows() && tag == backend::DATA_ROW => false,
            What::Execution(Execution::Pass { .. }) => matches!(
                tag,
                backend::DATA_ROW
                    | backend::COPY_DATA
                    | backend::COPY_DONE
                    | backend::COPY_OUT_RESPONSE
                    | backend::COPY_BOTH_RESPONSE
            ),
            _ => false,
        }
    }
}

/// Cuts `columns` columns off the end of a RowDescription; the rest is what the client asked for.
pub fn cut_description(body: Bytes, columns: u16, out: &mut BytesMut) -> Result<(), crate::wire::Malformed> {
    let mut described = backend::read_row_description(body)?;
    described.truncate(described.len().saturating_sub(usize::from(columns)));
    backend::row_description(out, &described);
    Ok(())
}
