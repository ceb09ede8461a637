//! INSERT, UPDATE and DELETE: what the leader is asked to return, and how followers apply it.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{DeleteStmt, InsertStmt, Node, OnConflictAction, RangeVar, ReturningClause, UpdateStmt};

use super::classify::Scope;
use super::reach::{self, Event};
use super::{Action, ClientColumns, Marks, Plan, Write, refuse};
use crate::catalog::{Column, DefaultKind, Relation};
use crate::effect::{EffectColumn, RowEffect, RowKind};
use crate::quote::quote_name;

/// What is known of a write before its effect is made.
struct Draft<'a> {
    relation: &'a Relation,
    target: &'a RangeVar,
    returning: Option<&'a ReturningClause>,
    /// Relations besides the target whose columns `*` means.
    others: &'a [Node],
}

pub fn insert(scope: &Scope<'_>, statement: &InsertStmt) -> Plan {
    let Some(target) = &statement.relation else { return Plan::new(Action::Unparsed) };
    let relation = match scope.target(target) {
        Ok(relation) => relation,
        Err(plan) => return plan,
    };
    let conflict = statement.on_conflict_clause.as_deref();
    let updates = conflict.is_some_and(|c| c.action == OnConflictAction::OnconflictUpdate as i32);
    let events: &[Event] = if updates { &[Event::Insert, Event::Update] } else { &[Event::Insert] };
    let assigned = conflict.map_or_else(Vec::new, |c| target_names(&c.target_list));
    let keys_change = assigned.iter().any(|name| relation.is_in_unique(name));
    if let Some(action) = reach::refusal(scope.catalog, relation, events, target.inh, keys_change) {
        return Plan::new(action);
    }
    let key = relation.key(|column| !assigned.iter().any(|a| a == column));
    if updates && key.is_none() {
        return Plan::new(refuse::no_key(&relation.name));
    }
    let kind = if updates { RowKind::Upsert } else { RowKind::Insert };
    let key = key.filter(|_| updates).unwrap_or_default();
    let columns = relation.columns.iter().filter(|c| !c.generated).map(|c| effect_column(c, key)).collect();
    let draft = Draft { relation, target, returning: statement.returning_clause.as_ref(), others: &[] };
    finish(scope, &draft, kind, columns, !updates || !keys_change)
}

pub fn update(scope: &Scope<'_>, statement: &UpdateStmt) -> Plan {
    let Some(target) = &statement.relation else { return Plan::new(Action::Unparsed) };
    let relation = match scope.target(target) {
        Ok(relation) => relation,
        Err(plan) => return plan,
    };
    let assigned = target_names(&statement.target_list);
    let bound = unchanged_names(statement);
    let unchanged = |column: &str| bound.contains(&column) && relation.column(column).is_some_and(equal_is_same);
    let changes = |column: &str| assigned.iter().any(|a| a == column) && !unchanged(column);
    let keys_change = assigned.iter().any(|name| changes(name) && relation.is_in_unique(name));
    if let Some(action) = reach::refusal(scope.catalog, relation, &[Event::Update], target.inh, keys_change) {
        return Plan::new(action);
    }
    let Some(key) = relation.key(|column| !changes(column)) else { return Plan::new(refuse::no_key(&relation.name)) };
    let taken = |c: &&Column| !c.generated && (key.contains(&c.name) || assigned.contains(&c.name));
    let mut columns: Vec<_> = relation.columns.iter().filter(taken).map(|c| effect_column(c, key)).collect();
    if columns.iter().all(|c| c.key) {
        // Only columns that keep their value are assigned: the row is as it was, and a follower has nothing to do; but its
        // statement needs something to set.
        let Some(other) = relation.columns.iter().find(|c| !c.generated && !key.contains(&c.name)) else {
            return Plan::new(Action::Leader);
        };
        columns.push(effect_column(other, key));
    }
    let draft =
        Draft { relation, target, returning: statement.returning_clause.as_ref(), others: &statement.from_clause };
    finish(scope, &draft, RowKind::Update, columns, !keys_change)
}

pub fn delete(scope: &Scope<'_>, statement: &DeleteStmt) -> Plan {
    let Some(target) = &statement.relation else { return Plan::new(Action::Unparsed) };
    let relation = match scope.target(target) {
        Ok(relation) => relation,
        Err(plan) => return plan,
    };
    if let Some(action) = reach::refusal(scope.catalog, relation, &[Event::Delete], target.inh, true) {
        return Plan::new(action);
    }
    let Some(key) = relation.key(|_| true) else { return Plan::new(refuse::no_key(&relation.name)) };
    let columns = relation.columns.iter().filter(|c| key.contains(&c.name)).map(|c| effect_column(c, key)).collect();
    let draft =
        Draft { relation, target, returning: statement.returning_clause.as_ref(), others: &statement.using_clause };
    finish(scope, &draft, RowKind::Delete, columns, true)
}

fn finish(scope: &Scope<'_>, draft: &Draft<'_>, kind: RowKind, columns: Vec<EffectColumn>, chunkable: bool) -> Plan {
    let relation = draft.relation;
    let client_columns = match client_columns(scope, draft) {
        Ok(columns) => columns,
        Err(action) => return Plan::new(action),
    };
    let qualifier = draft.target.alias.as_ref().map_or(&draft.target.relname, |alias| &alias.aliasname);
    let ours: Vec<_> = columns.iter().map(|c| format!("{}.{}", quote_name(qualifier), quote_name(&c.name))).collect();
    let lead = if client_columns == ClientColumns::None { "\nRETURNING " } else { ", " };
    if ours.is_empty() {
        return Plan::new(refuse::later(format_args!("table {} has no columns", relation.name)));
    }
    let table = format!("{}.{}", quote_name(&relation.schema), quote_name(&relation.name));
    let identity = relation.columns.iter().any(|c| c.identity);
    let effect = RowEffect::new(table, kind, columns, identity, relation.refers_to_itself(), chunkable);
    let write = Write {
        append: format!("{lead}{}", ours.join(", ")),
        effect: Arc::new(effect),
        client_columns,
        deferrable: scope.catalog.has_deferrable(),
    };
    let sequences = kind != RowKind::Delete && relation.columns.iter().any(|c| c.default == DefaultKind::Sequence);
    Plan { action: Action::Write(Arc::new(write)), marks: Marks { sequences, ..Marks::default() }, memory: None }
}

fn effect_column(column: &Column, key: &[String]) -> EffectColumn {
    EffectColumn {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        format: column.format,
        key: key.contains(&column.name),
    }
}

fn target_names(list: &[Node]) -> Vec<String> {
    let name = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
        _ => None,
    };
    list.iter().filter_map(name).collect()
}

/// Columns that are assigned the very parameter to which WHERE binds them: they keep their value. Object-relational
/// mappers write such statements.
fn unchanged_names(statement: &UpdateStmt) -> Vec<&str> {
    let Some(condition) = statement.where_clause.as_deref().and_then(|n| n.node.as_ref()) else { return Vec::new() };
    let mut bound = Vec::new();
    bindings(condition, &mut bound);
    let assigned = statement.target_list.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::ResTarget(target)) if target.indirection.is_empty() => {
            Some((target.name.as_str(), parameter(target.val.as_deref()?)?))
        }
        _ => None,
    });
    assigned.filter(|assignment| bound.contains(assignment)).map(|(name, _)| name).collect()
}

/// Types of which two equal values are the same value; 1.0 and 1.00 are equal and are not.
fn equal_is_same(column: &Column) -> bool {
    const TYPES: [&str; 6] = ["int2", "int4", "int8", "uuid", "text", "varchar"];
    column
        .type_name
        .strip_prefix("\"pg_catalog\".\"")
        .and_then(|t| t.strip_suffix('"'))
        .is_some_and(|t| TYPES.contains(&t))
}

/// `column = $n` among the conditions that must all hold.
fn bindings<'a>(condition: &'a NodeEnum, found: &mut Vec<(&'a str, i32)>) {
    match condition {
        NodeEnum::BoolExpr(both) if both.boolop == pg_query::protobuf::BoolExprType::AndExpr as i32 => {
            both.args.iter().filter_map(|a| a.node.as_ref()).for_each(|a| bindings(a, found));
        }
        NodeEnum::AExpr(equal)
            if equal.kind == pg_query::protobuf::AExprKind::AexprOp as i32 && is_equals(&equal.name) =>
        {
            if let (Some(left), Some(right)) = (equal.lexpr.as_deref(), equal.rexpr.as_deref())
                && let (Some(column), Some(number)) = (bare_column(left), parameter(right))
            {
                found.push((column, number));
            }
        }
        _ => {}
    }
}

fn is_equals(name: &[Node]) -> bool {
    matches!(name, [Node { node: Some(NodeEnum::String(s)) }] if s.sval == "=")
}

fn bare_column(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.last()?.node.as_ref()? {
            NodeEnum::String(name) if column.fields.len() <= 2 => Some(&name.sval),
            _ => None,
        },
        _ => None,
    }
}

fn parameter(node: &Node) -> Option<i32> {
    match &node.node {
        Some(NodeEnum::ParamRef(parameter)) => Some(parameter.number),
        _ => None,
    }
}

/// How many columns the client's own RETURNING gives.
fn client_columns(scope: &Scope<'_>, draft: &Draft<'_>) -> Result<ClientColumns, Action> {
    let Some(returning) = draft.returning.filter(|r| !r.exprs.is_empty()) else { return Ok(ClientColumns::None) };
    if !returning.options.is_empty() {
        return Err(refuse::later("RETURNING WITH renames the old and new rows"));
    }
    let mut count = 0;
    for expression in &returning.exprs {
        count += width(scope, draft, expression).ok_or_else(|| {
            refuse::because(
                "the columns of its RETURNING cannot be counted",
                "Name the columns instead of writing \"*\".",
            )
        })?;
    }
    u16::try_from(count).map(ClientColumns::Known).map_err(|_| refuse::later("its RETURNING has too many columns"))
}

fn width(scope: &Scope<'_>, draft: &Draft<'_>, expression: &Node) -> Option<usize> {
    let Some(NodeEnum::ResTarget(target)) = &expression.node else { return None };
    match target.val.as_deref()?.node.as_ref()? {
        NodeEnum::ColumnRef(column) => match &column.fields[..] {
            [Node { node: Some(NodeEnum::AStar(_)) }] => {
                let others = draft.others.iter().map(|other| other_width(scope, other));
                Some(draft.relation.columns.len() + others.sum::<Option<usize>>()?)
            }
            [Node { node: Some(NodeEnum::String(name)) }, Node { node: Some(NodeEnum::AStar(_)) }] => {
                star_of(scope, draft, &name.sval)
            }
            [.., Node { node: Some(NodeEnum::AStar(_)) }] => None,
            _ => Some(1),
        },
        NodeEnum::AIndirection(indirection) => {
            let star = indirection.indirection.iter().any(|n| matches!(n.node, Some(NodeEnum::AStar(_))));
            (!star).then_some(1)
        }
        _ => Some(1),
    }
}

/// Columns of `name.*`.
fn star_of(scope: &Scope<'_>, draft: &Draft<'_>, name: &str) -> Option<usize> {
    if range_name(draft.target) == name {
        return Some(draft.relation.columns.len());
    }
    let mut found = draft.others.iter().filter_map(|other| match &other.node {
        Some(NodeEnum::RangeVar(range)) if range_name(range) == name => Some(other),
        _ => None,
    });
    other_width(scope, found.next()?)
}

fn other_width(scope: &Scope<'_>, other: &Node) -> Option<usize> {
    match &other.node {
        Some(NodeEnum::RangeVar(range)) if range.alias.as_ref().is_none_or(|a| a.colnames.is_empty()) => {
            scope.relation(range).map(|r| r.columns.len())
        }
        _ => None,
    }
}

fn range_name(range: &RangeVar) -> &str {
    range.alias.as_ref().map_or(&range.relname, |alias| &alias.aliasname)
}

/// Whether one of the common table expressions writes.
pub fn has_writing_ctes(with: Option<&pg_query::protobuf::WithClause>) -> bool {
    with.is_some_and(|with| {
        with.ctes.iter().any(|cte| match &cte.node {
            Some(NodeEnum::CommonTableExpr(cte)) => match cte.ctequery.as_deref().and_then(|q| q.node.as_ref()) {
                Some(NodeEnum::SelectStmt(select)) => has_writing_ctes(select.with_clause.as_ref()),
                _ => true,
            },
            _ => true,
        })
    })
}
