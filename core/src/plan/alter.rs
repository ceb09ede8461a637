//! ALTER TABLE, where it evaluates expressions over rows that are there: each server would do that by itself.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, Node, RangeVar,
};

use super::image::{self, Computed, Image};
use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use super::{Partition, Utility, calls, evaluated};
use crate::quote::quote_qualified;
use crate::sql::Facts;

/// How ALTER TABLE is replicated.
pub enum Alteration {
    Text,
    Utility(Utility),
    Image(Image),
}

pub fn check(scope: &Scope<'_>, statement: &AlterTableStmt, facts: &Facts) -> Outcome<Alteration> {
    calls::check(scope, facts)?;
    let mut computed = Computed::default();
    for node in &statement.cmds {
        let Some(NodeEnum::AlterTableCmd(command)) = &node.node else { continue };
        match command.subtype() {
            AlterTableType::AtAddColumn => add_column(scope, command, &mut computed)?,
            AlterTableType::AtAddConstraint => {
                let constraints = command.def.as_deref().map_or(&[][..], std::slice::from_ref);
                evaluated::constraints(constraints).try_for_each(evaluated::condition)?;
            }
            AlterTableType::AtAlterColumnType if alter_type(scope, statement.relation.as_ref(), command)? => {
                computed.columns.push(command.name.clone());
            }
            AlterTableType::AtSetExpression if !evaluated::is_built_in(scope, &Facts::of(&command.def)) => {
                let reason = format!("each server would compute {} by itself", command.name);
                return Err(refuse(reason, "Use built-in functions.").into());
            }
            AlterTableType::AtAttachPartition => partition_bound(scope, command.def.as_deref())?,
            AlterTableType::AtDetachPartition => {
                if let Some(partition) = detached_concurrently(command) {
                    return Ok(Alteration::Utility(detach(scope, statement.relation.as_ref(), partition)?));
                }
            }
            _ => {}
        }
    }
    match &statement.relation {
        Some(range) if !computed.columns.is_empty() => {
            Ok(Alteration::Image(image::altered(scope, range, statement.missing_ok, computed)?))
        }
        _ => Ok(Alteration::Text),
    }
}

fn detached_concurrently(command: &AlterTableCmd) -> Option<&RangeVar> {
    match command.def.as_ref().and_then(|d| d.node.as_ref()) {
        Some(NodeEnum::PartitionCmd(detach)) if detach.concurrent => detach.name.as_ref(),
        _ => None,
    }
}

/// What is not there, the leader refuses.
fn detach(scope: &Scope<'_>, parent: Option<&RangeVar>, partition: &RangeVar) -> Outcome<Utility> {
    let name = |range: &RangeVar| -> Outcome<Option<String>> {
        Ok(scope.relation_of(range)?.map(|relation| quote_qualified(&relation.schema, &relation.name)))
    };
    let parent = parent.map(name).transpose()?.flatten();
    Ok(match (parent, name(partition)?) {
        (Some(parent), Some(name)) => Utility::Detaches(Arc::new(Partition { parent, name })),
        _ => Utility::Plain,
    })
}

/// Notes whether values are computed for the new column in the rows that are there.
fn add_column(scope: &Scope<'_>, command: &AlterTableCmd, computed: &mut Computed) -> Outcome<()> {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_ref().and_then(|d| d.node.as_ref()) else {
        return Ok(());
    };
    let catalog = scope.catalog()?;
    let kind = evaluated::type_of(column);
    let mut computes =
        kind.is_some_and(|kind| is_serial(&kind.name) || catalog.domains_with_default.contains(&kind.name));
    for node in &column.constraints {
        let Some(NodeEnum::Constraint(constraint)) = &node.node else { continue };
        evaluated::condition(constraint)?;
        let holds = |judge: fn(&Scope<'_>, &Facts) -> bool| {
            constraint.raw_expr.as_deref().is_none_or(|e| judge(scope, &Facts::of(e)))
        };
        computes |= match constraint.contype() {
            ConstrType::ConstrIdentity => true,
            ConstrType::ConstrDefault => !holds(evaluated::is_constant),
            // PostgreSQL itself takes only what is declared IMMUTABLE.
            ConstrType::ConstrGenerated => !holds(evaluated::is_built_in),
            _ => false,
        };
    }
    if computes {
        computed.columns.push(column.colname.clone());
        let restricts = |c: &&Constraint| {
            use ConstrType::*;
            matches!(c.contype(), ConstrCheck | ConstrPrimary | ConstrUnique | ConstrForeign)
        };
        computed.restricted |= evaluated::constraints(&column.constraints).any(|c| restricts(&c));
    }
    Ok(())
}

fn is_serial(name: &str) -> bool {
    matches!(name, "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2")
}

/// Whether the new values are such that another server might compute others.
fn alter_type(scope: &Scope<'_>, range: Option<&RangeVar>, command: &AlterTableCmd) -> Outcome<bool> {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_ref().and_then(|d| d.node.as_ref()) else {
        return Ok(false);
    };
    let catalog = scope.catalog()?;
    if evaluated::type_of(column).is_some_and(|t| catalog.odd_casts.contains(&t.name)) {
        return Ok(true);
    }
    let Some(using) = column.raw_default.as_deref() else { return Ok(false) };
    let facts = Facts::of(using);
    Ok(!evaluated::is_pure(scope, &facts) || reads_words(scope, range, column, &facts)?)
}

/// Whether texts become times, among which may be the word `now`.
fn reads_words(scope: &Scope<'_>, range: Option<&RangeVar>, column: &ColumnDef, using: &Facts) -> Outcome<bool> {
    let relation = range.map(|range| scope.relation_of(range)).transpose()?.flatten();
    let from_time = |name: &String| relation.and_then(|r| r.column(name)).is_some_and(|c| c.temporal);
    let made = evaluated::type_of(column).into_iter().chain(using.types.iter().cloned());
    let makes_time = made.into_iter().any(|t| !NO_TIMES.contains(&t.name.as_str()));
    Ok(makes_time && !using.attributes.iter().all(from_time))
}

/// Types in which the word `now` is no time, as a type or to become one.
const NO_TIMES: [&str; 22] = [
    "bit", "bool", "bpchar", "bytea", "char", "cidr", "float4", "float8", "inet", "int2", "int4", "int8", "interval",
    "json", "jsonb", "money", "name", "numeric", "text", "uuid", "varbit", "varchar",
];

/// The bounds of a partition are expressions too.
pub fn partition_bound(scope: &Scope<'_>, definition: Option<&Node>) -> Outcome<()> {
    match definition.map(Facts::of) {
        Some(facts) if !evaluated::is_constant(scope, &facts) => {
            Err(refuse("each server would compute the bounds of the partition by itself", "Give them as literals.")
                .into())
        }
        _ => Ok(()),
    }
}
