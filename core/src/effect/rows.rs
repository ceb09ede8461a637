//! Rows by key: which statement applies them on a follower.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::quote::quote_name;
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
    /// Schema-qualified, quoted name of the type. Every parameter is cast to it: so a column whose type was changed
    /// gives another text, and a statement prepared for the old type is not used for it.
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

impl Template {
    fn new(sql: String) -> Self {
        let digest: [u8; 32] = Sha256::digest(sql.as_bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self { id: TemplateId(u128::from_be_bytes(id)), sql: sql.into() }
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
    /// The table has an identity column, for which values are given.
    pub identity: bool,
    /// Applies one row.
    pub single: Template,
    /// The table refers to itself by a foreign key: what one statement did must be done by one statement, for PostgreSQL
    /// checks the key at the statement's end.
    pub whole: bool,
    /// Rows may be applied several at a time, in any order. Not so when a unique column changes: a unique index is checked
    /// row by row, and only the leader's order is known to pass.
    pub chunkable: bool,
}

impl RowEffect {
    pub fn new(
        table: String,
        kind: RowKind,
        columns: Vec<EffectColumn>,
        identity: bool,
        whole: bool,
        chunkable: bool,
    ) -> Self {
        let single = Template::new(statement(&table, kind, &columns, identity, 1));
        Self { table, kind, columns, identity, single, whole, chunkable }
    }

    /// Applies `rows` rows by one statement.
    pub fn multi(&self, rows: usize) -> Template {
        Template::new(statement(&self.table, self.kind, &self.columns, self.identity, rows))
    }
}

fn statement(table: &str, kind: RowKind, columns: &[EffectColumn], identity: bool, rows: usize) -> String {
    match kind {
        RowKind::Insert => insert(table, columns, identity, rows),
        RowKind::Upsert => upsert(table, columns, identity, rows),
        RowKind::Update => update(table, columns, rows),
        RowKind::Delete => delete(table, columns, rows),
    }
}

fn insert(table: &str, columns: &[EffectColumn], identity: bool, rows: usize) -> String {
    if columns.is_empty() {
        return format!("INSERT INTO {table} DEFAULT VALUES");
    }
    let overriding = if identity { " OVERRIDING SYSTEM VALUE" } else { "" };
    format!("INSERT INTO {table} ({}){overriding} VALUES {}", names(columns.iter()), values(columns, rows))
}

fn upsert(table: &str, columns: &[EffectColumn], identity: bool, rows: usize) -> String {
    let keys = names(columns.iter().filter(|c| c.key));
    let sets: Vec<_> = columns.iter().filter(|c| !c.key).map(|c| quote_name(&c.name)).collect();
    let insert = insert(table, columns, identity, rows);
    if sets.is_empty() {
        return format!("{insert} ON CONFLICT ({keys}) DO NOTHING");
    }
    let sets: Vec<_> = sets.into_iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    format!("{insert} ON CONFLICT ({keys}) DO UPDATE SET {}", sets.join(", "))
}

/// The count is checked inside the batch: a row that is not there divides by zero.
fn update(table: &str, columns: &[EffectColumn], rows: usize) -> String {
    let set = |column: &EffectColumn, value: String| format!("{} = {value}", quote_name(&column.name));
    if rows == 1 {
        let sets =
            joined(columns.iter().enumerate().filter(|(_, c)| !c.key).map(|(n, c)| set(c, parameter(c, n))), ", ");
        let keys =
            joined(columns.iter().enumerate().filter(|(_, c)| c.key).map(|(n, c)| set(c, parameter(c, n))), " AND ");
        return counted(&format!("UPDATE {table} SET {sets} WHERE {keys}"), 1);
    }
    let sets = joined(columns.iter().enumerate().filter(|(_, c)| !c.key).map(|(n, c)| set(c, format!("v.c{n}"))), ", ");
    counted(&format!("UPDATE {table} AS t SET {sets} FROM {} WHERE {}", source(columns, rows), matching(columns)), rows)
}

fn delete(table: &str, columns: &[EffectColumn], rows: usize) -> String {
    if rows == 1 {
        let keys = columns.iter().enumerate().map(|(n, c)| format!("{} = {}", quote_name(&c.name), parameter(c, n)));
        return counted(&format!("DELETE FROM {table} WHERE {}", joined(keys, " AND ")), 1);
    }
    counted(&format!("DELETE FROM {table} AS t USING {} WHERE {}", source(columns, rows), matching(columns)), rows)
}

fn counted(change: &str, rows: usize) -> String {
    let check = if rows == 1 { "1/count(*)::int".to_owned() } else { format!("1/(count(*) = {rows})::int") };
    format!("WITH w AS ({change} RETURNING 1) SELECT {check} FROM w")
}

fn source(columns: &[EffectColumn], rows: usize) -> String {
    let names = joined((0..columns.len()).map(|n| format!("c{n}")), ", ");
    format!("(VALUES {}) AS v({names})", values(columns, rows))
}

fn matching(columns: &[EffectColumn]) -> String {
    let keys = columns.iter().enumerate().filter(|(_, c)| c.key);
    joined(keys.map(|(n, c)| format!("t.{} = v.c{n}", quote_name(&c.name))), " AND ")
}

fn values(columns: &[EffectColumn], rows: usize) -> String {
    let mut out = String::new();
    for row in 0..rows {
        out.push_str(if row == 0 { "(" } else { ", (" });
        for (n, column) in columns.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            let _ = write!(out, "{separator}{}", parameter(column, row * columns.len() + n));
        }
        out.push(')');
    }
    out
}

fn parameter(column: &EffectColumn, position: usize) -> String {
    format!("${}::{}", position + 1, column.type_name)
}

fn names<'a>(columns: impl Iterator<Item = &'a EffectColumn>) -> String {
    joined(columns.map(|c| quote_name(&c.name)), ", ")
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, key: bool) -> EffectColumn {
        EffectColumn { name: name.into(), type_name: "\"pg_catalog\".\"int4\"".into(), format: Format::Binary, key }
    }

    fn sql(kind: RowKind, rows: usize) -> String {
        let columns =
            if kind == RowKind::Delete { vec![column("k", true)] } else { vec![column("k", true), column("v", false)] };
        let effect = RowEffect::new("\"s\".\"t\"".into(), kind, columns, false, false, true);
        let template = if rows == 1 { effect.single } else { effect.multi(rows) };
        template.sql.replace("::\"pg_catalog\".\"int4\"", "")
    }

    #[test]
    fn one_row_is_applied_by_its_key_and_counted() {
        assert_eq!(sql(RowKind::Insert, 1), r#"INSERT INTO "s"."t" ("k", "v") VALUES ($1, $2)"#);
        assert_eq!(
            sql(RowKind::Upsert, 1),
            r#"INSERT INTO "s"."t" ("k", "v") VALUES ($1, $2) ON CONFLICT ("k") DO UPDATE SET "v" = EXCLUDED."v""#
        );
        assert_eq!(
            sql(RowKind::Update, 1),
            r#"WITH w AS (UPDATE "s"."t" SET "v" = $2 WHERE "k" = $1 RETURNING 1) SELECT 1/count(*)::int FROM w"#
        );
        assert_eq!(
            sql(RowKind::Delete, 1),
            r#"WITH w AS (DELETE FROM "s"."t" WHERE "k" = $1 RETURNING 1) SELECT 1/count(*)::int FROM w"#
        );
    }

    #[test]
    fn several_rows_are_applied_by_one_statement_and_counted() {
        assert_eq!(sql(RowKind::Insert, 2), r#"INSERT INTO "s"."t" ("k", "v") VALUES ($1, $2), ($3, $4)"#);
        assert_eq!(
            sql(RowKind::Update, 2),
            r#"WITH w AS (UPDATE "s"."t" AS t SET "v" = v.c1 FROM (VALUES ($1, $2), ($3, $4)) AS v(c0, c1) WHERE t."k" = v.c0 RETURNING 1) SELECT 1/(count(*) = 2)::int FROM w"#
        );
        assert_eq!(
            sql(RowKind::Delete, 2),
            r#"WITH w AS (DELETE FROM "s"."t" AS t USING (VALUES ($1), ($2)) AS v(c0) WHERE t."k" = v.c0 RETURNING 1) SELECT 1/(count(*) = 2)::int FROM w"#
        );
    }
}
