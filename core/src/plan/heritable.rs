//! What leaves nothing on the leader but rows that the log has, or what another leader can be given by telling it the same
//! again: no cursor, no temporary table, nothing that is not known.
//!
//! Only such a transaction can go on under another leader ([`crate::heirs`]). Invariant: what is not known here to be
//! so is not.

use pg_query::protobuf::{OnConflictClause, TransactionStmt, TransactionStmtKind as Kind};

use super::scope::{Outcome, Scope};
use super::{Action, Kept, Leaves, Marks};
use crate::catalog::model::Callee;
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::sql::{Facts, Name};

/// A SELECT of which it is known what it leaves with its session ([`kept`](super::kept)).
pub fn keeps(kept: &Kept, marks: Marks) -> Leaves {
    match kept {
        // They are taken again by themselves.
        Kept::Locks(_) => Leaves::Nothing,
        Kept::Settings(_) if !marks.settings => Leaves::Again,
        Kept::Settings(_) | Kept::SomeLocks => Leaves::More,
    }
}

/// Any other SELECT, or what a write reads. To be asked when it is known to write nothing behind our back.
pub fn reads(scope: &Scope<'_>, facts: &Facts) -> Outcome<Leaves> {
    let locks = facts.locks || facts.functions.iter().any(|call| LOCKING.contains(&&*call.name));
    if !only_reads(scope, facts)? {
        return Ok(Leaves::More);
    }
    Ok(if locks { Leaves::Again } else { Leaves::Nothing })
}

fn only_reads(scope: &Scope<'_>, facts: &Facts) -> Outcome<bool> {
    if facts.computes_with_constants() {
        return Ok(true);
    }
    let catalog = scope.catalog()?;
    let computes = |call: &Name| {
        (is_harmless(&call.name) || LOCKING.contains(&&*call.name))
            && catalog.functions_named(&call.name).next().is_none()
    };
    let by_attribute = |name: &String| catalog.functions_named(name).next().is_none();
    Ok(facts.functions.iter().all(computes)
        && facts.attributes.iter().all(by_attribute)
        && facts.operators.iter().all(|operator| !catalog.operators.contains_key(&operator.name))
        && facts.types.iter().all(|kind| !catalog.converted.contains_key(&kind.name))
        && facts.relations.iter().all(|name| catalog.relations_named(&name.name).all(is_plain)))
}

/// A write to a table whose rows are learned by RETURNING.
pub fn writes(catalog: &Catalog, relation: &Relation, conflict: Option<&OnConflictClause>) -> Leaves {
    // A row that is not updated after all is locked all the same.
    let locks = conflict.is_some_and(|clause| clause.where_clause.is_some());
    let parted = relation.partition || relation.kind == RelationKind::Partitioned;
    let alone = relation.parents.is_empty() && relation.children.is_empty();
    let plain = is_plain(relation) && catalog.family(relation.oid).into_iter().all(is_plain);
    if locks || !plain || catalog.implicit_writer.is_some() {
        return Leaves::More;
    }
    match (parted, alone) {
        (true, _) => Leaves::Parts,
        (false, true) => Leaves::Nothing,
        (false, false) => Leaves::More,
    }
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
        // These are noted by themselves.
        Kind::TransStmtSavepoint | Kind::TransStmtRelease | Kind::TransStmtRollbackTo => true,
        _ => false,
    }
}

/// A setting that does not change what names mean: it says the same on another leader.
pub fn sets(name: &str, action: &Action, marks: Marks) -> bool {
    matches!(action, Action::Leader) && !marks.settings && !matches!(name, "session_authorization" | "row_security")
}

/// Functions that lock until the end of the transaction, and leave nothing else.
const LOCKING: [&str; 4] = [
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
];

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
