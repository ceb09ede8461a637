//! COPY. Data that a client sends goes to followers as it is, where no value is the server's to choose.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::CopyStmt;

use super::classify::Scope;
use super::reach::{self, Event};
use super::{Action, CopyIn, Marks, Plan, refuse, write};
use crate::catalog::{Column, DefaultKind, Relation};
use crate::quote::quote_name;

pub fn plan(scope: &Scope<'_>, statement: &CopyStmt) -> Plan {
    if !statement.is_from {
        return Plan::new(copy_to(statement));
    }
    if statement.is_program || !statement.filename.is_empty() {
        let remedy = "Use COPY FROM STDIN, or psql's \\copy.";
        return Plan::new(refuse::because("the file is on one server only", remedy));
    }
    let Some(target) = &statement.relation else { return Plan::new(Action::Unparsed) };
    let relation = match scope.target(target) {
        Ok(relation) => relation,
        Err(plan) => return plan,
    };
    if statement.where_clause.is_some() {
        return Plan::new(refuse::later("COPY with WHERE chooses rows"));
    }
    if let Some(action) = reach::refusal(scope.catalog, relation, &[Event::Insert], target.inh, false) {
        return Plan::new(action);
    }
    let columns = match columns(statement, relation) {
        Ok(columns) => columns,
        Err(action) => return Plan::new(action),
    };
    let Some(tail) = tail(scope) else { return Plan::new(refuse::later("this form of COPY is not known")) };
    let names: Vec<_> = columns.iter().map(|c| quote_name(&c.name)).collect();
    let table = format!("{}.{}", quote_name(&relation.schema), quote_name(&relation.name));
    let copy = CopyIn {
        follower_sql: format!("COPY {table} ({}) {tail}", names.join(", ")),
        deferrable: scope.catalog.has_deferrable(),
        temporal: columns.iter().any(|c| c.temporal),
    };
    let sequences = relation.columns.iter().any(|c| c.default == DefaultKind::Sequence);
    Plan { action: Action::CopyIn(Arc::new(copy)), marks: Marks { sequences, ..Marks::default() }, memory: None }
}

fn copy_to(statement: &CopyStmt) -> Action {
    if statement.is_program || !statement.filename.is_empty() {
        return refuse::because("it writes a file on one server only", "Use COPY TO STDOUT, or psql's \\copy.");
    }
    match statement.query.as_deref().and_then(|q| q.node.as_ref()) {
        None => Action::Leader,
        Some(NodeEnum::SelectStmt(select)) if !write::has_writing_ctes(select.with_clause.as_ref()) => Action::Leader,
        Some(_) => refuse::later("the query that it copies writes"),
    }
}

/// The columns that the data gives. Those that it leaves out must be the same everywhere.
fn columns<'a>(statement: &CopyStmt, relation: &'a Relation) -> Result<Vec<&'a Column>, Action> {
    let named: Vec<&str> = statement
        .attlist
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
            _ => None,
        })
        .collect();
    if named.is_empty() {
        return Ok(relation.columns.iter().filter(|c| !c.generated).collect());
    }
    let columns: Option<Vec<_>> = named.iter().map(|name| relation.column(name)).collect();
    let Some(columns) = columns else { return Err(Action::Unparsed) };
    let chosen = relation.columns.iter().find(|c| {
        !c.generated && c.default != DefaultKind::Constant && !columns.iter().any(|given| given.name == c.name)
    });
    match chosen {
        None => Ok(columns),
        Some(column) => Err(refuse::because(
            format_args!("each server would choose values of its own for column {}", column.name),
            format!("Give column {} in the data, or use INSERT.", column.name),
        )),
    }
}

/// `FROM STDIN` and what follows it, as the client wrote it.
fn tail<'a>(scope: &Scope<'a>) -> Option<&'a str> {
    let mut depth = 0usize;
    let within = scope.tokens.list.iter().filter(|t| scope.span.contains(&(t.start as usize)));
    for token in within {
        match token.text(scope.sql) {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            word if depth == 0 && word.eq_ignore_ascii_case("from") => {
                return Some(&scope.sql[token.start as usize..scope.span.end]);
            }
            word if depth == 0 && word.eq_ignore_ascii_case("binary") => return None,
            _ => {}
        }
    }
    None
}
