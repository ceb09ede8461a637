//! What a statement means for replication: the only place that combines statement and catalog.
//!
//! A write is learned as rows by key through RETURNING, or by capture where RETURNING would not show all; DDL goes as text; what only the leader is concerned with goes to
//! the leader alone. Invariant: what is not known here to be carried out exactly on every server is refused
//! (`refuse`), never let through.
//!
//! | file | |
//! | --- | --- |
//! | `cache` | plans by token stream, literals masked |
//! | `scope` | what one statement's planning may look at |
//! | `statement` | by kind of statement |
//! | `write`, `returning` | INSERT, UPDATE, DELETE |
//! | `capture`, [`watch`] | what is learned by triggers of ours; text that functions run |
//! | `safety` | what else happens when a table's rows change |
//! | `calls` | functions, operators, types and views that may write |
//! | `heritable` | what leaves nothing on the leader but rows |
//! | [`kept`] | what leaves advisory locks and settings with its session |
//! | `copy` | COPY |
//! | `settings`, [`modes`] | SET, RESET, transactions |
//! | `ddl`, `alter`, `role` | what goes as text |
//! | `evaluated` | expressions that each server evaluates when it gets that text |
//! | `image` | DDL whose rows come from the leader |
//! | `block` | DO blocks of DDL |
//! | [`objects`] | large objects |
//! | `materialized` | materialized views, whose query each server runs |
//! | `refuse` | reasons and their words |
//! | [`policy`], `waive` | what the operator has chosen; what is carried out though it is not exact |
//! | [`explain`], [`tables`] | a plan in words; what happens with writes to a table |

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::{Catalog, SearchPath};
use crate::effect::RowEffect;
use crate::fault::Fault;
use crate::plan::modes::Modes;

mod alter;
mod block;
mod cache;
mod calls;
mod capture;
mod copy;
mod ddl;
mod depends;
mod evaluated;
pub mod explain;
mod heritable;
mod image;
pub mod kept;
mod materialized;
pub mod modes;
pub mod objects;
pub mod policy;
mod refuse;
mod returning;
mod role;
mod safety;
mod scope;
mod settings;
mod statement;
pub mod tables;
mod temporary;
mod waive;
pub mod watch;
mod write;

pub use cache::{PlanCache, unplanned};
pub use copy::landing::{self, CopyRows};
pub use image::{Carried, Image};
pub use kept::Kept;
pub use policy::{Policy, Waived};

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
    /// What a new leader must be told after this statement has succeeded.
    pub memory: Option<Memory>,
    /// It should be refused, and the operator has allowed it.
    pub waived: Option<Arc<Waived>>,
    pub leaves: Leaves,
    /// What its calls leave with the session.
    pub kept: Option<Kept>,
}

impl From<Action> for Plan {
    fn from(action: Action) -> Self {
        Self { action, marks: Marks::default(), memory: None, waived: None, leaves: Leaves::More, kept: None }
    }
}

impl From<Fault> for Plan {
    fn from(fault: Fault) -> Self {
        Action::Refuse(fault).into()
    }
}

/// What a session holds on its leader besides its transaction.
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
    /// `None`: all.
    Unlisten {
        channel: Option<String>,
    },
    /// One after the other, each with the statement that says it alone.
    Each(Vec<(Memory, String)>),
}

impl Memory {
    /// Whether it changes this setting.
    pub fn is_about(&self, setting: &str) -> bool {
        match self {
            Self::Set { name } | Self::Reset { name } => name.eq_ignore_ascii_case(setting),
            Self::ResetAll => true,
            Self::Listen { .. } | Self::Unlisten { .. } => false,
            Self::Each(all) => all.iter().any(|(memory, _)| memory.is_about(setting)),
        }
    }
}

/// What a statement may change besides rows, to be noted when it has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// May move a sequence (nextval, setval, a column's default): levelled when idle.
    pub sequences: bool,
    /// Calls setval: followers' sequences are put there, too, before the client is told.
    pub setval: bool,
    /// May change search_path, role or encoding: what was read of them, and planned under them, is stale.
    pub settings: bool,
    /// May take a lock that the session keeps when its transaction is over, or let one go.
    pub locks: bool,
    /// Makes or drops a temporary object: the session needs a catalog of its own.
    pub temporary: bool,
    /// DECLARE … WITH HOLD: a cursor whose rows outlive the transaction.
    pub holdable: bool,
    /// May change large objects: its text is sent respelled ([`objects::respelled`]).
    pub objects: bool,
    /// Has large objects locked that nothing notes: at the end of the unit the leader is asked for them.
    pub locks_objects: bool,
    /// ANALYZE: nothing that must be equal on all nodes depends on it, and a follower may fail to do it.
    pub upkeep: bool,
    /// DDL that comes to something else when others have made or dropped something meanwhile: it reaches what it does not
    /// name, or does nothing if there is such a thing, or none.
    pub depends: bool,
    /// DDL that changes what objects are given that are made later.
    pub defaults: bool,
}

impl Marks {
    pub fn of_sequences(self) -> Self {
        Self { sequences: self.sequences, setval: self.setval, ..Self::default() }
    }

    pub fn or(self, other: Self) -> Self {
        Self {
            sequences: self.sequences || other.sequences,
            setval: self.setval || other.setval,
            settings: self.settings || other.settings,
            locks: self.locks || other.locks,
            temporary: self.temporary || other.temporary,
            holdable: self.holdable || other.holdable,
            objects: self.objects || other.objects,
            locks_objects: self.locks_objects || other.locks_objects,
            upkeep: self.upkeep || other.upkeep,
            depends: self.depends || other.depends,
            defaults: self.defaults || other.defaults,
        }
    }
}

/// What a statement leaves on the leader besides rows that the log has ([`heritable`]): whether a transaction with it can go
/// on under another one. The greater of two is what both leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    Nothing,
    /// Rows of partitions, which have two names: which other units have the same rows is not known.
    Parts,
    /// What the next leader can be given by telling it the statement again ([`crate::unit::diary`]).
    Again,
    /// What is not known, or cannot be given.
    More,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Runs on the leader as it is; followers get nothing.
    Leader,
    /// Not understood by the parser: the leader is asked to parse it, for its own error; accepted text is refused.
    Unparsed,
    /// It concerns what the catalog does not know: the same, and this is what accepted text is refused with.
    Unknown(Fault),
    Transaction(Transaction),
    Write(Arc<Write>),
    /// Runs on the leader as it is; our triggers tell what rows have become of it.
    Captured(Arc<Captured>),
    /// The same, but these tables do not have our trigger yet.
    Capture(Arc<[String]>),
    /// Runs on the leader; at the end of the unit that tells what large objects have become, these among them.
    Objects(Arc<[u32]>),
    CopyIn(Arc<CopyIn>),
    /// COPY … FROM STDIN whose rows the leader makes whole.
    CopyRows(Arc<CopyRows>),
    /// COPY … FROM STDIN into what the catalog does not know: the leader is asked to begin it, for its own error; if it
    /// asks for data, it is refused with this.
    CopyUnknown(Fault),
    /// Replicated as text, under the commit lock in exclusive mode.
    Ddl(Arc<Ddl>),
    /// DDL that computes rows, which followers get from the leader.
    Image(Arc<Image>),
    /// Runs on the leader, then as text on each follower: it cannot run in a transaction block.
    Utility(Utility),
    /// SQL-level PREPARE; the inner statement's plan is used by EXECUTE.
    Prepare {
        name: String,
        inner: Arc<Plan>,
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

/// What is to be done about a command that cannot run in a transaction block, besides giving it to each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utility {
    Plain,
    /// It drops, moves or copies this database, in which nobody may be, not even a connection of ours.
    Vacates(Arc<str>),
    /// DETACH PARTITION … CONCURRENTLY: what it leaves when it fails halfway is undone.
    Detaches(Arc<Partition>),
    /// VACUUM: nothing that must be equal on all nodes depends on it, and a follower may fail to do it.
    Upkeep,
}

/// A partition and what it is one of, by their qualified and quoted names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub parent: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    Begin {
        modes: Modes,
        /// What its CommandComplete says.
        tag: &'static str,
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
    Modes {
        modes: Modes,
        session: bool,
    },
}

/// A write whose rows are learned by our triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// To be run behind the statement: it has our triggers fire.
    pub flush: String,
    /// Constraints or triggers of users may be pending: they must have their turn before followers commit.
    pub defers: bool,
    /// They must have it before the statement, which would have our triggers fire among them.
    pub settles: bool,
    /// COPY … FROM STDIN: our triggers fire when its data has come.
    pub copies: bool,
    /// It runs text that functions make: what else that has done is found out behind it ([`watch`]).
    pub watch: Option<watch::Watch>,
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

impl Write {
    /// Bytes that it takes, roughly.
    fn weight(&self) -> usize {
        let columns = self.effect.columns.iter().map(|c| 128 + c.name.len() + c.type_name.len()).sum::<usize>();
        256 + self.append.len() + self.effect.table.len() + self.effect.single.sql.len() + columns
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientColumns {
    /// No RETURNING: the client expects no rows.
    None,
    Known(u16),
}

/// COPY ... FROM STDIN whose data followers get as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyIn {
    /// The same COPY with the table's name qualified, for followers.
    pub follower_sql: String,
    pub deferrable: bool,
    pub times: Option<Times>,
}

/// Where data in text may hold a date or time: words such as `now` mean another value on each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// For each column of the data.
    pub columns: Vec<bool>,
    pub delimiter: u8,
    /// The data is CSV.
    pub quoting: Option<Quoting>,
    /// The first line may be one of names.
    pub header: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoting {
    pub quote: u8,
    pub escape: u8,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ddl {
    /// The text holds a password in clear, which must be hashed once: where the literal stands and for which role.
    pub password: Option<PasswordLiteral>,
}

/// The place of a clear-text password in a CREATE or ALTER ROLE, in bytes from the start of the statement
/// ([`Planned::span`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordLiteral {
    pub span: Range<usize>,
    pub role: String,
    pub password: String,
}

/// What is known of the session when a text is planned.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub catalog: Option<&'a Catalog>,
    pub search_path: Option<&'a SearchPath>,
    /// Letters are converted between the database's encoding and the client's. It is learned with the search path.
    pub converts: Option<bool>,
    pub policy: Policy,
}

#[derive(Debug)]
pub enum Answer {
    Ready(Script),
    /// The text cannot be planned without the catalog; ask again with it.
    NeedCatalog,
    NeedSearchPath,
}

/// A text's statements.
#[derive(Debug)]
pub struct Script {
    pub statements: Vec<Planned>,
}
