//! What is known of tables, functions and types.

use crate::wire::frontend::Format;

/// The number of an object on the leader. It means nothing on another node, and is never sent to one.
pub type Oid = u32;

/// User objects begin here (src/include/access/transam.h, `FirstNormalObjectId`).
pub const FIRST_USER_OID: Oid = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    Sequence,
    Index,
    PartitionedIndex,
}

#[derive(Debug, Clone)]
pub struct Relation {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub temporary: bool,
    pub row_security: bool,
    /// A partition of a partitioned table.
    pub partition: bool,
    /// A name of it came in an encoding that is not understood.
    pub unreadable: bool,
    pub columns: Vec<Column>,
    /// Unique indexes with columns only, valid, whole, and checked at once; the primary key first, then the shortest.
    pub keys: Vec<Key>,
    /// Columns of all unique indexes. `None`: not known, for one has expressions, a predicate, or is no plain index.
    pub unique_columns: Option<Vec<String>>,
    /// Those of users that fire when a client writes.
    pub triggers: Vec<Trigger>,
    /// Its rows are captured: our own trigger fires on it.
    pub captured: bool,
    /// Some role may write some of its columns only, or cannot name the type of one: it cannot write whole rows.
    pub in_part: bool,
    /// A trigger or rule of users that fires also where captured rows are applied (`ENABLE ALWAYS`, `ENABLE REPLICA`).
    pub fires_for_copies: Option<String>,
    pub rules: Vec<Rule>,
    /// Relations that its rules name.
    pub rule_targets: Vec<Oid>,
    pub children: Vec<Oid>,
    pub parents: Vec<Oid>,
    pub calls: Vec<Call>,
    /// Relations that a view reads.
    pub reads: Vec<Oid>,
    /// What reading it does besides.
    pub reading: Effect,
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    pub fn has_identity(&self) -> bool {
        self.columns.iter().any(|c| c.identity != Identity::None)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    None,
    Always,
    ByDefault,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub type_oid: Oid,
    /// Schema-qualified and quoted.
    pub type_name: String,
    pub format: Format,
    /// What the leader returns means the same on a follower, whatever the settings of the session.
    pub exact: bool,
    /// Its text does.
    pub text_exact: bool,
    /// It may hold letters, which are converted to the client's encoding.
    pub letters: bool,
    /// `character`: blanks at its end belong to it.
    pub padded: bool,
    /// Text is read as the same value on every node, under the same DateStyle, IntervalStyle and TimeZone.
    pub reads_alike: bool,
    pub not_null: bool,
    pub generated: bool,
    pub identity: Identity,
    /// The default expression as the server prints it.
    pub default: Option<String>,
    /// Date, time and what is made of them: the word `now` is a value.
    pub temporal: bool,
}

impl Column {
    pub fn moves_sequence(&self) -> bool {
        self.identity != Identity::None || self.default.as_deref().is_some_and(|d| d.contains("nextval("))
    }
}

#[derive(Debug, Clone)]
pub struct Key {
    pub columns: Vec<KeyColumn>,
}

#[derive(Debug, Clone)]
pub struct KeyColumn {
    pub name: String,
    /// `OPERATOR("pg_catalog".=)`.
    pub equality: String,
}

#[derive(Debug, Clone)]
pub struct Trigger {
    pub name: String,
    bits: i32,
    pub function: Callee,
}

/// What a trigger or rule waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Trigger {
    /// `bits`: pg_trigger.tgtype (src/include/catalog/pg_trigger.h, `TRIGGER_TYPE_…`).
    pub fn new(name: String, bits: i32, function: Callee) -> Self {
        Self { name, bits, function }
    }

    /// Whether rows, or statements that change rows, set it off.
    pub fn is_about_rows(&self) -> bool {
        [Event::Insert, Event::Update, Event::Delete].iter().any(|event| self.fires_for(*event))
    }

    pub fn fires_for(&self, event: Event) -> bool {
        let bit = match event {
            Event::Insert => 1 << 2,
            Event::Delete => 1 << 3,
            Event::Update => 1 << 4,
            Event::Truncate => 1 << 5,
        };
        self.bits & bit != 0
    }
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignKeyAction {
    /// NO ACTION and RESTRICT.
    None,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Debug, Clone)]
pub struct ForeignKey {
    pub referring: Oid,
    pub referred: Oid,
    pub on_delete: ForeignKeyAction,
    pub on_update: ForeignKeyAction,
    pub referring_columns: Vec<String>,
    pub referred_columns: Vec<String>,
}

/// What a call does besides computing a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// May move a sequence.
    pub sequences: bool,
    /// May change a setting of the session.
    pub settings: bool,
    /// May take a lock that the session keeps when its transaction is over, or let one go.
    pub locks: bool,
    /// May change anything else, or what is not known.
    pub writes: bool,
    /// What it changes is more than rows of tables that its text names: capture would not see it.
    pub beyond: bool,
    /// It runs text that it makes: that it has changed rows alone, and which, is known only afterwards ([`super::watch`]).
    pub text: bool,
    /// May leave with its transaction what is no row that it has changed: a lock, a notification, a setting, a cursor.
    pub lingers: bool,
}

impl Effect {
    pub const WRITES: Self =
        Self { sequences: true, settings: true, locks: true, writes: true, beyond: true, text: false, lingers: true };

    /// Rows of tables, which draw from sequences.
    pub const ROWS: Self = Self { sequences: true, writes: true, ..Self::NONE };

    /// Whatever text may do, short of what is refused afterwards: a change of settings is.
    pub const TEXT: Self = Self { locks: true, text: true, lingers: true, ..Self::ROWS };

    const NONE: Self = Self {
        sequences: false,
        settings: false,
        locks: false,
        writes: false,
        beyond: false,
        text: false,
        lingers: false,
    };

    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// It changes nothing that outlives its transaction, nor what the proxy must know.
    pub fn only_computes(self) -> bool {
        Self { lingers: false, ..self }.is_none()
    }
}

impl std::ops::BitOrAssign for Effect {
    fn bitor_assign(&mut self, other: Self) {
        self.sequences |= other.sequences;
        self.settings |= other.settings;
        self.locks |= other.locks;
        self.writes |= other.writes;
        self.beyond |= other.beyond;
        self.text |= other.text;
        self.lingers |= other.lingers;
    }
}

/// Where a definition calls a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Default,
    Generated,
    Check,
    /// Of an index or of a partition key.
    Index,
    View,
    Policy,
    Rule,
    /// Of a trigger.
    When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callee {
    User(Oid),
    /// A function of the server, by name: one that does more than compute, or depends on more than its arguments.
    BuiltIn(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub place: Place,
    pub callee: Callee,
}

#[derive(Debug, Clone)]
pub struct Function {
    pub schema: String,
    pub name: String,
    pub extension: Option<String>,
    /// May be called as `row.function`.
    pub by_attribute: bool,
    pub effect: Effect,
    /// Why it may write, if it may.
    pub why: String,
    /// Names of the tables and views whose rows its own text changes.
    pub targets: Vec<String>,
    /// Gives the same for the same arguments on every server, under whatever settings.
    pub same_everywhere: bool,
}
