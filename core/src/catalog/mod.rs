//! What the planner must know of one database: keys, defaults, triggers, rules, function volatility, sequences.
//!
//! `load` holds the queries that are run on a session's leader connection and makes the model of their rows; `cell` is
//! how all sessions of a database share it. Nothing here knows SQL text or sessions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::frontend::Format;

pub mod cell;
mod load;

pub use cell::{Cell, SchemaEpoch};
pub use load::{Loader, QUERIES, SEARCH_PATH_QUERY};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogFault {
    #[error("query {0} returned a row that cannot be read")]
    Row(usize),
    #[error("the search path cannot be read")]
    SearchPath,
}

/// What a relation is (`pg_class.relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
}

/// Where a column's value comes from when a statement gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultKind {
    /// No default, or a constant: the same on every node.
    Constant,
    /// A sequence: serial or identity.
    Sequence,
    /// Any other expression.
    Expression,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Schema-qualified and quoted.
    pub type_name: String,
    pub format: Format,
    pub temporal: bool,
    pub generated: bool,
    pub identity: bool,
    pub default: DefaultKind,
    pub not_null: bool,
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    pub primary: bool,
    /// Names of its key columns.
    pub columns: Vec<String>,
    /// Valid, immediate, whole and without expressions: it finds one row.
    pub identifies: bool,
}

/// For which events something happens besides what a statement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

/// A foreign key, seen from the table that is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub table: u32,
    pub on_delete: Reaction,
    pub on_update: Reaction,
}

/// What a foreign key does to the referring row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Refuse,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub temporary: bool,
    pub columns: Vec<Column>,
    pub uniques: Vec<Unique>,
    pub triggers: Events,
    pub rules: bool,
    pub row_security: bool,
    /// Inheritance children that are no partitions.
    pub has_children: bool,
    pub partitions: Vec<u32>,
    pub referrers: Vec<Referrer>,
    /// A default, check, rule or index of it calls a function that may write; for a view, its query does.
    pub calls_writers: bool,
    /// Relations that a view reads.
    pub reads: Vec<u32>,
}

impl Relation {
    /// The columns by which rows are found, if `free` holds for all of them: the primary key, else another unique index
    /// whose columns cannot be null.
    pub fn key(&self, free: impl Fn(&str) -> bool) -> Option<&[String]> {
        let not_null = |name: &String| self.column(name).is_some_and(|c| c.not_null);
        let usable = |u: &&Unique| u.identifies && u.columns.iter().all(not_null) && u.columns.iter().all(|c| free(c));
        let primary = self.uniques.iter().filter(|u| u.primary).find(usable);
        primary.or_else(|| self.uniques.iter().find(usable)).map(|u| &u.columns[..])
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    pub fn is_in_unique(&self, column: &str) -> bool {
        self.uniques.iter().any(|u| u.columns.iter().any(|c| c == column) || u.columns.is_empty())
    }

    pub fn refers_to_itself(&self) -> bool {
        self.referrers.iter().any(|r| r.table == self.oid)
    }
}

#[derive(Debug, Default)]
pub struct Catalog {
    /// Set by who loads it: no two catalogs that a plan cache sees may share one.
    pub version: u64,
    relations: HashMap<u32, Relation>,
    names: HashMap<String, HashMap<String, u32>>,
    writers: HashSet<String>,
    /// Names of views whose queries may write.
    writing_views: HashSet<String>,
    sequences: Vec<(String, String)>,
    deferrable: bool,
}

impl Catalog {
    pub fn has_temporary(&self) -> bool {
        self.relations.values().any(|r| r.temporary)
    }

    /// Schema and name of every sequence.
    pub fn sequences(&self) -> &[(String, String)] {
        &self.sequences
    }

    /// Whether the database has a deferrable constraint or a constraint trigger.
    pub fn has_deferrable(&self) -> bool {
        self.deferrable
    }

    /// Whether a function of this name, in any schema, may write: see `load`.
    pub fn may_write(&self, function: &str) -> bool {
        self.writers.contains(function)
    }

    /// Whether a view of this name, in any schema, reads what may write.
    pub fn view_may_write(&self, name: &str) -> bool {
        self.writing_views.contains(name)
    }

    /// Notes the views that reach a writing function through other views.
    fn mark_writing_views(&mut self) {
        let is_view = |r: &Relation| matches!(r.kind, RelationKind::View | RelationKind::Materialized);
        let mut writing: HashSet<u32> =
            self.relations.values().filter(|r| is_view(r) && r.calls_writers).map(|r| r.oid).collect();
        loop {
            let before = writing.len();
            let reached =
                self.relations.values().filter(|r| is_view(r) && r.reads.iter().any(|read| writing.contains(read)));
            let reached: Vec<u32> = reached.map(|r| r.oid).collect();
            writing.extend(reached);
            if writing.len() == before {
                break;
            }
        }
        self.writing_views = writing.iter().filter_map(|oid| self.relations.get(oid)).map(|r| r.name.clone()).collect();
    }

    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.names.get(schema)?.get(name).and_then(|oid| self.relations.get(oid))
    }

    pub fn by_oid(&self, oid: u32) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    /// What an unqualified name means.
    pub fn resolve(&self, path: &SearchPath, name: &str) -> Option<&Relation> {
        path.0.iter().find_map(|schema| self.relation(schema, name))
    }
}

/// The schemas in which unqualified names are looked for, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SearchPath(Arc<[String]>);

impl SearchPath {
    pub fn new(schemas: &[&str]) -> Self {
        Self(schemas.iter().map(|s| (*s).to_owned()).collect())
    }

    /// From the row of [`SEARCH_PATH_QUERY`]: hexadecimal names, separated by commas.
    pub fn from_row(row: &[Option<Bytes>]) -> Result<Self, CatalogFault> {
        let Some(text) = row.first().ok_or(CatalogFault::SearchPath)? else { return Ok(Self(Arc::new([]))) };
        let text = std::str::from_utf8(text).map_err(|_| CatalogFault::SearchPath)?;
        let names = text.split(',').filter(|t| !t.is_empty()).map(|t| unhex(t).ok_or(CatalogFault::SearchPath));
        Ok(Self(names.collect::<Result<Vec<_>, _>>()?.into()))
    }

    pub fn schemas(&self) -> &[String] {
        &self.0
    }
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.as_bytes();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<_>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_read_whatever_its_names_hold() {
        let row = [Some(Bytes::from_static(b"7075626c6963,612c62"))];
        assert_eq!(SearchPath::from_row(&row), Ok(SearchPath::new(&["public", "a,b"])));
        assert_eq!(SearchPath::from_row(&[None]), Ok(SearchPath::new(&[])));
        assert!(SearchPath::from_row(&[Some(Bytes::from_static(b"zz"))]).is_err());
    }
}
