//! The text of the statements that followers are sent.

use std::fmt::Write;

use super::rows::{EffectColumn, RowKind};
use crate::quote::quote_identifier;

pub(super) fn single(table: &str, kind: RowKind, columns: &[EffectColumn], overriding: bool) -> String {
    match kind {
        RowKind::Insert | RowKind::Upsert => insert(table, kind, columns, overriding, 1),
        RowKind::Update => {
            let set = assignments(columns, |n| cast(columns, n, n));
            let found = condition(columns, "", |n| cast(columns, n, n));
            counted(&format!("UPDATE {table} SET {set} WHERE {found}"), 1)
        }
        RowKind::Delete => {
            let found = condition(columns, "", |n| cast(columns, n, n));
            counted(&format!("DELETE FROM {table} WHERE {found}"), 1)
        }
    }
}

pub(super) fn multi(table: &str, kind: RowKind, columns: &[EffectColumn], overriding: bool, rows: usize) -> String {
    let given = |n: usize| format!("v.c{n}");
    let from = || format!("({}) AS v({})", values(columns, rows), list(columns, |n, _| format!("c{n}")));
    let found = || condition(columns, "t.", given);
    match kind {
        RowKind::Insert | RowKind::Upsert => insert(table, kind, columns, overriding, rows),
        RowKind::Update => {
            let set = assignments(columns, given);
            counted(&format!("UPDATE {table} AS t SET {set} FROM {} WHERE {}", from(), found()), rows)
        }
        RowKind::Delete => counted(&format!("DELETE FROM {table} AS t USING {} WHERE {}", from(), found()), rows),
    }
}

fn insert(table: &str, kind: RowKind, columns: &[EffectColumn], overriding: bool, rows: usize) -> String {
    let names = list(columns, |_, c| quote_identifier(&c.name));
    let overriding = if overriding { "OVERRIDING SYSTEM VALUE " } else { "" };
    // Named apart from what ON CONFLICT calls the new row: a table may be called like that.
    let alias = if kind == RowKind::Upsert { " AS t" } else { "" };
    let mut sql = format!("INSERT INTO {table}{alias} ({names}) {overriding}{}", values(columns, rows));
    if kind == RowKind::Upsert {
        sql.push_str(&conflict(columns));
    }
    sql
}

fn conflict(columns: &[EffectColumn]) -> String {
    let quoted = |c: &EffectColumn| quote_identifier(&c.name);
    let key: Vec<String> = columns.iter().filter(|c| c.is_key()).map(quoted).collect();
    let others = columns.iter().filter(|c| !c.is_key() && !c.fixed).map(quoted);
    let set: Vec<String> = others.map(|name| format!("{name}=EXCLUDED.{name}")).collect();
    if set.is_empty() {
        return format!(" ON CONFLICT ({}) DO NOTHING", key.join(","));
    }
    format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(","), set.join(","))
}

fn values(columns: &[EffectColumn], rows: usize) -> String {
    let mut sql = String::from("VALUES ");
    for row in 0..rows {
        let separator = if row == 0 { "" } else { "," };
        let first = row * columns.len();
        let _ = write!(sql, "{separator}({})", list(columns, |n, _| cast(columns, n, first + n)));
    }
    sql
}

/// Column `n`'s type around parameter `parameter`, both counted from 1.
fn cast(columns: &[EffectColumn], n: usize, parameter: usize) -> String {
    columns[n - 1].applied(parameter)
}

fn list(columns: &[EffectColumn], item: impl Fn(usize, &EffectColumn) -> String) -> String {
    let items: Vec<String> = columns.iter().enumerate().map(|(n, c)| item(n + 1, c)).collect();
    items.join(",")
}

fn assignments(columns: &[EffectColumn], value: impl Fn(usize) -> String) -> String {
    let numbered = columns.iter().enumerate().filter(|(_, c)| !c.is_key());
    let set: Vec<String> = numbered.map(|(n, c)| format!("{}={}", quote_identifier(&c.name), value(n + 1))).collect();
    set.join(",")
}

fn condition(columns: &[EffectColumn], qualifier: &str, value: impl Fn(usize) -> String) -> String {
    let terms = columns.iter().enumerate().filter_map(|(n, c)| {
        let operator = c.equality.as_ref()?;
        Some(format!("{qualifier}{} {operator} {}", quote_identifier(&c.name), value(n + 1)))
    });
    terms.collect::<Vec<_>>().join(" AND ")
}

/// Divides by zero unless so many rows are changed.
fn counted(sql: &str, rows: usize) -> String {
    format!(
        "WITH w AS ({sql} RETURNING 1) SELECT 1 OPERATOR(pg_catalog./) \
         (pg_catalog.count(*) OPERATOR(pg_catalog.=) {rows})::pg_catalog.int4 FROM w"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::rows::Text;
    use crate::wire::frontend::Format;

    fn columns() -> Vec<EffectColumn> {
        let column = |name: &str, type_name: &str, key: bool| EffectColumn {
            name: name.into(),
            type_name: type_name.into(),
            format: Format::Binary,
            equality: key.then(|| "OPERATOR(\"pg_catalog\".=)".into()),
            as_bytes: None,
            fixed: false,
        };
        vec![column("id", "\"pg_catalog\".\"int4\"", true), column("a b", "\"public\".\"mood\"", false)]
    }

    #[test]
    fn one_row_is_applied_by_its_key() {
        let columns = columns();
        let sql = |kind| single("\"s\".\"t\"", kind, &columns, true);
        assert_eq!(
            sql(RowKind::Insert),
            "INSERT INTO \"s\".\"t\" (\"id\",\"a b\") OVERRIDING SYSTEM VALUE \
             VALUES ($1::\"pg_catalog\".\"int4\",$2::\"public\".\"mood\")"
        );
        assert!(sql(RowKind::Upsert).ends_with("ON CONFLICT (\"id\") DO UPDATE SET \"a b\"=EXCLUDED.\"a b\""));
        assert_eq!(
            sql(RowKind::Update),
            "WITH w AS (UPDATE \"s\".\"t\" SET \"a b\"=$2::\"public\".\"mood\" \
             WHERE \"id\" OPERATOR(\"pg_catalog\".=) $1::\"pg_catalog\".\"int4\" RETURNING 1) \
             SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.count(*) OPERATOR(pg_catalog.=) 1)::pg_catalog.int4 FROM w"
        );
        assert!(sql(RowKind::Delete).starts_with("WITH w AS (DELETE FROM \"s\".\"t\" WHERE \"id\" OPERATOR"));
    }

    #[test]
    fn several_rows_take_their_parameters_row_by_row() {
        let sql = multi("\"s\".\"t\"", RowKind::Update, &columns(), false, 2);
        assert_eq!(
            sql,
            "WITH w AS (UPDATE \"s\".\"t\" AS t SET \"a b\"=v.c2 FROM (VALUES \
             ($1::\"pg_catalog\".\"int4\",$2::\"public\".\"mood\"),($3::\"pg_catalog\".\"int4\",$4::\"public\".\"mood\")) \
             AS v(c1,c2) WHERE t.\"id\" OPERATOR(\"pg_catalog\".=) v.c1 RETURNING 1) SELECT 1 OPERATOR(pg_catalog./) \
             (pg_catalog.count(*) OPERATOR(pg_catalog.=) 2)::pg_catalog.int4 FROM w"
        );
    }

    #[test]
    fn a_text_that_travels_as_bytes_is_read_in_the_databases_encoding() {
        let mut columns = columns();
        columns[1].as_bytes = Some(Text::ByCast);
        assert_eq!(
            columns[1].returned("t"),
            "pg_catalog.convert_to(\"t\".\"a b\"::pg_catalog.text, pg_catalog.getdatabaseencoding())"
        );
        assert!(single("t", RowKind::Update, &columns, false).contains(
            "\"a b\"=pg_catalog.convert_from($2::pg_catalog.bytea, pg_catalog.getdatabaseencoding())::\"public\".\"mood\""
        ));
    }

    #[test]
    fn every_statement_is_understood_by_the_server() {
        for kind in [RowKind::Insert, RowKind::Upsert, RowKind::Update, RowKind::Delete] {
            for sql in [single("t", kind, &columns(), false), multi("t", kind, &columns(), true, 3)] {
                assert!(postgres_parses(&sql), "{sql}");
            }
        }
    }

    #[cfg(feature = "sql")]
    fn postgres_parses(sql: &str) -> bool {
        pg_query::parse(sql, 0).is_ok()
    }

    #[cfg(not(feature = "sql"))]
    fn postgres_parses(_: &str) -> bool {
        true
    }
}
