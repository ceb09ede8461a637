//! What a statement means for replication: the only place that combines statement and catalog.
//!
//! Rule: what is not shown to be exact is refused (`refuse`). A plan holds no literal of the client's text, so that it
//! serves all texts that differ only in literals ([`PlanCache`]).
//!
//! | file | |
//! | --- | --- |
//! | `cache` | text → plans; a text seen before costs no parse |
//! | `classify` | kind of statement → action |
//! | `write` | INSERT, UPDATE, DELETE: what the leader is asked to return, and how followers apply it |
//! | `reach` | what else a write sets off: triggers, rules, foreign keys |
//! | `copy` | COPY |
//! | `schema` | DDL |
//! | `calls` | functions and views that a text names |
//! | `refuse` | reasons |

use std::ops::Range;
use std::sync::Arc;

use crate::effect::RowEffect;
use crate::fault::Fault;

mod cache;
mod calls;
mod classify;
mod copy;
mod reach;
mod refuse;
mod schema;
mod write;

pub use cache::{Answer, Context, PlanCache, Script};

/// One statement of a client's text, and its plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Where the statement stands in the text, in bytes: from its first token to the end of its last, without semicolon.
    pub span: Range<usize>,
    pub plan: Arc<Plan>,
}

/// What is to be done with one statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub action: Action,
    pub marks: Marks,
    pub memory: Option<Memory>,
}

/// What a statement may change besides rows, to be noted when it has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// May move a sequence (nextval, setval, a column's default): levelled when idle.
    pub sequences: bool,
    /// May change search_path, role or another setting: what was read of them is stale.
    pub settings: bool,
    /// Makes or drops a temporary object: the session needs a catalog of its own.
    pub temporary: bool,
    /// Makes a cursor WITH HOLD, whose query the leader runs to its end at COMMIT: the leader commits first.
    pub holdable: bool,
}

/// What a new leader must be told after this statement has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    Set {
        name: String,
    },
    Reset {
        name: String,
    },
    ResetAll,
    Listen {
        channel: String,
    },
    /// `None` is all channels.
    Unlisten {
        channel: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Runs on the leader as it is; followers get nothing.
    Leader,
    /// Not understood, or about a table that is not known: the leader is asked to parse it, for its own error; what it
    /// accepts is refused.
    Unparsed,
    Transaction(Transaction),
    Write(Arc<Write>),
    CopyIn(Arc<CopyIn>),
    /// Replicated as text, under the commit lock in exclusive mode.
    Ddl(Arc<Ddl>),
    /// Runs on the leader, then as text on each follower: it cannot run in a transaction block.
    Utility,
    /// SQL-level PREPARE; the inner statement's plan is used by EXECUTE. `None`: needs no more than the leader.
    Prepare {
        name: String,
        inner: Option<Arc<Plan>>,
    },
    /// SQL-level EXECUTE of a name.
    Execute {
        name: String,
    },
    /// SQL-level DEALLOCATE; `None` is ALL.
    Deallocate {
        name: Option<String>,
    },
    Discard {
        all: bool,
    },
    /// `SHOW pool_nodes`, answered by the proxy.
    ShowPoolNodes,
    Refuse(Fault),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// `serializable`: what the statement itself says of the isolation level, if anything.
    Begin {
        serializable: Option<bool>,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    /// SET TRANSACTION, SET SESSION CHARACTERISTICS, and settings that mean the same.
    Isolation {
        serializable: Option<bool>,
        session: bool,
    },
}

/// A write whose rows are learned by RETURNING.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// To be put behind the statement's last token: ` RETURNING …` or `, …`.
    pub append: String,
    pub effect: Arc<RowEffect>,
    /// Columns that the client itself asked for.
    pub client_columns: ClientColumns,
    /// Deferrable constraints may be pending: they must be checked before followers commit.
    pub deferrable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientColumns {
    /// No RETURNING: the client expects no rows.
    None,
    Known(u16),
}

/// COPY ... FROM STDIN.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyIn {
    /// The same COPY with the table's name qualified, for followers.
    pub follower_sql: String,
    pub deferrable: bool,
    /// The table has date or time columns: fields such as `now` mean another value on each node.
    pub temporal: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ddl {
    /// The text holds a password in clear, which must be hashed once.
    pub password: Option<PasswordLiteral>,
}

/// The place of a clear-text password in a CREATE or ALTER ROLE, in bytes from the start of the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordLiteral {
    pub span: Range<usize>,
    pub role: String,
    pub password: String,
}

impl Plan {
    fn new(action: Action) -> Self {
        Self { action, marks: Marks::default(), memory: None }
    }
}

#[cfg(test)]
mod tests;
