//! The little SQL of the model nodes: as the clients of the simulator write it, and as the core writes it for leaders and
//! followers. All values are integers or NULL.
//!
//! It is read by a parser of its own, not by PostgreSQL's, so that what the core splices is judged by somebody else.

use crate::plan::kept::Locking;

pub(super) type Value = Option<i64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    ReadCommitted,
    /// One snapshot for the transaction; an update of what has changed since fails.
    RepeatableRead,
    /// The same, and it is judged at COMMIT.
    Serializable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    KeyShare,
    Share,
    NoKeyUpdate,
    Update,
}

#[derive(Debug)]
pub(super) enum Statement {
    Begin(Level),
    /// `chain`: another one follows, at the same level.
    Commit {
        chain: bool,
    },
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    /// Changes nothing that is modelled; its tag.
    Nothing(&'static str),
    /// What a session asks about itself.
    SearchPath,
    Select(Select),
    Write(Write),
    /// Our triggers fire.
    Flush,
    /// Rows that they have told of are put in.
    Apply,
    Advisory(Advisory),
    /// All of these locks for the session, without waiting, or division by zero.
    TakeAgain(Vec<i64>),
}

/// A call of one of the functions for advisory locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advisory {
    pub does: Locking,
    pub key: i64,
    pub span: Span,
}

/// Until when an advisory lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Session,
    Transaction,
}

impl Statement {
    /// A transaction begins with it, if none is open.
    pub(super) fn needs_transaction(&self) -> bool {
        use Statement::{Advisory, Apply, Flush, Select, TakeAgain, Write};
        matches!(self, Select(_) | Write(_) | Flush | Apply | Advisory(_) | TakeAgain(_))
    }
}

/// INSERT, UPDATE or DELETE.
#[derive(Debug)]
pub(super) struct Write {
    pub kind: Kind,
    pub table: String,
    /// What the table's columns are qualified with.
    pub alias: String,
    pub subqueries: Vec<Select>,
    pub returning: Vec<Expression>,
    /// It stands in `WITH`, and divides by zero unless it has changed so many rows.
    pub counted: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Insert { columns: Vec<String>, rows: Vec<Vec<Expression>>, conflict: Option<Conflict> },
    Update { set: Vec<(String, Expression)>, from: Option<Source>, filter: Option<Expression> },
    Delete { from: Option<Source>, filter: Option<Expression> },
}

#[derive(Debug)]
pub(super) struct Conflict {
    pub key: Vec<String>,
    /// Empty: DO NOTHING.
    pub set: Vec<(String, Expression)>,
}

/// `(VALUES …) AS name (columns)`
#[derive(Debug)]
pub(super) struct Source {
    pub name: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Expression>>,
}

#[derive(Debug)]
pub(super) struct Select {
    pub columns: Vec<Expression>,
    pub table: Option<String>,
    pub filter: Option<Expression>,
    pub ordered: bool,
    pub limit: Option<usize>,
    pub lock: Option<(Strength, Waiting)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Waits,
    SkipsLocked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Equal,
    Less,
    Greater,
    And,
}

#[derive(Debug, Clone)]
pub(super) enum Expression {
    Constant(Value),
    /// Counted from 0.
    Parameter(usize),
    /// Qualifier, if there is one, and name.
    Column(Option<String>, String),
    Default,
    Nextval(String),
    /// `(random() * n)::int`: another value on each node.
    Random(i64),
    /// Of [`Write::subqueries`].
    Subquery(usize),
    /// The number of rows; the only aggregate.
    Count,
    Binary(Operator, Box<Expression>, Box<Expression>),
}
