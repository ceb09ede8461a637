//! Statements that cannot be replicated exactly and that the operator has allowed (`[replication] unsafe`).
//!
//! DDL goes to followers as its text: with other definitions they could not follow any more. Anything else runs on the
//! leader alone, and followers get the rows that our triggers tell; its text they never get, for it might do twice what
//! is done outside of these servers, and choose other rows there. Invariant: what the proxy could not follow itself is
//! refused whatever is allowed: see [`way`], and the faults that are not `waivable`.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::ObjectType;

use super::policy::{Waived, Way};
use super::scope::{Outcome, Scope};
use super::{Action, Ddl, Marks, Plan, calls, capture, ddl};
use crate::fault::Fault;
use crate::sql::Facts;

const SETTING: &str = "[replication] unsafe = \"warn\" lets it run: see `lockstep help limits`.";

pub fn or_refuse(scope: &Scope<'_>, node: &NodeEnum, mut fault: Fault) -> Outcome {
    let Some(way) = way(node).filter(|_| fault.waivable) else { return Ok(fault.into()) };
    let Some(waived) = Waived::of(scope.policy(), &fault, way) else {
        let hint = fault.hint.take().unwrap_or_default();
        return Ok(fault.with_hint(format!("{hint} {SETTING}")).into());
    };
    // What was found first is not all that there may be to say against it.
    let facts = Facts::of(node);
    calls::changes_known_settings(scope, &facts)?;
    scope.spares_own_schema(&facts)?;
    if way == Way::Text && is_of_session(scope, &facts)? {
        return Ok(fault.into());
    }
    let plan = match way {
        Way::Text => Action::Ddl(Arc::new(Ddl { password: None })).into(),
        Way::Leader => capture::what_is_seen(scope, &facts)?,
    };
    // What it does besides is not known.
    let marks = Marks { sequences: true, settings: true, locks: true, ..plan.marks };
    Ok(Plan { marks, waived: Some(Arc::new(waived)), ..plan })
}

/// It names what followers do not have: they could not run its text.
fn is_of_session(scope: &Scope<'_>, facts: &Facts) -> Outcome<bool> {
    let mut named = false;
    for name in &facts.relations {
        named |= scope.named(name)?.is_some_and(|relation| relation.temporary);
    }
    Ok(named || facts.statements.contains(&"ExecuteStmt"))
}

/// How a statement of this kind can be carried out in spite of all; `None`: not at all.
fn way(node: &NodeEnum) -> Option<Way> {
    match node {
        NodeEnum::SelectStmt(select) if select.into_clause.is_some() => Some(Way::Text),
        NodeEnum::SelectStmt(_)
        | NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::DoStmt(_)
        | NodeEnum::CallStmt(_) => Some(Way::Leader),
        NodeEnum::ExplainStmt(explain) => {
            let query = explain.query.as_ref().and_then(|query| query.node.as_ref())?;
            way(query).filter(|way| *way == Way::Leader)
        }
        // Data that a client sends is followed message by message.
        NodeEnum::CopyStmt(copy) if copy.is_from && copy.filename.is_empty() && !copy.is_program => None,
        NodeEnum::CopyStmt(_) => Some(Way::Leader),
        // The proxy's own connections keep the name.
        NodeEnum::RenameStmt(rename) if rename.rename_type() == ObjectType::ObjectDatabase => None,
        // In a transaction they are not possible.
        node if ddl::is_utility(node) => None,
        NodeEnum::CreateStmt(_)
        | NodeEnum::AlterTableStmt(_)
        | NodeEnum::IndexStmt(_)
        | NodeEnum::TruncateStmt(_)
        | NodeEnum::CreateDomainStmt(_)
        | NodeEnum::AlterDomainStmt(_)
        | NodeEnum::ImportForeignSchemaStmt(_) => Some(Way::Text),
        node => ddl::is_plain(node).then_some(Way::Text),
    }
}
