//! Tables whose rows come from expressions in DDL: CREATE TABLE AS, SELECT INTO, ALTER TABLE that computes values.
//!
//! The leader runs the client's command as it is. Followers get a command that computes nothing, and then the leader's
//! rows, read within the same transaction: nobody else sees or changes the table meanwhile. A new table is made from its
//! columns as the leader has them; a table that is altered is emptied, altered by the client's own text, for which there
//! is then no row to compute, and filled again. Materialized views take no rows: their query must give the same on
//! every server ([`materialized`]).
//!
//! Invariant: what is judged is the table as it is after the command, under the lock that the command holds.

use std::sync::Arc;

use pg_query::protobuf::{IntoClause, RangeVar};

use super::block::Block;
use super::refuse::refuse;
use super::safety::{self, Change};
use super::scope::{Outcome, Scope, Stop};
use super::{Action, Marks, Plan, Write, materialized, write};
use crate::catalog::{Catalog, Event, Relation, RelationKind};
use crate::fault::Fault;
use crate::quote::{quote_identifier, quote_literal, quote_qualified};
use crate::sql::{Statement, Token, span};

/// A command whose rows followers get from the leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `None`: where the session makes new relations.
    schema: Option<String>,
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A new table. `options`: what stands between its columns and its query.
    Made { unlogged: bool, options: String },
    /// `optional`: IF EXISTS.
    Altered { optional: bool, computed: Computed },
    /// A materialized view, made or filled again.
    View { concurrently: bool },
    /// A DO block of DDL.
    Block(Block),
}

/// What ALTER TABLE computes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Computed {
    pub columns: Vec<String>,
    /// Not every value may stand in them.
    pub restricted: bool,
}

/// What followers get.
#[derive(Debug)]
pub struct Carried {
    pub texts: Vec<String>,
    /// How the leader's rows are read, and applied.
    pub rows: Option<(String, Arc<Write>)>,
    /// What the leader does besides, so that followers read what it has read.
    pub held: Option<String>,
}

impl Carried {
    pub fn of(texts: Vec<String>) -> Self {
        Self { texts, rows: None, held: None }
    }
}

/// Rows of the answer to [`Image::question`].
type Found = [Vec<Option<bytes::Bytes>>];

pub fn made(scope: &Scope<'_>, statement: &Statement, into: &IntoClause, marks: Marks) -> Outcome {
    let range = into.rel.as_ref().ok_or(Stop::Unknown)?;
    let options = if into.access_method.is_empty() && into.options.is_empty() && into.table_space_name.is_empty() {
        String::new()
    } else {
        scope.reads_literals();
        options(scope, statement).ok_or(Stop::Unknown)?
    };
    let image = Image {
        schema: Some(range.schemaname.clone()).filter(|schema| !schema.is_empty()),
        name: range.relname.clone(),
        kind: Kind::Made { unlogged: range.relpersistence == "u", options },
    };
    Ok(Plan { marks, ..Action::Image(Arc::new(image)).into() })
}

pub fn altered(scope: &Scope<'_>, range: &RangeVar, optional: bool, computed: Computed) -> Outcome<Image> {
    let (schema, name) = match scope.relation_of(range)? {
        Some(relation) => (Some(relation.schema.clone()), relation.name.clone()),
        None => (Some(range.schemaname.clone()).filter(|schema| !schema.is_empty()), range.relname.clone()),
    };
    Ok(Image { schema, name, kind: Kind::Altered { optional, computed } })
}

/// CREATE or REFRESH MATERIALIZED VIEW. A new one is where the session makes new relations, an old one where it is found.
pub fn view(scope: &Scope<'_>, range: Option<&RangeVar>, exists: bool, concurrently: bool) -> Outcome<Image> {
    let range = range.ok_or(Stop::Unknown)?;
    let found = if exists { scope.relation_of(range)?.map(|relation| relation.schema.clone()) } else { None };
    let schema = found.or_else(|| Some(range.schemaname.clone()).filter(|schema| !schema.is_empty()));
    Ok(Image { schema, name: range.relname.clone(), kind: Kind::View { concurrently } })
}

/// What stands behind the name and the columns of `CREATE TABLE … AS`, up to its AS.
fn options(scope: &Scope<'_>, statement: &Statement) -> Option<String> {
    let tokens = &scope.parsed.tokens[statement.tokens.clone()];
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|t: &Token| t.is_word(scope.sql, word));
    let sign = |at: usize, sign: u8| tokens.get(at).is_some_and(|t: &Token| t.is(scope.sql, sign));
    let mut at = (0..tokens.len()).find(|at| word(*at, "table"))? + 1;
    if word(at, "if") && word(at + 1, "not") {
        at += 3;
    }
    while sign(at + 1, b'.') {
        at += 2;
    }
    let start = past_brackets(scope, tokens, at + 1);
    let mut end = start;
    while end < tokens.len() && !word(end, "as") {
        end = past_brackets(scope, tokens, end).max(end + 1);
    }
    let place = statement.tokens.start;
    Some(scope.sql[span(&scope.parsed.tokens, &(place + start..place + end))].to_owned())
}

/// Behind the brackets that open here; here, if none do.
fn past_brackets(scope: &Scope<'_>, tokens: &[Token], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        if token.is(scope.sql, b'(') {
            depth += 1;
        } else if token.is(scope.sql, b')') {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 {
            return if token.is(scope.sql, b')') { at + 1 } else { from };
        }
    }
    from
}

impl Image {
    pub fn of_block(block: Block) -> Self {
        Self { schema: None, name: "the block".into(), kind: Kind::Block(block) }
    }

    /// What the leader is sent for the client's text.
    pub fn sent(&self, text: &bytes::Bytes) -> bytes::Bytes {
        match &self.kind {
            Kind::Block(block) => block.marked(text).into(),
            _ => text.clone(),
        }
    }

    /// Whether the command did nothing, by its tag: `IF NOT EXISTS`, and there is one.
    pub fn was_passed_over(&self, tag: &[u8]) -> bool {
        let expected: &[&[u8]] = match self.kind {
            Kind::Made { .. } => &[b"SELECT "],
            Kind::Altered { .. } => &[b"ALTER "],
            Kind::View { .. } => &[b"SELECT ", b"REFRESH "],
            Kind::Block(_) => &[b"DO"],
        };
        !expected.iter().any(|start| tag.starts_with(start))
    }

    /// What the leader is asked when the command has run: a row for each column.
    pub fn question(&self) -> String {
        let schema = self.schema.as_deref().map_or("pg_catalog.current_schema()".into(), quote_literal);
        match self.kind {
            Kind::View { .. } => return materialized::question(&schema, &self.name),
            Kind::Block(_) => return "SELECT pg_catalog.current_setting('lockstep.done')".to_owned(),
            Kind::Made { .. } | Kind::Altered { .. } => {}
        }
        format!("{QUESTION} WHERE n.nspname = {schema} AND c.relname = {} ORDER BY a.attnum", quote_literal(&self.name))
    }

    /// What followers get, given the answer and the catalog of now. `text` is the client's.
    pub fn carried(&self, text: &str, found: &Found, catalog: &Catalog, converts: bool) -> Result<Carried, Fault> {
        let Some(first) = found.first() else {
            return match self.kind {
                Kind::Altered { optional: true, .. } => Ok(Carried::of(vec![text.to_owned()])),
                _ => Err(refuse(
                    format_args!("{} is not found after it", self.name),
                    "Give the table's name with its schema.",
                )),
            };
        };
        if let Kind::Block(block) = &self.kind {
            let texts = block.done(&field(first, 0)).ok_or_else(|| refuse("its marks are lost", "Run it again."))?;
            return Ok(Carried::of(texts));
        }
        if let Kind::View { concurrently } = self.kind {
            materialized::check(found.iter().skip(1).map(|row| field(row, 0)))?;
            let (tables, view) = (field(first, 0), field(first, 2));
            let held = Some(materialized::hold(&tables, &view, concurrently));
            return Ok(Carried { held, ..Carried::of(vec![text.to_owned()]) });
        }
        let schema = field(first, 0);
        let relation = catalog.relation_in(&schema, &self.name).filter(|r| !r.temporary);
        let relation = relation.ok_or_else(|| refuse("its table is not understood", "Set client_encoding to UTF8."))?;
        if field(first, 1) != "t" {
            let hint = format!("GRANT SELECT, INSERT, TRUNCATE ON {} TO its owner.", relation.name);
            return Err(refuse("followers need SELECT, INSERT and TRUNCATE on the table to take its rows over", hint));
        }
        if let Some(row) = found.iter().find(|row| row.get(6).is_some_and(Option::is_some)) {
            let reason = format!("rows that {} does not take may be there all the same", field(row, 6));
            return Err(refuse(reason, "ALTER TABLE … VALIDATE CONSTRAINT; cast a domain to its own type."));
        }
        let table = quote_qualified(&relation.schema, &relation.name);
        let (texts, write) = match &self.kind {
            Kind::View { .. } | Kind::Block(_) => return Err(refuse("it takes no rows", "Use a table.")),
            Kind::Made { unlogged, options } => {
                fillable(catalog, relation)?;
                let unlogged = if *unlogged { "UNLOGGED " } else { "" };
                let create = format!("CREATE {unlogged}TABLE {table} ({}) {options}", columns(found)?);
                (vec![create], write::of_table(catalog, relation, converts)?)
            }
            Kind::Altered { computed, .. } => {
                alterable(catalog, relation, first)?;
                match refillable(catalog, relation) {
                    Ok(()) => {
                        let only = if relation.kind == RelationKind::Table { "ONLY " } else { "" };
                        let texts = vec![format!("TRUNCATE {only}{table}"), text.to_owned()];
                        (texts, write::of_table(catalog, relation, converts)?)
                    }
                    Err(why) => (vec![text.to_owned()], by_key(catalog, relation, converts, computed, why)?),
                }
            }
        };
        let list: Vec<String> = write.effect.columns.iter().map(|c| c.returned("t")).collect();
        let only = if relation.kind == RelationKind::Table { "ONLY " } else { "" };
        let select = format!("SELECT {} FROM {only}{table} AS t", list.join(", "));
        Ok(Carried { rows: Some((select, Arc::new(write))), ..Carried::of(texts) })
    }
}

/// Followers can insert the rows.
fn fillable(catalog: &Catalog, relation: &Relation) -> Result<(), Fault> {
    safety::check(catalog, relation, Change { event: Event::Insert, assigned: &[], defaults: false }, true)
}

/// All that the command computes can be read.
fn alterable(catalog: &Catalog, relation: &Relation, found: &[Option<bytes::Bytes>]) -> Result<(), Fault> {
    let name = &relation.name;
    if relation.kind == RelationKind::Table && catalog.family(relation.oid).len() > 1 {
        return Err(refuse(format_args!("other tables inherit from {name}, whose rows it computes, too"), BY_STEPS));
    }
    if field(found, 2) != "read committed" {
        let reason = format!("rows of {name} may be newer than the snapshot of this transaction");
        return Err(refuse(reason, "Alter the table in a transaction at READ COMMITTED."));
    }
    Ok(())
}

/// The table can be emptied on followers, and filled again with all that it has.
fn refillable(catalog: &Catalog, relation: &Relation) -> Result<(), Fault> {
    let name = &relation.name;
    let family = catalog.family(relation.oid);
    let within = |oid| family.iter().any(|r| r.oid == oid);
    let mut referring = family.iter().flat_map(|r| catalog.references_to(r.oid)).filter(|key| !within(key.referring));
    if let Some(other) = referring.next().and_then(|key| catalog.relation(key.referring)) {
        let reason = format!("{} refers to {name} by a foreign key, so that {name} cannot be made anew", other.name);
        return Err(refuse(reason, BY_STEPS));
    }
    if catalog.defers(relation) {
        return Err(refuse(format_args!("{name} has a deferrable constraint"), BY_STEPS));
    }
    fillable(catalog, relation)?;
    safety::check(catalog, relation, Change { event: Event::Truncate, assigned: &[], defaults: false }, true)
}

/// Followers compute values of their own, which are put right at once: where any value will do. `why` the table cannot be
/// made anew.
fn by_key(
    catalog: &Catalog,
    relation: &Relation,
    converts: bool,
    computed: &Computed,
    why: Fault,
) -> Result<Write, Fault> {
    if computed.restricted {
        return Err(why);
    }
    write::of_columns(catalog, relation, converts, &computed.columns).map_err(|_| why)
}

pub const BY_STEPS: &str = "Add the column without it, ALTER COLUMN … SET DEFAULT, and UPDATE the rows that are there.";

/// Types of the catalog whose input functions take nothing.
const UNREADABLE: [&str; 6] = [
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
];

/// Columns of a new table, as they are written.
fn columns(found: &Found) -> Result<String, Fault> {
    let mut list = Vec::new();
    for row in found.iter().filter(|row| row.get(3).is_some_and(Option::is_some)) {
        if field(row, 7) == "t" {
            let reason = format!("the type of its column {} is temporary", field(row, 3));
            return Err(refuse(reason, "Cast it to a type that stays."));
        }
        let kind = field(row, 4);
        if UNREADABLE.contains(&kind.as_str()) {
            let reason =
                format!("values of {kind}, the type of its column {}, cannot be given to a server", field(row, 3));
            return Err(refuse(reason, "Leave it out, or cast it to text."));
        }
        list.push(format!("{} {}{}", quote_identifier(&field(row, 3)), kind, field(row, 5)));
    }
    Ok(list.join(", "))
}

/// A name that is not understood is one that no catalog has.
fn field(row: &[Option<bytes::Bytes>], at: usize) -> String {
    let value = row.get(at).cloned().flatten().unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

const QUESTION: &str = "SELECT n.nspname, \
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT') \
        AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), \
    pg_catalog.current_setting('transaction_isolation'), \
    a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0 \
        THEN ' COLLATE ' || pg_catalog.quote_ident(l.nspname) || '.' || pg_catalog.quote_ident(o.collname) ELSE '' END, \
    CASE WHEN k.checked IS NOT NULL THEN k.checked \
        WHEN t.typtype = 'd' AND (t.typnotnull OR EXISTS (SELECT 1 FROM pg_catalog.pg_type b \
                WHERE b.oid = t.typbasetype AND b.typtype = 'd') \
            OR EXISTS (SELECT 1 FROM pg_catalog.pg_constraint d WHERE d.contypid = t.oid \
                AND (NOT d.convalidated OR pg_catalog.pg_get_constraintdef(d.oid) ~* 'null'))) \
        THEN 'the domain ' || t.typname END, \
    pg_catalog.pg_my_temp_schema() <> 0 AND pg_catalog.pg_my_temp_schema() IN (t.typnamespace, e.typnamespace) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
    LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation \
    LEFT JOIN pg_catalog.pg_namespace l ON l.oid = o.collnamespace \
    LEFT JOIN LATERAL (SELECT 'the constraint ' || pg_catalog.min(conname::text) AS checked FROM pg_catalog.pg_constraint \
        WHERE NOT convalidated AND (conrelid = c.oid \
            OR conrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))) k ON true";
