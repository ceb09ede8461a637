//! What the planning of one statement may look at, and what it has looked at.

use std::cell::Cell;

use pg_query::protobuf::RangeVar;

use super::{Context, Plan, Policy, refuse};
use crate::catalog::{Catalog, Relation, SearchPath};
use crate::fault::Fault;
use crate::sql::{Facts, Kind, Name, OWN_SCHEMA, Parsed, Statement, Token};

/// Why a statement's planning ends before its plan.
#[derive(Debug)]
pub enum Stop {
    NeedCatalog,
    NeedSearchPath,
    Refuse(Fault),
    /// It concerns what the catalog does not know: the leader may have an error for it.
    Unknown,
    /// The same; if the leader has none, this is said.
    UnknownBut(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Refuse(fault)
    }
}

pub type Outcome<T = Plan> = Result<T, Stop>;

pub struct Scope<'a> {
    pub sql: &'a str,
    pub parsed: &'a Parsed<'a>,
    context: &'a Context<'a>,
    uses_catalog: Cell<bool>,
    uses_path: Cell<bool>,
    /// Another literal might have given another plan.
    reads_literals: Cell<bool>,
}

/// On what a plan depends besides its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    pub catalog: bool,
    pub path: bool,
    pub literals: bool,
}

impl std::ops::BitOrAssign for Uses {
    fn bitor_assign(&mut self, other: Self) {
        self.catalog |= other.catalog;
        self.path |= other.path;
        self.literals |= other.literals;
    }
}

impl<'a> Scope<'a> {
    pub fn new(parsed: &'a Parsed<'a>, context: &'a Context<'a>) -> Self {
        let flag = || Cell::new(false);
        Self { sql: parsed.sql, parsed, context, uses_catalog: flag(), uses_path: flag(), reads_literals: flag() }
    }

    pub fn uses(&self) -> Uses {
        Uses { catalog: self.uses_catalog.get(), path: self.uses_path.get(), literals: self.reads_literals.get() }
    }

    /// For statements within this one.
    pub fn context(&self) -> &'a Context<'a> {
        self.context
    }

    pub fn policy(&self) -> Policy {
        self.context.policy
    }

    pub fn catalog(&self) -> Outcome<&'a Catalog> {
        self.uses_catalog.set(true);
        self.context.catalog.ok_or(Stop::NeedCatalog)
    }

    pub fn path(&self) -> Outcome<&'a SearchPath> {
        self.uses_path.set(true);
        let path = self.context.search_path.ok_or(Stop::NeedSearchPath)?;
        if path.schemas().any(|schema| schema == OWN_SCHEMA) {
            return Err(refuse::own_schema().into());
        }
        Ok(path)
    }

    /// Whether letters are converted between the database's encoding and the client's.
    pub fn converts(&self) -> Outcome<bool> {
        self.uses_catalog.set(true);
        self.context.converts.ok_or(Stop::NeedSearchPath)
    }

    pub fn reads_literals(&self) {
        self.reads_literals.set(true);
    }

    /// The relation that a name means, if the catalog knows it.
    pub fn relation(&self, schema: &str, name: &str) -> Outcome<Option<&'a Relation>> {
        let catalog = self.catalog()?;
        Ok(match schema {
            "" => catalog.relation_on(self.path()?, name),
            "pg_temp" => catalog.temporary_relation(name),
            schema => catalog.relation_in(schema, name),
        })
    }

    pub fn relation_of(&self, range: &RangeVar) -> Outcome<Option<&'a Relation>> {
        self.relation(&range.schemaname, &range.relname)
    }

    pub fn named(&self, name: &Name) -> Outcome<Option<&'a Relation>> {
        self.relation(name.schema.as_deref().unwrap_or(""), &name.name)
    }

    /// Whether a statement names the schema of ours, or something in it. A column or an alias may be called so, where the
    /// name is written plainly.
    pub fn names_own_schema(&self, statement: &Statement) -> bool {
        let tokens = &self.parsed.tokens[statement.tokens.clone()];
        let about_schemas = tokens.get(1).is_some_and(|t| t.is_word(self.sql, "schema"));
        let escaped = |t: &Token| t.kind == Kind::Quoted && t.text(self.sql).get(1) == Some(&b'&');
        let named = tokens.iter().enumerate().any(|(at, token)| {
            let own = token.is_word(self.sql, OWN_SCHEMA) || token.text(self.sql) == b"\"lockstep\"";
            let qualifies = tokens.get(at + 1).is_some_and(|t| t.is(self.sql, b'.'));
            let behind_schema = at > 0 && tokens[at - 1].is_word(self.sql, "schema");
            own && (qualifies || behind_schema || about_schemas)
        });
        named || tokens.iter().any(escaped) && Facts::of(&statement.node).own_name
    }

    /// Refuses a name of something of ours that is found by the search path, or stands in a literal.
    pub fn spares_own_schema(&self, facts: &Facts) -> Outcome<()> {
        if facts.names_by_text() {
            self.reads_literals();
            if facts.own_literal {
                return Err(refuse::own_schema().into());
            }
        }
        let catalog = self.catalog()?;
        let ours = |name: &&Name| name.schema.is_none() && catalog.relation_in(OWN_SCHEMA, &name.name).is_some();
        if facts.relations.iter().chain(&facts.lists).any(|name| ours(&name)) {
            self.path()?;
        }
        Ok(())
    }
}
