//! Kind of statement → what is to be done with it. Whatever is not named here is refused.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    self, DefElem, DiscardMode, ExplainStmt, Node, RangeVar, SelectStmt, TransactionStmt, TransactionStmtKind,
    VariableSetKind, VariableSetStmt,
};

use super::calls::{self, Calls};
use super::{Action, Context, Memory, Plan, Transaction, copy, refuse, schema, write};
use crate::catalog::{Catalog, Relation, SearchPath};
use crate::sql::parse::Parsed;
use crate::sql::{Kind, Tokens};

/// What has to be known before a statement can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Nothing,
    Catalog,
    SearchPath,
}

/// What a statement is planned with, once that is known.
pub struct Scope<'a> {
    pub sql: &'a str,
    pub tokens: &'a Tokens,
    pub span: std::ops::Range<usize>,
    pub catalog: &'a Catalog,
    pub path: &'a SearchPath,
}

impl<'a> Scope<'a> {
    pub fn relation(&self, range: &RangeVar) -> Option<&'a Relation> {
        if range.schemaname.is_empty() {
            self.catalog.resolve(self.path, &range.relname)
        } else {
            self.catalog.relation(&range.schemaname, &range.relname)
        }
    }

    /// The relation that a statement writes, or the plan of a write that needs no more: to a temporary or an unknown one.
    pub fn target(&self, range: &RangeVar) -> Result<&'a Relation, Plan> {
        match self.relation(range) {
            None => Err(Plan::new(Action::Unparsed)),
            Some(relation) if relation.temporary => Err(Plan::new(Action::Leader)),
            Some(relation) => Ok(relation),
        }
    }

    pub fn text(&self) -> &'a str {
        &self.sql[self.span.clone()]
    }
}

/// What must be known to plan this statement.
pub fn need(statement: &Parsed, calls: &Calls, context: &Context<'_>) -> Need {
    use NodeEnum as N;
    match &statement.node {
        N::InsertStmt(_) | N::UpdateStmt(_) | N::DeleteStmt(_) => Need::SearchPath,
        N::CopyStmt(copy) if copy.is_from => Need::SearchPath,
        N::PrepareStmt(_) => Need::SearchPath,
        N::SelectStmt(_) | N::ExplainStmt(_) | N::DeclareCursorStmt(_) | N::CopyStmt(_) => {
            if calls.names_anything {
                Need::Catalog
            } else {
                Need::Nothing
            }
        }
        node if context.temporary && schema::may_be_temporary(node) => Need::SearchPath,
        _ => Need::Nothing,
    }
}

pub fn plan(scope: &Scope<'_>, statement: &NodeEnum, calls: &Calls) -> Plan {
    if let Some(action) = &calls.refusal {
        return Plan::new(action.clone());
    }
    let mut plan = classify(scope, statement, calls);
    plan.marks.sequences |= calls.marks.sequences;
    plan.marks.settings |= calls.marks.settings;
    plan
}

fn classify(scope: &Scope<'_>, statement: &NodeEnum, calls: &Calls) -> Plan {
    use NodeEnum as N;
    let leader = || Plan::new(Action::Leader);
    match statement {
        N::InsertStmt(s) if !write::has_writing_ctes(s.with_clause.as_ref()) => write::insert(scope, s),
        N::UpdateStmt(s) if !write::has_writing_ctes(s.with_clause.as_ref()) => write::update(scope, s),
        N::DeleteStmt(s) if !write::has_writing_ctes(s.with_clause.as_ref()) => write::delete(scope, s),
        N::InsertStmt(_) | N::UpdateStmt(_) | N::DeleteStmt(_) => Plan::new(refuse::later("it writes in WITH")),
        N::MergeStmt(_) => Plan::new(refuse::later("MERGE tells not what it did")),
        N::SelectStmt(s) => select(s),
        N::ExplainStmt(s) => explain(scope, s, calls),
        N::DeclareCursorStmt(s) => declare(s),
        N::CopyStmt(s) => copy::plan(scope, s),
        N::TransactionStmt(s) => transaction(s),
        N::VariableSetStmt(s) => variable(scope, s),
        N::VariableShowStmt(s) if s.name.eq_ignore_ascii_case("pool_nodes") => Plan::new(Action::ShowPoolNodes),
        N::PrepareStmt(s) => prepare(scope, s, calls),
        N::ExecuteStmt(s) => Plan::new(Action::Execute { name: s.name.clone() }),
        N::DeallocateStmt(s) => Plan::new(Action::Deallocate { name: (!s.isall).then(|| s.name.clone()) }),
        N::DiscardStmt(s) => discard(s.target),
        N::ListenStmt(s) => remembered(Memory::Listen { channel: s.conditionname.clone() }),
        N::UnlistenStmt(s) => {
            remembered(Memory::Unlisten { channel: (!s.conditionname.is_empty()).then(|| s.conditionname.clone()) })
        }
        N::VariableShowStmt(_) | N::FetchStmt(_) | N::ClosePortalStmt(_) | N::NotifyStmt(_) | N::LockStmt(_) => {
            leader()
        }
        N::ConstraintsSetStmt(_) | N::CheckPointStmt(_) | N::LoadStmt(_) => leader(),
        N::DoStmt(_) => Plan::new(refuse::later("a DO block may do anything")),
        N::CallStmt(_) => Plan::new(refuse::later("a procedure may do anything")),
        other => schema::plan(scope, other),
    }
}

fn select(statement: &SelectStmt) -> Plan {
    if write::has_writing_ctes(statement.with_clause.as_ref()) {
        return Plan::new(refuse::later("it writes in WITH"));
    }
    match into(statement) {
        None => Plan::new(Action::Leader),
        Some(rel) if rel.relpersistence == "t" => schema::temporary(),
        Some(_) => Plan::new(refuse::because(
            "SELECT INTO makes a table of a query's result, which may come out in another way on another server",
            "Create the table, then use INSERT ... SELECT.",
        )),
    }
}

/// The table of SELECT INTO, which a set operation has in its first SELECT.
fn into(statement: &SelectStmt) -> Option<&RangeVar> {
    let mut leftmost = statement;
    loop {
        if let Some(into) = &leftmost.into_clause {
            return into.rel.as_ref();
        }
        leftmost = leftmost.larg.as_deref()?;
    }
}

fn declare(statement: &protobuf::DeclareCursorStmt) -> Plan {
    /// `CURSOR_OPT_HOLD` (src/include/nodes/parsenodes.h).
    const HOLD: i32 = 0x0020;
    let mut plan = match statement.query.as_deref().and_then(|q| q.node.as_ref()) {
        Some(NodeEnum::SelectStmt(query)) => select(query),
        _ => Plan::new(refuse::later("its cursor writes")),
    };
    plan.marks.holdable = statement.options & HOLD != 0;
    plan
}

fn explain(scope: &Scope<'_>, statement: &ExplainStmt, calls: &Calls) -> Plan {
    let analyze = options(&statement.options).any(|option| option.defname == "analyze");
    match statement.query.as_deref().and_then(|q| q.node.as_ref()) {
        Some(NodeEnum::SelectStmt(query)) => select(query),
        Some(_) if !analyze => Plan::new(Action::Leader),
        Some(NodeEnum::ExecuteStmt(_)) | None => Plan::new(refuse::later("EXPLAIN ANALYZE would execute it")),
        Some(inner) => match plan(scope, inner, calls).action {
            Action::Leader => Plan::new(Action::Leader),
            Action::Refuse(fault) => Plan::new(Action::Refuse(fault)),
            _ => Plan::new(refuse::because(
                "EXPLAIN ANALYZE executes the statement, and what it changes is not told",
                "Use EXPLAIN without ANALYZE, or a server directly, in a transaction that you roll back.",
            )),
        },
    }
}

fn prepare(scope: &Scope<'_>, statement: &protobuf::PrepareStmt, calls: &Calls) -> Plan {
    let Some(query) = statement.query.as_deref().and_then(|q| q.node.as_ref()) else {
        return Plan::new(Action::Unparsed);
    };
    let inner = plan(scope, query, calls);
    match &inner.action {
        Action::Refuse(_) | Action::Unparsed => inner,
        Action::Leader if inner.marks == super::Marks::default() => {
            Plan::new(Action::Prepare { name: statement.name.clone(), inner: None })
        }
        Action::Leader | Action::Write(_) => {
            Plan::new(Action::Prepare { name: statement.name.clone(), inner: Some(Arc::new(inner)) })
        }
        _ => Plan::new(refuse::later("it prepares a statement of a kind that is not replicated when prepared by SQL")),
    }
}

fn transaction(statement: &TransactionStmt) -> Plan {
    use TransactionStmtKind as K;
    let name = || statement.savepoint_name.clone();
    let chain = statement.chain;
    let transaction = match K::try_from(statement.kind) {
        Ok(K::TransStmtBegin | K::TransStmtStart) => Transaction::Begin { serializable: isolation(&statement.options) },
        Ok(K::TransStmtCommit) => Transaction::Commit { chain },
        Ok(K::TransStmtRollback) => Transaction::Rollback { chain },
        Ok(K::TransStmtSavepoint) => Transaction::Savepoint { name: name() },
        Ok(K::TransStmtRelease) => Transaction::Release { name: name() },
        Ok(K::TransStmtRollbackTo) => Transaction::RollbackTo { name: name() },
        _ => return Plan::new(refuse::later("prepared transactions outlive their session")),
    };
    Plan::new(Action::Transaction(transaction))
}

/// What `ISOLATION LEVEL` among these options says of being serializable.
fn isolation(list: &[Node]) -> Option<bool> {
    let level = options(list).find(|option| option.defname == "transaction_isolation")?;
    Some(constant(level.arg.as_deref()?)?.eq_ignore_ascii_case("serializable"))
}

fn options(list: &[Node]) -> impl Iterator<Item = &DefElem> {
    list.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) => Some(&**option),
        _ => None,
    })
}

/// A constant's text.
pub fn constant(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(&text.sval),
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            protobuf::a_const::Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()?),
        _ => None,
    }
}

fn variable(scope: &Scope<'_>, statement: &VariableSetStmt) -> Plan {
    use VariableSetKind as K;
    let kind = K::try_from(statement.kind).unwrap_or(K::Undefined);
    let name = statement.name.to_ascii_lowercase();
    let value = statement.args.first().and_then(constant).unwrap_or_default();
    let sets = matches!(kind, K::VarSetValue | K::VarSetCurrent);
    match name.as_str() {
        "transaction" | "session characteristics" if kind == K::VarSetMulti => {
            let session = name != "transaction";
            return Plan::new(Action::Transaction(Transaction::Isolation {
                serializable: isolation(&statement.args),
                session,
            }));
        }
        "transaction_isolation" | "default_transaction_isolation" => {
            let serializable = Some(sets && value.eq_ignore_ascii_case("serializable"));
            let session = name.starts_with("default");
            return Plan::new(Action::Transaction(Transaction::Isolation { serializable, session }));
        }
        "session_replication_role" if sets && !value.eq_ignore_ascii_case("origin") => {
            return Plan::new(refuse::because(
                "it turns foreign keys and triggers off on one server",
                "Do without it.",
            ));
        }
        "standard_conforming_strings" if sets && !is_on(statement) => {
            return Plan::new(refuse::because("texts could not be read in the same way any more", "Leave it on."));
        }
        "role" | "session_authorization" if sets && !value.eq_ignore_ascii_case("none") => {
            return Plan::new(refuse::later("effects are applied as the role that has logged in"));
        }
        _ => {}
    }
    let memory = match kind {
        _ if statement.is_local => None,
        K::VarResetAll => Some(Memory::ResetAll),
        K::VarReset | K::VarSetDefault => Some(Memory::Reset { name }),
        K::VarSetValue => Some(Memory::Set { name }),
        _ => None,
    };
    let _ = scope;
    let mut plan = Plan { memory, ..Plan::new(Action::Leader) };
    plan.marks.settings = true;
    plan
}

fn is_on(statement: &VariableSetStmt) -> bool {
    let text = statement.args.first().and_then(constant).unwrap_or_default();
    ["on", "true", "yes", "1"].iter().any(|on| text.eq_ignore_ascii_case(on))
}

fn discard(target: i32) -> Plan {
    let all = target == DiscardMode::DiscardAll as i32;
    if !all && target != DiscardMode::DiscardTemp as i32 {
        return Plan::new(Action::Leader);
    }
    let mut plan = Plan::new(Action::Discard { all });
    plan.marks.settings = true;
    plan
}

fn remembered(memory: Memory) -> Plan {
    Plan { memory: Some(memory), ..Plan::new(Action::Leader) }
}

/// The calls in a statement, and whether its first token is what its kind says.
pub fn look(sql: &str, tokens: &Tokens, statement: &Parsed, catalog: Option<&Catalog>) -> Calls {
    let mut calls = calls::look(sql, tokens, &statement.span, catalog);
    let executes = matches!(&statement.node, NodeEnum::ExecuteStmt(_) | NodeEnum::TransactionStmt(_));
    if executes {
        calls.refusal = None;
    }
    calls
}

/// The place of the `n`th token of a kind after a word, for those who look for a literal.
pub fn literal_after(scope: &Scope<'_>, word: &str) -> Option<std::ops::Range<usize>> {
    let within: Vec<_> = scope.tokens.list.iter().filter(|t| scope.span.contains(&(t.start as usize))).collect();
    let at = within.iter().position(|t| t.kind == Kind::Word && t.text(scope.sql).eq_ignore_ascii_case(word))?;
    let literal = within.get(at + 1).filter(|t| t.kind == Kind::Text)?;
    Some(literal.start as usize - scope.span.start..literal.end as usize - scope.span.start)
}
