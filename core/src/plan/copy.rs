//! COPY. The data goes to followers as the client sent it where no value is a server's to choose (`data`), else as the
//! rows that the leader has made of it (`landing`). A file that the leader reads is data that no follower has: its rows go.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, Node};

use super::refuse::refuse;
use super::safety::{self, Change};
use super::scope::{Outcome, Scope, Stop};
use super::{Action, Plan, calls, capture};
use crate::catalog::{Column, Event, Relation};
use crate::sql::{Facts, Statement};

mod data;
pub mod landing;

pub fn plan(scope: &Scope<'_>, statement: &Statement, copy: &CopyStmt, facts: &Facts) -> Outcome {
    let of_file = !copy.filename.is_empty();
    if copy.is_program || of_file && !copy.is_from {
        let hint = "COPY … FROM STDIN or TO STDOUT, psql's \\copy.";
        return Err(refuse("COPY would write a file or run a program of one server", hint).into());
    }
    if !copy.is_from {
        return to_stdout(scope, facts);
    }
    match from(scope, statement, copy, facts) {
        Err(Stop::Unknown) => {
            let hint =
                "Run it again. The system's own tables are written by the statements that PostgreSQL has for it.";
            let fault = refuse("it is not known into what COPY would write", hint);
            // A server that reads a file asks for no data before it writes.
            if of_file { Err(fault.into()) } else { Ok(Action::CopyUnknown(fault).into()) }
        }
        other => other,
    }
}

fn to_stdout(scope: &Scope<'_>, facts: &Facts) -> Outcome {
    if facts.statements.iter().skip(1).any(|s| *s != "SelectStmt") {
        return Err(refuse("COPY holds a statement that writes", "Run the write as a statement of its own.").into());
    }
    let marks = calls::check(scope, facts)?;
    Ok(Plan { marks, ..Action::Leader.into() })
}

fn from(scope: &Scope<'_>, statement: &Statement, copy: &CopyStmt, facts: &Facts) -> Outcome {
    let range = copy.relation.as_ref().ok_or(Stop::Unknown)?;
    let catalog = scope.catalog()?;
    let relation = scope.relation_of(range)?.ok_or(Stop::Unknown)?;
    let mut called = calls::check(scope, facts)?;
    calls::note_effect(safety::defaults(catalog, relation), &mut called);
    if relation.temporary {
        safety::temporary(catalog, relation)?;
        return Ok(Plan { marks: called, ..Action::Leader.into() });
    }
    let of_file = !copy.filename.is_empty();
    if let Some(plan) = capture::copy(scope, relation, called, !of_file)? {
        return Ok(plan);
    }
    safety::check(catalog, relation, Change { event: Event::Insert, assigned: &[], defaults: true }, true)?;
    let columns = columns(relation, &copy.attlist)?;
    if !of_file {
        // The data goes on in the encoding in which it comes: that must be known.
        scope.converts()?;
        if let Some(copy) = data::plan(catalog, relation, copy, &columns)? {
            return Ok(Action::CopyIn(Arc::new(copy)).into());
        }
    }
    let rows = landing::plan(scope, statement, relation, copy, &columns)?;
    Ok(Plan { marks: called, ..Action::CopyRows(Arc::new(rows)).into() })
}

/// The columns that the data has: all but generated ones, unless they are named. A generated one cannot be.
fn columns<'a>(relation: &'a Relation, named: &[Node]) -> Outcome<Vec<&'a Column>> {
    let given = |c: &&Column| !c.generated;
    if named.is_empty() {
        return Ok(relation.columns.iter().filter(given).collect());
    }
    let column = |node: &Node| string(node).and_then(|name| relation.column(name)).filter(given).ok_or(Stop::Unknown);
    named.iter().map(column).collect()
}

fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(s)) => Some(&s.sval),
        _ => None,
    }
}
