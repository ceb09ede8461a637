//! ALTER TABLE, where it evaluates expressions over rows that are there: each server would do that by itself.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Node};

use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use super::{Action, calls};
use crate::sql::{Facts, Name};

/// What stands in for DDL's text, if anything does.
pub fn check(scope: &Scope<'_>, statement: &AlterTableStmt, facts: &Facts) -> Outcome<Option<Action>> {
    calls::check(scope, facts)?;
    for node in &statement.cmds {
        let Some(NodeEnum::AlterTableCmd(command)) = &node.node else { continue };
        match command.subtype() {
            AlterTableType::AtAddColumn => add_column(scope, command)?,
            AlterTableType::AtAlterColumnType => alter_type(scope, command)?,
            AlterTableType::AtSetExpression if !is_built_in(scope, &Facts::of(&command.def)) => {
                let reason = format!("each server would compute {} by itself", command.name);
                return Err(refuse(reason, "Use built-in functions.").into());
            }
            AlterTableType::AtAttachPartition => partition_bound(command.def.as_deref())?,
            AlterTableType::AtDetachPartition if is_concurrent(command) => {
                return Ok(Some(Action::Utility { vacates: None }));
            }
            AlterTableType::AtDetachPartitionFinalize => return Ok(Some(Action::Utility { vacates: None })),
            _ => {}
        }
    }
    Ok(None)
}

fn is_concurrent(command: &AlterTableCmd) -> bool {
    matches!(command.def.as_ref().and_then(|d| d.node.as_ref()), Some(NodeEnum::PartitionCmd(p)) if p.concurrent)
}

const BY_STEPS: &str = "Add the column without it, ALTER COLUMN … SET DEFAULT, and UPDATE the rows that are there.";

fn add_column(scope: &Scope<'_>, command: &AlterTableCmd) -> Outcome<()> {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_ref().and_then(|d| d.node.as_ref()) else { return Ok(()) };
    let catalog = scope.catalog()?;
    let name = &column.colname;
    if let Some(kind) = type_of(column)
        && is_serial(&kind.name)
    {
        let reason = format!("the new column {name} would be numbered by each server in its own order");
        return Err(refuse(reason, BY_STEPS).into());
    }
    if type_of(column).is_some_and(|kind| catalog.domains_with_default.contains(&kind.name)) {
        let reason =
            format!("the type of the new column {name} has a default, which each server would evaluate by itself");
        return Err(refuse(reason, BY_STEPS).into());
    }
    for node in &column.constraints {
        let Some(NodeEnum::Constraint(constraint)) = &node.node else { continue };
        let constant = constraint.raw_expr.as_deref().is_none_or(|e| is_constant(&Facts::of(e)));
        let built_in = constraint.raw_expr.as_deref().is_none_or(|e| is_built_in(scope, &Facts::of(e)));
        let harmless = match constraint.contype() {
            ConstrType::ConstrIdentity => false,
            ConstrType::ConstrDefault => constant,
            // PostgreSQL itself takes only what is declared IMMUTABLE.
            ConstrType::ConstrGenerated => built_in,
            _ => true,
        };
        if !harmless {
            let reason = format!("each server would fill the new column {name} by itself");
            return Err(refuse(reason, BY_STEPS).into());
        }
    }
    Ok(())
}

fn type_of(column: &ColumnDef) -> Option<Name> {
    Facts::of(column.type_name.as_ref()?).types.pop()
}

fn is_serial(name: &str) -> bool {
    matches!(name, "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2")
}

/// Calls nothing, asks nothing of the server, and has no word that means another time tomorrow.
fn is_constant(facts: &Facts) -> bool {
    facts.functions.is_empty() && !facts.values_of_server && !facts.temporal_words
}

fn is_built_in(scope: &Scope<'_>, facts: &Facts) -> bool {
    let known = |call: &Name| scope.catalog().is_ok_and(|c| c.functions_named(&call.name).next().is_none());
    facts.functions.iter().all(known)
}

/// Built-in functions that give the same for the same arguments and settings, wherever they run.
const PURE: [&str; 26] = [
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
    "to_timestamp",
    "trim",
    "upper",
];

fn alter_type(scope: &Scope<'_>, command: &AlterTableCmd) -> Outcome<()> {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_ref().and_then(|d| d.node.as_ref()) else { return Ok(()) };
    let Some(using) = column.raw_default.as_deref() else { return Ok(()) };
    let facts = Facts::of(using);
    let pure = |call: &Name| PURE.contains(&call.name.as_str());
    if facts.functions.iter().all(pure)
        && is_built_in(scope, &facts)
        && !facts.values_of_server
        && !facts.temporal_words
        && facts.relations.is_empty()
    {
        return Ok(());
    }
    let reason = format!("each server would compute the new values of {} by itself", command.name);
    Err(refuse(reason, "Add a new column, UPDATE it, drop the old one, and rename.").into())
}

/// The bounds of a partition are expressions too.
pub fn partition_bound(definition: Option<&Node>) -> Outcome<()> {
    match definition.map(Facts::of) {
        Some(facts) if !is_constant(&facts) => {
            Err(refuse("each server would compute the bounds of the partition by itself", "Give them as literals.")
                .into())
        }
        _ => Ok(()),
    }
}
