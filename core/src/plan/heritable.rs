//! What leaves nothing on the leader but rows that the log has, or what another leader can be given by telling it the same
//! again: no cursor, no temporary table, nothing that is not known.
//!
//! Only such a transaction can go on under another leader ([`crate::heirs`]). Invariant: what is not known here to be
//! so is not.

use std::collections::BTreeSet;

use pg_query::protobuf::{OnConflictClause, TransactionStmt, TransactionStmtKind as Kind};

use super::scope::{Outcome, Scope};
use super::{Action, Kept, Leaves, Marks};
use crate::catalog::model::Callee;
use crate::catalog::{Catalog, Oid, Relation, RelationKind, builtin};
use crate::sql::{Facts, Name};

/// A SELECT of which it is known what it leaves with its session ([`kept`](super::kept)).
pub fn keeps(kept: &Kept) -> Leaves {
    match kept {
        // They are taken again by themselves.
        Kept::Locks(_) => Leaves::Nothing,
        Kept::Settings(calls) if calls.iter().all(|call| can_be_set_again(&call.name)) => Leaves::Again,
        Kept::Settings(_) | Kept::SomeLocks => Leaves::More,
    }
}

/// Any other SELECT, or what a write reads. To be asked when it is known to write nothing behind our back.
pub fn reads(scope: &Scope<'_>, facts: &Facts) -> Outcome<Leaves> {
    let again = facts.locks || facts.functions.iter().any(|call| TOLD_AGAIN.contains(&&*call.name));
    if !only_reads(scope, facts)? {
        return Ok(Leaves::More);
    }
    Ok(if again { Leaves::Again } else { Leaves::Nothing })
}

/// A cursor: none of its rows was read yet, or FETCH has said that it leaves more.
pub fn opens(scope: &Scope<'_>, facts: &Facts) -> Outcome<Leaves> {
    Ok(if only_reads(scope, facts)? { Leaves::Again } else { Leaves::More })
}

fn only_reads(scope: &Scope<'_>, facts: &Facts) -> Outcome<bool> {
    if facts.computes_with_constants() {
        return Ok(true);
    }
    let catalog = scope.catalog()?;
    let computes = |call: &Name| builtin::is_harmless(&call.name) || TOLD_AGAIN.contains(&&*call.name);
    Ok(facts.functions.iter().all(computes)
        && nothing_lingers(catalog, facts)
        && facts.relations.iter().all(|name| catalog.relations_named(&name.name).all(is_plain)))
}

/// Of what users have made.
fn nothing_lingers(catalog: &Catalog, facts: &Facts) -> bool {
    let function = |name: &String| catalog.functions_named(name).all(|function| !function.effect.lingers);
    let operator =
        |name: &Name| catalog.operators.get(&name.name).is_none_or(|all| all.iter().all(|(_, effect)| !effect.lingers));
    facts.functions.iter().all(|call| function(&call.name))
        && facts.attributes.iter().all(function)
        && facts.operators.iter().all(operator)
        && facts.types.iter().all(|kind| catalog.converted.get(&kind.name).is_none_or(|effect| !effect.lingers))
        && !catalog.unnamed.lingers
}

/// A statement that may change rows of these tables and no others, which triggers of ours tell. Nobody waits for a row
/// that it has locked and not changed: a trigger has only let it be.
pub fn captures(scope: &Scope<'_>, facts: &Facts, tables: &BTreeSet<Oid>) -> Outcome<Leaves> {
    let catalog = scope.catalog()?;
    let known = |oid: &Oid| catalog.relation(*oid).is_some_and(|relation| told_whole(catalog, relation));
    let reads = |name: &Name| catalog.relations_named(&name.name).all(|r| tables.contains(&r.oid) || is_plain(r));
    let whole = tables.iter().all(known)
        && facts.relations.iter().all(reads)
        && facts.functions.iter().all(|call| builtin::is_harmless(&call.name))
        && nothing_lingers(catalog, facts)
        && !facts.locks
        && !facts.upserts_some;
    Ok(if whole { Leaves::Nothing } else { Leaves::More })
}

/// All that a change of its rows leaves are rows of captured tables, which another leader can be given with the locks
/// that belong to them: nothing is judged only at the end, and each row has a key.
fn told_whole(catalog: &Catalog, relation: &Relation) -> bool {
    let calls = relation.calls.iter().map(|call| &call.callee);
    let mut callees = calls.chain(relation.triggers.iter().map(|trigger| &trigger.function));
    let keyed = relation.kind == RelationKind::Partitioned || !relation.keys.is_empty();
    matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned)
        && keyed
        && !relation.temporary
        && !relation.row_security
        && relation.rules.is_empty()
        && !catalog.deferrable.contains(&relation.oid)
        && callees.all(|callee| !catalog.effect_of(callee).lingers)
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

/// A setting that says the same on another leader. What names mean there is asked again, before anything is planned.
pub fn sets(name: &str, action: &Action, marks: Marks) -> bool {
    let all = marks.settings && !builtin::NAMING_SETTINGS.contains(&name);
    matches!(action, Action::Leader) && !all && can_be_set_again(name)
}

/// No effect depends on what names mean, nor on whose they are: the log says by itself whose rights it needs.
fn can_be_set_again(name: &str) -> bool {
    match name {
        "search_path" | "role" => true,
        "row_security" => false,
        name => !builtin::NAMING_SETTINGS.contains(&name),
    }
}

/// Functions that lock until the end of the transaction, or notify then, and leave nothing else.
const TOLD_AGAIN: [&str; 5] = [
    "pg_notify",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
];
