//! Rows by key: which statement applies them on a follower.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::finder::{Finder, KeyPart};
use super::template;
use crate::limits;
use crate::quote::quote_identifier;
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

/// How a value becomes text with nothing lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Text {
    ByCast,
    /// `character`: a cast would cut the blanks at its end.
    Padded,
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
    /// For a part of the key by which the row is found: the operator of its index, as `OPERATOR("pg_catalog".=)`.
    pub equality: Option<String>,
    /// It travels as the bytes of its text in the database's own encoding, for the client's may lack some of its letters.
    pub as_bytes: Option<Text>,
    /// An upsert leaves it alone in a row that exists: GENERATED ALWAYS AS IDENTITY.
    pub fixed: bool,
}

impl EffectColumn {
    /// What the leader returns of it.
    pub fn returned(&self, table: &str) -> String {
        let column = format!("{}.{}", quote_identifier(table), quote_identifier(&self.name));
        let text = match self.as_bytes {
            None => return column,
            Some(Text::ByCast) => format!("{column}::pg_catalog.text"),
            Some(Text::Padded) => format!("pg_catalog.textin(pg_catalog.bpcharout({column}))"),
        };
        format!("pg_catalog.convert_to({text}, pg_catalog.getdatabaseencoding())")
    }

    /// The value on a follower, from this parameter.
    pub(super) fn applied(&self, parameter: usize) -> String {
        let kind = &self.type_name;
        match self.as_bytes {
            None => format!("${parameter}::{kind}"),
            Some(_) => format!(
                "pg_catalog.convert_from(${parameter}::pg_catalog.bytea, pg_catalog.getdatabaseencoding())::{kind}"
            ),
        }
    }

    pub fn is_key(&self) -> bool {
        self.equality.is_some()
    }
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
    /// `None`: the rows that it touches cannot be told from its parameters.
    pub finder: Option<Arc<Finder>>,
}

impl Template {
    pub fn new(sql: String) -> Self {
        let digest = Sha256::digest(sql.as_bytes());
        let id = digest.iter().take(16).fold(0u128, |id, byte| id << 8 | u128::from(*byte));
        Self { id: TemplateId(id), sql: sql.into(), finder: None }
    }

    fn finding(self, finder: Option<Arc<Finder>>) -> Self {
        Self { finder, ..self }
    }
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
    /// Several rows may be applied by one statement: their order does not matter.
    pub chunkable: bool,
    /// The table has an identity column.
    pub(super) overriding: bool,
}

/// What a [`RowEffect`] is made of.
#[derive(Debug, Clone)]
pub struct Rows {
    pub table: String,
    pub kind: RowKind,
    pub columns: Vec<EffectColumn>,
    pub whole: bool,
    pub chunkable: bool,
    pub overriding: bool,
    /// By which the rows are found afterwards.
    pub key: Vec<KeyPart>,
}

impl RowEffect {
    pub fn new(rows: Rows) -> Self {
        let Rows { table, kind, columns, whole, chunkable, overriding, key } = rows;
        let finder = Finder::new(&table, kind, &columns, &key).map(Arc::new);
        let single = Template::new(template::single(&table, kind, &columns, overriding)).finding(finder);
        let parameters = columns.len() * limits::ROWS_PER_STATEMENT;
        let chunkable = chunkable && parameters <= usize::from(u16::MAX);
        Self { table, kind, columns, single, whole, chunkable, overriding }
    }

    /// Applies so many rows at once; the parameters are those of the first row, then of the second, and so on.
    pub fn multi(&self, rows: usize) -> Template {
        let sql = template::multi(&self.table, self.kind, &self.columns, self.overriding, rows);
        Template::new(sql).finding(self.single.finder.clone())
    }
}
