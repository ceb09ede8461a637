//! Reasons for refusing a statement, with what can be done instead. All are SQLSTATE 0A000.

use super::Action;
use crate::fault::{Fault, SqlState};

const LATER: &str = "A later version of Lockstep replicates it. See \"lockstep help limits\".";

fn refuse(reason: impl std::fmt::Display, remedy: impl Into<String>) -> Action {
    let message = format!("this statement is refused, for it cannot be replicated exactly: {reason}");
    Action::Refuse(Fault::error(SqlState::FEATURE_NOT_SUPPORTED, message).with_hint(remedy.into()))
}

pub fn later(reason: impl std::fmt::Display) -> Action {
    refuse(reason, LATER)
}

pub fn because(reason: impl std::fmt::Display, remedy: impl Into<String>) -> Action {
    refuse(reason, remedy)
}

pub fn no_key(table: &str) -> Action {
    refuse(
        format_args!(
            "table {table} has no primary key, and no unique key whose columns are NOT NULL and are left as they are"
        ),
        "Add a primary key to the table.",
    )
}

pub fn writing_function(name: &str) -> Action {
    later(format_args!("it calls function {name}, which may write"))
}

pub fn own_schema() -> Action {
    refuse("it names the schema lockstep, which belongs to the proxy", "Leave that schema alone.")
}

pub fn too_deep(nesting: usize) -> Action {
    let message = format!("stack depth limit exceeded: the statement is nested {nesting} deep");
    Action::Refuse(Fault::error(SqlState::STATEMENT_TOO_COMPLEX, message).with_hint("Write it less deeply nested."))
}

pub fn too_long(length: usize) -> Action {
    let message = format!("the statement has {length} bytes, more than can be looked through");
    Action::Refuse(
        Fault::error(SqlState::PROGRAM_LIMIT_EXCEEDED, message).with_hint("Use COPY, or several statements."),
    )
}
