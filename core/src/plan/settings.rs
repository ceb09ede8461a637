//! SET and RESET, and the statements that begin and end transactions.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, TransactionStmt, TransactionStmtKind as Kind, VariableSetKind, VariableSetStmt};

use super::calls;
use super::heritable;
use super::modes::{Isolation, Modes};
use super::refuse;
use super::{Action, Leaves, Marks, Memory, Plan, Transaction};
use crate::catalog::builtin::WATCHED_SETTINGS;
use crate::fault::Fault;
use crate::sql::Facts;

pub fn transaction(statement: &TransactionStmt) -> Plan {
    let chain = statement.chain;
    let name = statement.savepoint_name.clone();
    let transaction = match statement.kind() {
        Kind::TransStmtBegin => Transaction::Begin { modes: Modes::read(&statement.options), tag: "BEGIN" },
        Kind::TransStmtStart => Transaction::Begin { modes: Modes::read(&statement.options), tag: "START TRANSACTION" },
        Kind::TransStmtCommit => Transaction::Commit { chain },
        Kind::TransStmtRollback => Transaction::Rollback { chain },
        Kind::TransStmtSavepoint => Transaction::Savepoint { name },
        Kind::TransStmtRelease => Transaction::Release { name },
        Kind::TransStmtRollbackTo => Transaction::RollbackTo { name },
        Kind::TransStmtPrepare | Kind::TransStmtCommitPrepared | Kind::TransStmtRollbackPrepared | Kind::Undefined => {
            return refuse::refuse_always("prepared transactions are not replicated", "Use COMMIT.").into();
        }
    };
    let leaves = if heritable::controls(statement) { Leaves::Nothing } else { Leaves::More };
    Plan { leaves, ..Action::Transaction(transaction).into() }
}

pub(super) fn literal(node: &Node) -> Option<&str> {
    use pg_query::protobuf::a_const::Val;
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match constant.val.as_ref()? {
            Val::Sval(s) => Some(&s.sval),
            _ => None,
        },
        Some(NodeEnum::String(s)) => Some(&s.sval),
        _ => None,
    }
}

pub fn set(statement: &VariableSetStmt) -> Plan {
    let name = statement.name.to_ascii_lowercase();
    if name == "search_path" && Facts::of(&statement.args).own_literal {
        return refuse::own_schema().into();
    }
    let all = statement.kind() == VariableSetKind::VarResetAll;
    let marks = Marks { settings: all || calls::is_naming(&name), ..Marks::default() };
    let memory = memory(statement, &name);
    let value = statement.args.first().and_then(literal);
    let resets = matches!(
        statement.kind(),
        VariableSetKind::VarReset | VariableSetKind::VarResetAll | VariableSetKind::VarSetDefault
    );
    let level = Modes { isolation: value.and_then(Isolation::named), ..Modes::default() };
    let action = match name.as_str() {
        "transaction" => modes(Modes::read(&statement.args), false),
        "session characteristics" => modes(Modes::read(&statement.args), true),
        // A snapshot of another transaction: it concerns the leader alone.
        "transaction snapshot" => return Action::Leader.into(),
        "transaction_isolation" => modes(level, false),
        "default_transaction_isolation" => modes(level, !statement.is_local),
        "session_authorization" if resets => Action::Leader,
        "standard_conforming_strings" if resets || value.is_some_and(is_on) => Action::Leader,
        "session_replication_role" if resets || value.is_some_and(|v| v.eq_ignore_ascii_case("origin")) => {
            Action::Leader
        }
        "row_security" => Action::Leader,
        name if WATCHED_SETTINGS.contains(&name) => Action::Refuse(watched(name)),
        _ => Action::Leader,
    };
    let memory = memory.filter(|_| !matches!(name.as_str(), "transaction" | "transaction_isolation"));
    let leaves = if heritable::sets(&name, &action, marks) { Leaves::Again } else { Leaves::More };
    Plan { marks, memory, leaves, ..action.into() }
}

fn modes(modes: Modes, session: bool) -> Action {
    Action::Transaction(Transaction::Modes { modes, session })
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

fn watched(name: &str) -> Fault {
    refuse::refuse_always(format_args!("the setting {name} changes what statements mean"), "Leave it at its default.")
}

fn memory(statement: &VariableSetStmt, name: &str) -> Option<Memory> {
    let name = name.to_owned();
    match statement.kind() {
        _ if statement.is_local => None,
        VariableSetKind::VarResetAll => Some(Memory::ResetAll),
        VariableSetKind::VarReset | VariableSetKind::VarSetDefault => Some(Memory::Reset { name }),
        _ => Some(Memory::Set { name }),
    }
}

/// A setting that is stored for later sessions.
pub fn stored(statement: Option<&VariableSetStmt>) -> Result<(), Fault> {
    if statement.is_some_and(|s| s.name.eq_ignore_ascii_case("search_path") && Facts::of(&s.args).own_literal) {
        return Err(refuse::own_schema());
    }
    match statement.map(|s| s.name.to_ascii_lowercase()) {
        Some(name) if WATCHED_SETTINGS.contains(&name.as_str()) => Err(watched(&name)),
        _ => Ok(()),
    }
}
