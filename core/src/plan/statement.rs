//! One statement's plan, by its kind.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeclareCursorStmt, DiscardMode, DoStmt, ExplainStmt, Node, PrepareStmt, SelectStmt, VariableShowStmt,
};

use super::calls::Calls;
use super::refuse::{self, refuse};
use super::scope::{Outcome, Scope, Stop};
use super::{
    Action, Leaves, Marks, Memory, Plan, block, calls, capture, copy, ddl, heritable, kept, objects, settings, waive,
    write,
};
use crate::sql::{Facts, Statement};

/// `Err` only where something has to be known first: a refusal is a plan.
pub fn plan(scope: &Scope<'_>, statement: &Statement) -> Outcome {
    let outcome = if scope.names_own_schema(statement) {
        Err(refuse::own_schema().into())
    } else {
        node(scope, statement, &statement.node).and_then(|plan| objects::plan(scope, statement, plan))
    };
    match outcome {
        Err(Stop::Refuse(fault)) => match waive::or_refuse(scope, &statement.node, fault) {
            Err(Stop::Refuse(fault)) => Ok(fault.into()),
            other => other,
        },
        Err(Stop::Unknown) => Ok(Action::Unparsed.into()),
        Err(Stop::UnknownBut(fault)) => Ok(Action::Unknown(fault).into()),
        other => other,
    }
}

fn node(scope: &Scope<'_>, statement: &Statement, node: &NodeEnum) -> Outcome {
    match node {
        NodeEnum::SelectStmt(select) => self::select(scope, statement, select, &Facts::of(node)),
        NodeEnum::InsertStmt(insert) => {
            let facts = &Facts::of(node);
            capture::or_rows(scope, facts, || write::insert(scope, insert, facts))
        }
        NodeEnum::UpdateStmt(update) => {
            let facts = &Facts::of(node);
            capture::or_rows(scope, facts, || write::update(scope, update, facts))
        }
        NodeEnum::DeleteStmt(delete) => {
            let facts = &Facts::of(node);
            capture::or_rows(scope, facts, || write::delete(scope, delete, facts))
        }
        NodeEnum::MergeStmt(_) => capture::plan(scope, &Facts::of(node)),
        NodeEnum::CopyStmt(copy) => copy::plan(scope, statement, copy, &Facts::of(node)),
        NodeEnum::TransactionStmt(transaction) => Ok(settings::transaction(transaction)),
        NodeEnum::VariableSetStmt(set) => Ok(settings::set(set)),
        NodeEnum::VariableShowStmt(show) => Ok(self::show(show)),
        NodeEnum::PrepareStmt(prepare) => self::prepare(scope, statement, prepare),
        NodeEnum::ExecuteStmt(execute) => {
            let marks = Marks { sequences: true, ..calls::check(scope, &Facts::of(node))? };
            Ok(Plan { marks, ..Action::Execute { name: execute.name.clone() }.into() })
        }
        NodeEnum::DeallocateStmt(deallocate) => {
            let name = (!deallocate.isall).then(|| deallocate.name.clone());
            Ok(Action::Deallocate { name }.into())
        }
        NodeEnum::DiscardStmt(discard) => Ok(self::discard(discard.target())),
        NodeEnum::DeclareCursorStmt(declare) => self::declare(scope, declare, &Facts::of(node)),
        NodeEnum::ExplainStmt(explain) => self::explain(scope, statement, explain),
        NodeEnum::ListenStmt(listen) => Ok(remembered(Memory::Listen { channel: listen.conditionname.clone() })),
        NodeEnum::UnlistenStmt(unlisten) => {
            let channel = Some(unlisten.conditionname.clone()).filter(|c| !c.is_empty());
            Ok(remembered(Memory::Unlisten { channel }))
        }
        NodeEnum::NotifyStmt(_) | NodeEnum::LockStmt(_) | NodeEnum::ClosePortalStmt(_) => {
            Ok(Plan { leaves: Leaves::Again, ..Action::Leader.into() })
        }
        NodeEnum::FetchStmt(_) | NodeEnum::LoadStmt(_) | NodeEnum::CheckPointStmt(_) => Ok(Action::Leader.into()),
        NodeEnum::ConstraintsSetStmt(set) => capture::set_constraints(scope, set, &Facts::of(node)),
        NodeEnum::DoStmt(block) => self::block(scope, statement, block),
        NodeEnum::CallStmt(_) => capture::call(scope, &Facts::of(node)),
        other => match objects::definition(scope, other)? {
            Some(plan) => Ok(plan),
            None => ddl::plan(scope, statement, other),
        },
    }
}

fn remembered(memory: Memory) -> Plan {
    Plan { memory: Some(memory), leaves: Leaves::Again, ..Action::Leader.into() }
}

/// A block of DDL alone goes as text; any other runs on the leader, and what it writes is captured.
fn block(scope: &Scope<'_>, statement: &Statement, block: &DoStmt) -> Outcome {
    match self::block::plan(scope, statement, block) {
        Err(Stop::Refuse(_)) => capture::do_block(scope, block),
        planned => planned,
    }
}

fn select(scope: &Scope<'_>, statement: &Statement, select: &SelectStmt, facts: &Facts) -> Outcome {
    if facts.statements.iter().any(|s| *s != "SelectStmt") {
        return capture::plan(scope, facts);
    }
    if facts.into {
        let marks = calls::check(scope, facts)?;
        return ddl::create_as(scope, statement, select.into_clause.as_deref(), marks);
    }
    match calls::look(scope, facts)? {
        Calls { marks, writer: None, .. } => {
            let kept = kept::of(scope, select, facts)?;
            let leaves = match &kept {
                Some(kept) => heritable::keeps(kept),
                None => heritable::reads(scope, facts)?,
            };
            Ok(Plan { marks, leaves, kept, ..Action::Leader.into() })
        }
        Calls { writer: Some(_), .. } => capture::plan(scope, facts),
    }
}

fn show(show: &VariableShowStmt) -> Plan {
    match show.name.to_ascii_lowercase().as_str() {
        "pool_nodes" => Action::ShowPoolNodes.into(),
        _ => Plan { leaves: Leaves::Nothing, ..Action::Leader.into() },
    }
}

/// PREPARE's own plan is that of the statement in it.
fn prepare(scope: &Scope<'_>, statement: &Statement, prepare: &PrepareStmt) -> Outcome {
    let query = prepare.query.as_ref().and_then(|q| q.node.as_ref()).ok_or(Stop::Unknown)?;
    let inner = node(scope, statement, query)?;
    if inner.marks.settings || inner.marks.temporary {
        let reason = "it prepares a statement that changes what later statements mean";
        return Err(refuse(reason, "Run that statement without PREPARE.").into());
    }
    let name = prepare.name.clone();
    match inner.action {
        Action::Image(_) => {
            Err(refuse("it prepares a statement that makes a table", "Run that statement without PREPARE.").into())
        }
        Action::Leader | Action::Write(_) | Action::Captured(_) => {
            Ok(Action::Prepare { name, inner: Arc::new(inner) }.into())
        }
        action => Ok(action.into()),
    }
}

fn discard(mode: DiscardMode) -> Plan {
    let all = mode == DiscardMode::DiscardAll;
    let temporary = all || mode == DiscardMode::DiscardTemp;
    Plan { marks: Marks { settings: all, temporary, ..Marks::default() }, ..Action::Discard { all }.into() }
}

/// src/include/nodes/parsenodes.h
const CURSOR_OPT_HOLD: i32 = 0x0020;

fn declare(scope: &Scope<'_>, declare: &DeclareCursorStmt, facts: &Facts) -> Outcome {
    if facts.statements.iter().any(|s| !matches!(*s, "SelectStmt" | "DeclareCursorStmt")) {
        return Err(refuse("a write stands within a cursor's query", "Run the write as a statement of its own.").into());
    }
    let marks = calls::check(scope, facts)?;
    let holdable = declare.options & CURSOR_OPT_HOLD != 0;
    let leaves = if holdable { Leaves::More } else { heritable::opens(scope, facts)? };
    Ok(Plan { marks: Marks { holdable, ..marks }, leaves, ..Action::Leader.into() })
}

/// Without ANALYZE nothing is executed but functions that are not VOLATILE, by the planner; such as write are refused.
fn explain(scope: &Scope<'_>, statement: &Statement, explain: &ExplainStmt) -> Outcome {
    let query = explain.query.as_ref().and_then(|q| q.node.as_ref()).ok_or(Stop::Unknown)?;
    if !explain.options.iter().any(is_analyze) {
        let marks = calls::look(scope, &Facts::of(query))?.marks;
        return Ok(Plan { marks: marks.of_sequences(), ..Action::Leader.into() });
    }
    match node(scope, statement, query)? {
        Plan { action: Action::Leader, marks, .. } => Ok(Plan { marks, ..Action::Leader.into() }),
        Plan { action: Action::Refuse(fault), .. } => Err(fault.into()),
        Plan { action: Action::Unparsed, .. } => Err(Stop::Unknown),
        _ => Err(refuse("EXPLAIN ANALYZE executes the statement", "Use EXPLAIN without ANALYZE.").into()),
    }
}

/// Also when it is given a value: `ANALYZE false` is rare enough.
fn is_analyze(option: &Node) -> bool {
    matches!(&option.node, Some(NodeEnum::DefElem(option)) if option.defname == "analyze")
}
