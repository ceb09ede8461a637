//! What a statement means for replication: the only place that combines statement and catalog.

use std::ops::Range;
use std::sync::Arc;

use crate::effect::RowEffect;
use crate::fault::Fault;

/// One statement of a client's text, and its plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Where the statement stands in the text, in bytes: from its first token to the end of its last, without semicolon.
    pub span: Range<usize>,
    pub plan: Arc<Plan>,
}

/// What is to be done with one statement. Holds no literal of the client's text, so that it can be cached for all texts
/// that differ only in literals.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub action: Action,
    pub marks: Marks,
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
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Runs on the leader as it is; followers get nothing.
    Leader,
    /// Not understood by the parser: the leader is asked to parse it, for its own error; accepted text is refused.
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
    /// SET TRANSACTION / SET SESSION CHARACTERISTICS / SET transaction_isolation …
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
    /// The text holds a password in clear, which must be hashed once: where the literal stands and for which role.
    pub password: Option<PasswordLiteral>,
}

/// The place of a clear-text password in a CREATE or ALTER ROLE, in bytes from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordLiteral {
    pub span: Range<usize>,
    pub role: String,
    pub password: String,
}

// STUB
pub struct PlanCache;
pub struct Context<'a> {
    pub catalog: Option<&'a crate::catalog::Catalog>,
    pub search_path: Option<&'a crate::catalog::SearchPath>,
}
pub enum Answer {
    Ready(Script),
    NeedCatalog,
    NeedSearchPath,
}
pub struct Script {
    pub statements: Vec<Planned>,
}
impl PlanCache {
    pub fn new(_m: usize) -> Self {
        Self
    }
    pub fn script(&mut self, _t: &str, _c: &Context<'_>) -> Answer {
        Answer::Ready(Script { statements: vec![] })
    }
}
