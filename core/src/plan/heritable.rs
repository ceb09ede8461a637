//! What leaves nothing on the leader but rows that the log has: no lock of another kind, no cursor, no setting.
//!
//! Only such a transaction can go on under another leader ([`crate::heirs`]). Invariant: what is not known here to be
//! so is not.

use pg_query::protobuf::{OnConflictClause, TransactionStmt, TransactionStmtKind as Kind};

use super::scope::{Outcome, Scope};
use crate::catalog::model::Callee;
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::sql::{Facts, Name};

/// A SELECT, or what a write reads. To be asked when it is known to write nothing behind our back.
pub fn reads(scope: &Scope<'_>, facts: &Facts) -> Outcome<bool> {
    if facts.locks {
        return Ok(false);
    }
    if facts.computes_with_constants() {
        return Ok(true);
    }
    let catalog = scope.catalog()?;
    let computes = |call: &Name| is_harmless(&call.name) && catalog.functions_named(&call.name).next().is_none();
    let by_attribute = |name: &String| catalog.functions_named(name).next().is_none();
    Ok(facts.functions.iter().all(computes)
        && facts.attributes.iter().all(by_attribute)
        && facts.operators.iter().all(|operator| !catalog.operators.contains_key(&operator.name))
        && facts.types.iter().all(|kind| !catalog.converted.contains_key(&kind.name))
        && facts.relations.iter().all(|name| catalog.relations_named(&name.name).all(is_plain)))
}

/// A write to a table whose rows are learned by RETURNING. Rows of one that others inherit from, or of a part of one,
/// have two names, and which units have the same row would not be known.
pub fn writes(catalog: &Catalog, relation: &Relation, conflict: Option<&OnConflictClause>) -> bool {
    // A row that is not updated after all is locked all the same.
    let locks = conflict.is_some_and(|clause| clause.where_clause.is_some());
    let alone = !relation.partition && relation.parents.is_empty() && relation.children.is_empty();
    !locks && alone && is_plain(relation) && catalog.implicit_writer.is_none()
}

/// Nothing of users is called when it is read or written.
fn is_plain(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned)
        && !relation.temporary
        && !relation.row_security
        && relation.calls.iter().all(|call| matches!(&call.callee, Callee::BuiltIn(name) if name == "nextval"))
        && relation.triggers.is_empty()
        && relation.rules.is_empty()
}

/// BEGIN in the isolation of the session, which the new leader is asked to have, too; and what ends a transaction.
pub fn controls(statement: &TransactionStmt) -> bool {
    match statement.kind() {
        Kind::TransStmtBegin | Kind::TransStmtStart => statement.options.is_empty(),
        Kind::TransStmtCommit | Kind::TransStmtRollback => true,
        _ => false,
    }
}

/// Of the server's own functions, those that only compute or read.
fn is_harmless(name: &str) -> bool {
    !name.starts_with("pg_") && !name.starts_with("lo_") && !name.starts_with("binary_") && !VOLATILE.contains(&name)
}

/// Functions of PostgreSQL 13 to 18 that are VOLATILE and are not called `pg_…` or `lo_…`, but for those that only make
/// a value (`random`, `clock_timestamp` and their kind) and for `nextval`, whose values are never given out again.
const VOLATILE: [&str; 32] = [
    "amvalidate",
    "brin_desummarize_range",
    "brin_summarize_new_values",
    "brin_summarize_range",
    "currtid2",
    "currval",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "gin_clean_pending_list",
    "lastval",
    "loread",
    "lowrite",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "set_config",
    "setseed",
    "setval",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "txid_current",
    "txid_current_if_assigned",
    "txid_status",
];
