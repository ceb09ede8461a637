//! Expressions that DDL has each server evaluate by itself: which of them give the same everywhere.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, Node};

use super::calls;
use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use crate::catalog::model::Place;
use crate::sql::{Facts, Name};

/// Calls nothing, asks nothing of the server, and has no word that means another time tomorrow and no name that is stored
/// as a number.
pub fn is_constant(scope: &Scope<'_>, facts: &Facts) -> bool {
    facts.functions.is_empty()
        && !facts.values_of_server
        && !facts.temporal_words
        && !names_objects(facts)
        && is_built_in(scope, facts)
}

/// Nothing of a user's is called by name, and by a sign or a cast only what gives the same everywhere.
pub fn is_built_in(scope: &Scope<'_>, facts: &Facts) -> bool {
    scope.catalog().is_ok_and(|catalog| {
        facts.functions.iter().all(|call| catalog.functions_named(&call.name).next().is_none())
            && facts.operators.iter().all(|operator| !catalog.odd_operators.contains(&operator.name))
            && facts.types.iter().all(|t| !catalog.odd_casts.contains(&t.name))
    })
}

/// Types whose values are numbers of objects.
pub fn names_objects(facts: &Facts) -> bool {
    facts.types.iter().any(|t| t.name.starts_with("reg"))
}

/// Columns of the system, which are others on each server.
const SYSTEM_COLUMNS: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

pub fn has_system_column(facts: &Facts) -> bool {
    facts.attributes.iter().any(|name| SYSTEM_COLUMNS.contains(&name.as_str()))
}

/// Built-in functions that give the same for the same arguments and settings, wherever they run.
const PURE: [&str; 27] = [
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "concat_ws",
    "date_part",
    "date_trunc",
    "extract",
    "floor",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "regexp_replace",
    "replace",
    "right",
    "round",
    "rtrim",
    "split_part",
    "string_to_array",
    "substring",
    "timezone",
    "to_timestamp",
    "trim",
    "upper",
];

/// Over the columns of a row, it gives the same on every server that has the row.
pub fn is_pure(scope: &Scope<'_>, facts: &Facts) -> bool {
    facts.functions.iter().all(|call| PURE.contains(&call.name.as_str()))
        && is_built_in(scope, facts)
        && !facts.values_of_server
        && !facts.temporal_words
        && !names_objects(facts)
        && !has_system_column(facts)
        && facts.relations.is_empty()
}

/// Conditions are kept with the numbers of the objects that they name, and are compared with numbers of the leader.
pub fn condition(constraint: &Constraint) -> Outcome<()> {
    let judged = matches!(constraint.contype(), ConstrType::ConstrCheck | ConstrType::ConstrGenerated);
    match constraint.raw_expr.as_deref().filter(|_| judged) {
        Some(expression) => stored(&Facts::of(expression)),
        None => Ok(()),
    }
}

pub fn stored(facts: &Facts) -> Outcome<()> {
    if names_objects(facts) || has_system_column(facts) {
        let reason = "it has an expression over numbers of objects or of the system, which differ between servers";
        return Err(refuse(reason, "Compare names instead.").into());
    }
    Ok(())
}

/// A command that evaluates what stands in the definitions of the tables that it names: nothing in them may write.
pub fn definitions(scope: &Scope<'_>, node: &NodeEnum, facts: &Facts) -> Outcome<()> {
    let evaluates = match node {
        NodeEnum::AlterTableStmt(s) => rewrites(s),
        NodeEnum::IndexStmt(_) | NodeEnum::ReindexStmt(_) | NodeEnum::ClusterStmt(_) | NodeEnum::VacuumStmt(_) => true,
        _ => false,
    };
    if !evaluates {
        return Ok(());
    }
    let catalog = scope.catalog()?;
    let mut named = Vec::new();
    for name in &facts.relations {
        named.extend(scope.named(name)?);
    }
    let calls = named.iter().flat_map(|relation| catalog.family(relation.oid)).flat_map(|relation| &relation.calls);
    let mut evaluated = calls.filter(|c| matches!(c.place, Place::Check | Place::Generated | Place::Index));
    match evaluated.find(|call| catalog.effect_of(&call.callee).writes) {
        Some(call) => Err(calls::writing_callee(catalog, &call.callee).into()),
        None => Ok(()),
    }
}

fn rewrites(statement: &AlterTableStmt) -> bool {
    use AlterTableType::*;
    statement.cmds.iter().any(|node| match &node.node {
        Some(NodeEnum::AlterTableCmd(command)) => matches!(
            command.subtype(),
            AtAddColumn
                | AtAddConstraint
                | AtAddIndex
                | AtAlterColumnType
                | AtAttachPartition
                | AtSetAccessMethod
                | AtSetExpression
                | AtSetLogged
                | AtSetUnLogged
                | AtValidateConstraint
        ),
        _ => false,
    })
}

/// The constraints among a table's elements and its columns'.
pub fn constraints(elements: &[Node]) -> impl Iterator<Item = &Constraint> {
    let of_columns = elements.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::ColumnDef(column)) => Some(&column.constraints),
        _ => None,
    });
    let own = elements.iter().chain(of_columns.flatten());
    own.filter_map(|node| match &node.node {
        Some(NodeEnum::Constraint(constraint)) => Some(&**constraint),
        _ => None,
    })
}

/// The type of a column, as it is written.
pub fn type_of(column: &ColumnDef) -> Option<Name> {
    Facts::of(column.type_name.as_ref()?).types.pop()
}
