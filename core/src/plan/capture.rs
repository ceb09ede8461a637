//! Statements whose rows are learned by capture: the leader runs them as they are, and a trigger of ours tells what rows
//! have become of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{ConstraintsSetStmt, DoStmt, Node};

use super::calls::Calls;
use super::policy::{Capturing, Policy};
use super::refuse::{refuse, refuse_always};
use super::scope::{Outcome, Scope, Stop};
use super::{Action, Captured, Kept, Leaves, Marks, Plan, calls, heritable, kept, safety, watch};
use crate::catalog::{Catalog, DoBlock, Oid, Relation};
use crate::fault::Fault;
use crate::quote::quote_literal;
use crate::sql::{Facts, Name};

/// Plans a write by RETURNING, unless its tables are captured, or RETURNING cannot show all that it changes.
pub fn or_rows(scope: &Scope<'_>, facts: &Facts, rows: impl FnOnce() -> Outcome) -> Outcome {
    let catalog = scope.catalog()?;
    for target in targets(scope, facts)? {
        if is_captured(scope, catalog, target) {
            return plan(scope, facts);
        }
    }
    match rows() {
        Err(Stop::Refuse(_)) => plan(scope, facts),
        other => other,
    }
}

/// Whether a table's rows are to be learned by capture, whatever is done with them.
fn is_captured(scope: &Scope<'_>, catalog: &Catalog, target: &Relation) -> bool {
    let wanted = scope.policy().capture == Capturing::All && target.schema != "pg_catalog" && target.can_carry();
    !target.temporary && (catalog.is_captured(target) || wanted)
}

/// A statement that may write in several places: its own targets, and what functions write to that it calls.
pub fn plan(scope: &Scope<'_>, facts: &Facts) -> Outcome {
    let catalog = scope.catalog()?;
    let targets = targets(scope, facts)?;
    let Calls { mut marks, writer, text } = calls::look(scope, facts)?;
    if facts.into {
        return Err(refuse("it makes a table of what it writes", "Make the table first.").into());
    }
    for target in &targets {
        calls::note_effect(safety::defaults(catalog, target), &mut marks);
        if target.temporary {
            safety::temporary(catalog, target)?;
        }
    }
    let mut tables = catalog.reach(targets.iter().filter(|target| !target.temporary).map(|target| target.oid));
    if writer.is_some() {
        tables.extend(&catalog.touched);
    }
    let leaves = heritable::captures(scope, facts, &tables)?;
    Ok(Plan { leaves, ..captured(scope, tables, marks, text)? })
}

/// OIDs and much else in them differ between servers, and nothing tells what was changed.
fn system_tables(named: &Name) -> Fault {
    let instead = match named.name.as_str() {
        "pg_database" => "ALTER DATABASE",
        "pg_authid" | "pg_auth_members" | "pg_roles" | "pg_user" | "pg_shadow" | "pg_group" => "ALTER ROLE or GRANT",
        "pg_class" | "pg_attribute" | "pg_attrdef" | "pg_constraint" | "pg_index" | "pg_trigger" => "ALTER TABLE",
        "pg_settings" => "SET",
        "pg_description" | "pg_shdescription" => "COMMENT ON",
        "pg_largeobject" | "pg_largeobject_metadata" => "lo_put() or ALTER LARGE OBJECT",
        "pg_enum" => "ALTER TYPE",
        "pg_proc" => "ALTER FUNCTION",
        "pg_statistic" | "pg_statistic_ext_data" => "ANALYZE",
        _ => "the statement that PostgreSQL has for it",
    };
    let reason =
        format!("it writes to {}, one of the system's own tables, which are not replicated as rows", named.name);
    refuse_always(reason, format!("Use {instead}. What no statement does, do on each server, past the proxy."))
}

/// What a statement writes to, if the catalog knows it. Of the system's own tables it knows none; without a schema their
/// names begin so.
fn target<'a>(scope: &Scope<'a>, name: &Name) -> Outcome<Option<&'a Relation>> {
    let of_system = match name.schema.as_deref() {
        None => name.name.starts_with("pg_"),
        Some("pg_catalog") => return Err(system_tables(name).into()),
        Some(schema) => matches!(schema, "information_schema" | "pg_toast"),
    };
    match scope.named(name)? {
        None if of_system => Err(Stop::UnknownBut(system_tables(name))),
        found => Ok(found),
    }
}

/// Whether rows of a table can be captured.
pub fn judge(catalog: &Catalog, relation: &Relation) -> Result<(), Fault> {
    let tables = catalog.reach([relation.oid]);
    if catalog.sets_off_text(&tables) {
        watch::watch(Policy::default(), catalog)?;
    }
    tables.iter().filter_map(|oid| catalog.relation(*oid)).try_for_each(|reached| safety::captured(catalog, reached))
}

/// COPY into a table whose rows are captured; `None`: they are not.
pub fn copy(scope: &Scope<'_>, relation: &Relation, marks: Marks, from_client: bool) -> Outcome<Option<Plan>> {
    let catalog = scope.catalog()?;
    if !is_captured(scope, catalog, relation) {
        return Ok(None);
    }
    let mut plan = captured(scope, catalog.reach([relation.oid]), marks, false)?;
    if let Action::Captured(captured) = &mut plan.action {
        Arc::make_mut(captured).copies = from_client;
    }
    Ok(Some(plan))
}

/// The relations that a statement writes to.
fn targets<'a>(scope: &Scope<'a>, facts: &Facts) -> Outcome<Vec<&'a Relation>> {
    facts.targets.iter().map(|name| target(scope, name)?.ok_or(Stop::Unknown)).collect()
}

/// A statement after which rows of these tables may be others, and if it runs `text`, of others too.
fn captured(scope: &Scope<'_>, tables: BTreeSet<Oid>, marks: Marks, text: bool) -> Outcome {
    let catalog = scope.catalog()?;
    for relation in tables.iter().filter_map(|oid| catalog.relation(*oid)) {
        safety::captured(catalog, relation)?;
    }
    // What triggers do besides, such as drawing from sequences, is not looked for.
    let locks = tables.iter().filter_map(|oid| catalog.relation(*oid)).any(|relation| calls::locks(catalog, relation));
    let mut marks = Marks { sequences: true, locks: marks.locks || locks, ..marks };
    let triggers = tables.iter().filter_map(|oid| catalog.relation(*oid)).flat_map(|relation| &relation.triggers);
    if triggers.filter(|trigger| trigger.is_about_rows()).any(|trigger| catalog.drops_objects(&trigger.function)) {
        (marks.objects, marks.locks_objects) = (true, true);
    }
    let watch = match text || catalog.sets_off_text(&tables) {
        true => Some(watch::watch(scope.policy(), catalog)?),
        false => None,
    };
    let missing = catalog.uncaptured(&tables);
    if scope.policy().capture == Capturing::Off && (watch.is_some() || !tables.is_empty()) {
        let reason = "what it changes would have to be captured by triggers, and [replication] capture is \"off\"";
        return Err(refuse(reason, "Set it to \"auto\".").into());
    }
    if !missing.is_empty() {
        return Ok(Plan { marks, ..Action::Capture(missing.into()).into() });
    }
    if tables.is_empty() && watch.is_none() {
        return Ok(Plan { marks, ..Action::Leader.into() });
    }
    let defers = !catalog.deferrable.is_empty();
    let captured = Captured { flush: flush(catalog), defers, settles: false, copies: false, watch };
    Ok(Plan { marks, ..Action::Captured(Arc::new(captured)).into() })
}

/// A statement that may do more than is known: what of it our triggers tell.
pub fn what_is_seen(scope: &Scope<'_>, facts: &Facts) -> Outcome {
    let catalog = scope.catalog()?;
    let mut named = Vec::new();
    for name in &facts.targets {
        named.extend(target(scope, name)?.filter(|relation| !relation.temporary));
    }
    let mut tables = catalog.reach(named.into_iter().map(|relation| relation.oid));
    tables.extend(&catalog.touched);
    if scope.policy().capture == Capturing::All {
        tables.extend(catalog.relations.keys());
    }
    tables.retain(|oid| catalog.relation(*oid).is_some_and(|relation| safety::captured(catalog, relation).is_ok()));
    let missing = match scope.policy().capture {
        Capturing::Off => Vec::new(),
        Capturing::Auto | Capturing::All => catalog.uncaptured(&tables),
    };
    if !missing.is_empty() {
        return Ok(Action::Capture(missing.into()).into());
    }
    if catalog.capturing_schemas().is_empty() {
        return Ok(Action::Leader.into());
    }
    let captured = Captured { flush: flush(catalog), defers: true, settles: false, copies: false, watch: None };
    Ok(Action::Captured(Arc::new(captured)).into())
}

/// Has all of our triggers fire.
fn flush(catalog: &Catalog) -> String {
    let schemas: Vec<String> = catalog.capturing_schemas().into_iter().map(quote_literal).collect();
    format!("SELECT lockstep.flush(ARRAY[{}]::pg_catalog.text[])", schemas.join(","))
}

/// SET CONSTRAINTS has triggers of users fire, and may take from ours that they wait for the end of a statement: behind it
/// they fire too, and wait again.
pub fn set_constraints(scope: &Scope<'_>, set: &ConstraintsSetStmt, facts: &Facts) -> Outcome {
    let catalog = scope.catalog()?;
    if facts.relations.iter().any(|name| name.name == "lockstep_capture") {
        return Err(super::refuse::own_schema().into());
    }
    if catalog.capturing_schemas().is_empty() {
        return Ok(Plan { leaves: Leaves::Again, ..Action::Leader.into() });
    }
    let settles = set.constraints.is_empty() && !set.deferred;
    let captured = Captured { flush: flush(catalog), defers: true, settles, copies: false, watch: None };
    let marks = Marks { sequences: true, ..Marks::default() };
    Ok(Plan { marks, ..Action::Captured(Arc::new(captured)).into() })
}

/// CALL: a procedure whose name is not known gets the leader's own error.
pub fn call(scope: &Scope<'_>, facts: &Facts) -> Outcome {
    match calls::look(scope, facts)? {
        Calls { marks, writer: None, .. } => {
            let kept = kept::locks(scope, facts)?.then_some(Kept::SomeLocks);
            Ok(Plan { marks, kept, ..Action::Leader.into() })
        }
        Calls { writer: Some(_), .. } => plan(scope, facts),
    }
}

pub fn do_block(scope: &Scope<'_>, block: &DoStmt) -> Outcome {
    let catalog = scope.catalog()?;
    scope.reads_literals();
    let argument = |name: &str| block.args.iter().find_map(|node| option(node, name));
    let (Some(text), language) = (argument("as"), argument("language")) else { return Err(Stop::Unknown) };
    if language.is_some_and(|language| language != "plpgsql") {
        let hint = "Use PL/pgSQL, or send its statements one by one.";
        return Err(refuse("what a DO block in another language writes cannot be seen", hint).into());
    }
    if text.to_ascii_lowercase().contains(crate::sql::OWN_SCHEMA) {
        return Err(super::refuse::own_schema().into());
    }
    match catalog.do_block(text) {
        DoBlock::Beyond(why) => {
            let reason = format!("what this DO block does is not known in full: {why}");
            Err(refuse(reason, "Send its statements one by one.").into())
        }
        DoBlock::Nothing => Ok(Plan { marks: settling(), ..Action::Leader.into() }),
        DoBlock::Rows { names, text } => {
            let named = names.iter().flat_map(|name| catalog.relations_named(name)).filter(|r| !r.temporary);
            let mut tables = catalog.reach(named.map(|relation| relation.oid));
            tables.extend(&catalog.touched);
            captured(scope, tables, settling(), text)
        }
    }
}

/// What a block may change besides rows.
fn settling() -> Marks {
    Marks { sequences: true, settings: true, locks: true, ..Marks::default() }
}

fn option<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    let Some(NodeEnum::DefElem(option)) = &node.node else { return None };
    match option.arg.as_ref()?.node.as_ref()? {
        NodeEnum::String(text) if option.defname == name => Some(&text.sval),
        _ => None,
    }
}
