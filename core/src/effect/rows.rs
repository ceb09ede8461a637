//! Rows by key: which statement applies them on a follower.

use std::sync::Arc;

use crate::wire::frontend::Format;

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    Insert,
    /// INSERT ... ON CONFLICT DO UPDATE: the rows exist afterwards with these values, whichever way it went.
    Upsert,
    Update,
    Delete,
}

/// A column whose value the leader returns and the followers get as one parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EffectColumn {
    /// Unquoted name.
    pub name: String,
    /// Schema-qualified, quoted name of the type, for a cast.
    pub type_name: String,
    /// How the value travels: binary unless the type's binary form holds OIDs that differ between nodes.
    pub format: Format,
    /// Part of the key by which the row is found.
    pub key: bool,
}

/// Identifies a follower statement by its text; the name under which it is prepared on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TemplateId(pub u128);

impl TemplateId {
    /// `ls_` and 32 hexadecimal digits.
    pub fn statement_name(self) -> String {
        format!("ls_{:032x}", self.0)
    }
}

/// A statement for followers. It raises an error when it does not change exactly the rows that it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub id: TemplateId,
    pub sql: Arc<str>,
}

/// How the rows of one kind of write to one table are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowEffect {
    /// Schema-qualified and quoted.
    pub table: String,
    pub kind: RowKind,
    /// In the order of the parameters, and of the columns appended to the leader's RETURNING.
    pub columns: Vec<EffectColumn>,
    /// Applies one row.
    pub single: Template,
    /// The table refers to itself by a foreign key: what one statement did must be done by one statement, for PostgreSQL
    /// checks the key at the statement's end.
    pub whole: bool,
    pub chunkable: bool,
}
// STUB
impl RowEffect {
    pub fn multi(&self, _rows: usize) -> Template {
        self.single.clone()
    }
}
