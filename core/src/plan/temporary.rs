//! DDL about temporary objects, which only the leader has. Invariant: what goes to followers as text names none of them.

use pg_query::NodeEnum;
use pg_query::protobuf::{ObjectType, RangeVar, ReindexObjectType};

use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use super::{Action, Marks, Plan, calls, evaluated};
use crate::sql::{Facts, Name, Statement, Token};

/// What makes, changes or drops temporary objects concerns the leader alone.
pub fn plan(scope: &Scope<'_>, statement: &Statement, node: &NodeEnum, facts: &Facts) -> Outcome<Option<Plan>> {
    let made = match node {
        NodeEnum::CreateStmt(s) => is_temporary(s.relation.as_ref()),
        NodeEnum::CreateTableAsStmt(s) => is_temporary(s.into.as_deref().and_then(|i| i.rel.as_ref())),
        NodeEnum::ViewStmt(s) => is_temporary(s.view.as_ref()),
        NodeEnum::CreateSeqStmt(s) => is_temporary(s.sequence.as_ref()),
        NodeEnum::ReindexStmt(s) => s.kind() == ReindexObjectType::ReindexObjectSchema && is_of_a_session(&s.name),
        _ => false,
    };
    let mut marks = Marks { temporary: true, ..Marks::default() };
    if made || names_pg_temp(scope, statement) {
        marks = Marks { temporary: true, ..calls::check(scope, facts)?.of_sequences() };
        return Ok(Some(Plan { marks, ..Action::Leader.into() }));
    }
    let catalog = scope.catalog()?;
    if !catalog.has_temporary() {
        return Ok(None);
    }
    // What is made stands beside the temporary relation of the same name, which hides it.
    if let Some(name) = new_name(node).filter(|name| catalog.temporary_relation(name).is_some()) {
        return Err(refuse(format_args!("a temporary relation is called {name}, too"), "Use another name.").into());
    }
    let mut of_leader = 0;
    // The table that is made.
    let mut of_all = usize::from(matches!(node, NodeEnum::CreateStmt(_) | NodeEnum::CreateTableAsStmt(_)));
    let tables: Vec<Name> = facts.lists.iter().map(|list| table_of(node, list)).collect();
    for name in facts.relations.iter().chain(&tables) {
        match scope.named(name)? {
            Some(relation) if relation.temporary => of_leader += 1,
            Some(_) => of_all += 1,
            None => {}
        }
    }
    if let Some(row) = facts.types.iter().find(|name| is_temporary_row(scope, name)) {
        let reason = format!("it depends on {row}, the type of a temporary table's rows, which no other server has");
        return Err(refuse(reason, "Make a type that stays.").into());
    }
    match (of_leader, of_all) {
        (0, _) => Ok(None),
        _ if matches!(node, NodeEnum::CreateTableAsStmt(s) if !s.into.as_deref().is_some_and(|i| i.skip_data)) => {
            Ok(None)
        }
        (_, 0) => {
            evaluated::definitions(scope, node, facts)?;
            let marks = Marks { temporary: true, ..calls::check(scope, facts)?.of_sequences() };
            Ok(Some(Plan { marks, ..Action::Leader.into() }))
        }
        _ if matches!(node, NodeEnum::ViewStmt(_)) => Ok(Some(Plan { marks, ..Action::Leader.into() })),
        _ => Err(refuse("it concerns temporary objects and others", "Use one statement for each.").into()),
    }
}

fn is_temporary_row(scope: &Scope<'_>, kind: &Name) -> bool {
    let found = scope.named(kind).ok().flatten();
    found.is_some_and(|relation| relation.temporary)
}

/// What a list of names is about: of a trigger, a rule, a policy, a column or a constraint the table.
fn table_of(node: &NodeEnum, list: &Name) -> Name {
    use ObjectType::{ObjectColumn, ObjectPolicy, ObjectRule, ObjectTabconstraint, ObjectTrigger};
    let kind = match node {
        NodeEnum::DropStmt(s) => s.remove_type(),
        NodeEnum::CommentStmt(s) => s.objtype(),
        NodeEnum::SecLabelStmt(s) => s.objtype(),
        _ => return list.clone(),
    };
    let part = matches!(kind, ObjectColumn | ObjectPolicy | ObjectRule | ObjectTabconstraint | ObjectTrigger);
    match &list.schema {
        Some(table) if part => Name { schema: None, name: table.clone() },
        _ => list.clone(),
    }
}

/// The unqualified name that a command gives to what it makes.
fn new_name(node: &NodeEnum) -> Option<&str> {
    let range = match node {
        NodeEnum::CreateStmt(s) => s.relation.as_ref(),
        NodeEnum::ViewStmt(s) => s.view.as_ref(),
        NodeEnum::CreateSeqStmt(s) => s.sequence.as_ref(),
        NodeEnum::CompositeTypeStmt(s) => s.typevar.as_ref(),
        _ => None,
    };
    range.filter(|range| range.schemaname.is_empty()).map(|range| range.relname.as_str())
}

pub fn is_temporary(range: Option<&RangeVar>) -> bool {
    range.is_some_and(|r| r.relpersistence == "t")
}

fn names_pg_temp(scope: &Scope<'_>, statement: &Statement) -> bool {
    let tokens = &scope.parsed.tokens[statement.tokens.clone()];
    let schema = |token: &Token| std::str::from_utf8(token.text(scope.sql)).is_ok_and(is_of_a_session);
    tokens.windows(2).any(|pair| schema(&pair[0]) && pair[1].is(scope.sql, b'.'))
}

/// A schema of temporary objects: `pg_temp`, or by its own name, as `pg_temp_4`.
fn is_of_a_session(schema: &str) -> bool {
    let schema = schema.trim_matches('"').to_ascii_lowercase();
    let number = ["pg_temp", "pg_toast_temp"].iter().find_map(|name| schema.strip_prefix(name));
    number.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(|n| n.parse::<u32>().is_ok()))
}
