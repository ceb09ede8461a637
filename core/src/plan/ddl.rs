//! What goes to followers as text, and what cannot run in a transaction.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterDatabaseStmt, CreateStmt, IntoClause, Node, ObjectType, RangeVar, ReindexObjectType, TruncateStmt,
};

use super::alter::Alteration;
use super::image::{self, Image};
use super::refuse::refuse;
use super::safety::{self, Change};
use super::scope::{Outcome, Scope, Stop};
use super::{
    Action, Ddl, Marks, PasswordLiteral, Plan, Utility, alter, calls, depends, evaluated, role, settings, temporary,
};
use crate::catalog::{Event, RelationKind};
use crate::sql::{Facts, Statement};

pub fn plan(scope: &Scope<'_>, statement: &Statement, node: &NodeEnum) -> Outcome {
    let facts = Facts::of(node);
    if let Some(plan) = temporary::plan(scope, statement, node, &facts)? {
        return Ok(plan);
    }
    scope.path()?;
    scope.spares_own_schema(&facts)?;
    large_objects(node)?;
    evaluated::definitions(scope, node, &facts)?;
    if matches!(node, NodeEnum::RenameStmt(s) if s.rename_type() == ObjectType::ObjectDatabase) {
        let reason = "it renames a database, to which the proxy itself has connections";
        return Err(refuse(reason, "CREATE DATABASE … TEMPLATE, then DROP DATABASE.").into());
    }
    if is_utility(node) {
        return Ok(Action::Utility(utility(node)).into());
    }
    if let Some(plan) = image(scope, statement, node, &facts)? {
        return Ok(plan);
    }
    let action = match special(scope, statement, node, &facts)? {
        Special::Password(password) => Action::Ddl(Arc::new(Ddl { password })),
        Special::Image(image) => Action::Image(Arc::new(image)),
        Special::Instead(action) => return Ok(action.into()),
    };
    if facts.temporal_words {
        let reason = "it has a literal such as 'now', which would mean another time on each server";
        return Err(refuse(reason, "Use now() or CURRENT_DATE, or write the time out.").into());
    }
    if !is_shared(node) {
        fires_nothing(scope)?;
    }
    let upkeep = matches!(node, NodeEnum::VacuumStmt(_));
    let defaults = matches!(node, NodeEnum::AlterDefaultPrivilegesStmt(_));
    let marks = Marks {
        sequences: moves_sequences(node),
        upkeep,
        depends: depends::on_others(node),
        defaults,
        ..Marks::default()
    };
    Ok(Plan { marks, ..action.into() })
}

pub(super) fn fires_nothing(scope: &Scope<'_>) -> Outcome<()> {
    let Some(trigger) = scope.catalog()?.event_triggers.first() else { return Ok(()) };
    let reason = format!("the event trigger {trigger} would fire on each server");
    Err(refuse(reason, format!("ALTER EVENT TRIGGER {trigger} DISABLE.")).into())
}

/// What PostgreSQL does not let run in a transaction block.
pub fn is_utility(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::VacuumStmt(s) => s.is_vacuumcmd,
        NodeEnum::ClusterStmt(s) => s.relation.is_none(),
        NodeEnum::IndexStmt(s) => s.concurrent,
        NodeEnum::DropStmt(s) => s.concurrent,
        NodeEnum::ReindexStmt(s) => {
            let whole =
                !matches!(s.kind(), ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectTable);
            whole || s.params.iter().any(|p| is_option(p, "concurrently"))
        }
        NodeEnum::AlterDatabaseStmt(AlterDatabaseStmt { options, .. }) => {
            options.iter().any(|o| is_option(o, "tablespace"))
        }
        NodeEnum::CreatedbStmt(_)
        | NodeEnum::DropdbStmt(_)
        | NodeEnum::AlterSystemStmt(_)
        | NodeEnum::CreateTableSpaceStmt(_)
        | NodeEnum::DropTableSpaceStmt(_) => true,
        _ => false,
    }
}

fn utility(node: &NodeEnum) -> Utility {
    match vacated(node) {
        Some(database) => Utility::Vacates(database),
        None if matches!(node, NodeEnum::VacuumStmt(_)) => Utility::Upkeep,
        None => Utility::Plain,
    }
}

/// The database that the command drops, moves or copies: the server refuses it while anybody is connected there.
fn vacated(node: &NodeEnum) -> Option<Arc<str>> {
    match node {
        NodeEnum::DropdbStmt(s) => Some(s.dbname.as_str().into()),
        NodeEnum::AlterDatabaseStmt(s) => Some(s.dbname.as_str().into()),
        NodeEnum::CreatedbStmt(s) => {
            let template = s.options.iter().find(|option| is_option(option, "template"))?;
            let Some(NodeEnum::DefElem(template)) = &template.node else { return None };
            let Some(NodeEnum::String(name)) = &template.arg.as_ref()?.node else { return None };
            Some(name.sval.as_str().into())
        }
        _ => None,
    }
}

fn is_option(node: &Node, name: &str) -> bool {
    matches!(&node.node, Some(NodeEnum::DefElem(option)) if option.defname == name)
}

/// Objects of all databases: event triggers do not fire for them, nor for themselves.
fn is_shared(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::CreateRoleStmt(_)
        | NodeEnum::AlterRoleStmt(_)
        | NodeEnum::AlterRoleSetStmt(_)
        | NodeEnum::DropRoleStmt(_)
        | NodeEnum::GrantRoleStmt(_)
        | NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_)
        | NodeEnum::CreateEventTrigStmt(_)
        | NodeEnum::AlterEventTrigStmt(_)
        | NodeEnum::TruncateStmt(_)
        | NodeEnum::VacuumStmt(_) => true,
        NodeEnum::DropStmt(s) => s.remove_type() == ObjectType::ObjectEventTrigger,
        _ => false,
    }
}

fn moves_sequences(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::TruncateStmt(s) => s.restart_seqs,
        NodeEnum::CreateSeqStmt(_) | NodeEnum::AlterSeqStmt(_) | NodeEnum::AlterTableStmt(_) => true,
        _ => false,
    }
}

/// Tables made from a query: each server would run it by itself.
fn image(scope: &Scope<'_>, statement: &Statement, node: &NodeEnum, facts: &Facts) -> Outcome<Option<Plan>> {
    match node {
        NodeEnum::CreateTableAsStmt(s) => {
            let harmless = |s: &&str| matches!(*s, "SelectStmt" | "CreateTableAsStmt" | "ExecuteStmt");
            if !facts.statements.iter().all(harmless) {
                let reason = "a write stands within a query";
                return Err(refuse(reason, "Run the write as a statement of its own, with RETURNING.").into());
            }
            let executes = facts.statements.contains(&"ExecuteStmt");
            let mut marks = calls::check(scope, facts)?;
            marks.sequences |= executes;
            if s.objtype() == ObjectType::ObjectMatview {
                return Ok(None);
            }
            match create_as(scope, statement, s.into.as_deref(), marks)? {
                Plan { action: Action::Ddl(_), .. } if executes => {
                    let reason = "the other servers do not know the prepared statement";
                    Err(refuse(reason, "Write its query out.").into())
                }
                Plan { action: Action::Ddl(_), .. } => Ok(None),
                plan => Ok(Some(plan)),
            }
        }
        _ => Ok(None),
    }
}

pub fn create_as(scope: &Scope<'_>, statement: &Statement, into: Option<&IntoClause>, marks: Marks) -> Outcome {
    let into = into.ok_or(Stop::Unknown)?;
    if temporary::is_temporary(into.rel.as_ref()) || into.rel.as_ref().is_some_and(|r| r.schemaname == "pg_temp") {
        return Ok(Plan { marks: Marks { temporary: true, ..marks }, ..Action::Leader.into() });
    }
    if into.skip_data {
        return Ok(Action::Ddl(Arc::new(Ddl { password: None })).into());
    }
    scope.path()?;
    fires_nothing(scope)?;
    image::made(scope, statement, into, marks)
}

enum Special {
    Password(Option<PasswordLiteral>),
    Image(Image),
    Instead(Action),
}

/// Statements whose text is not all: what they evaluate, reach, or may not do.
fn special(scope: &Scope<'_>, statement: &Statement, node: &NodeEnum, facts: &Facts) -> Outcome<Special> {
    let none = Ok(Special::Password(None));
    match node {
        NodeEnum::AlterTableStmt(s) => match alter::check(scope, s, facts)? {
            Alteration::Text => none,
            Alteration::Utility(utility) => Ok(Special::Instead(Action::Utility(utility))),
            Alteration::Image(image) => Ok(Special::Image(image)),
        },
        NodeEnum::CreateStmt(s) => create_table(scope, s).and(none),
        NodeEnum::CreateTableAsStmt(s) => match s.into.as_deref() {
            Some(into) if !into.skip_data => Ok(Special::Image(image::view(scope, into.rel.as_ref(), false, false)?)),
            _ => none,
        },
        NodeEnum::RefreshMatViewStmt(s) if !s.skip_data => {
            Ok(Special::Image(image::view(scope, s.relation.as_ref(), true, s.concurrent)?))
        }
        NodeEnum::IndexStmt(_) => {
            evaluated::stored(facts)?;
            calls::check(scope, facts).and(none)
        }
        NodeEnum::AlterDomainStmt(_) => {
            evaluated::stored(facts)?;
            calls::check(scope, facts).and(none)
        }
        NodeEnum::CreateDomainStmt(s) => {
            evaluated::constraints(&s.constraints).try_for_each(evaluated::condition).and(none)
        }
        NodeEnum::ReindexStmt(s) => one_by_one(scope, s.relation.as_ref()),
        NodeEnum::ClusterStmt(s) => one_by_one(scope, s.relation.as_ref()),
        NodeEnum::TruncateStmt(s) => truncate(scope, s, facts).and(none),
        NodeEnum::CreateRoleStmt(s) => Ok(Special::Password(role::password(scope, statement, &s.role, &s.options)?)),
        NodeEnum::AlterRoleStmt(s) => {
            let name = s.role.as_ref().map_or("", |r| &r.rolename);
            Ok(Special::Password(role::password(scope, statement, name, &s.options)?))
        }
        NodeEnum::AlterRoleSetStmt(s) => Ok(settings::stored(s.setstmt.as_ref()).map(|()| Special::Password(None))?),
        NodeEnum::AlterDatabaseSetStmt(s) => {
            Ok(settings::stored(s.setstmt.as_ref()).map(|()| Special::Password(None))?)
        }
        other if is_plain(other) => none,
        other => Err(unknown(other)),
    }
}

/// A command that treats the partitions of a table, or of an index, in transactions of their own.
fn one_by_one(scope: &Scope<'_>, table: Option<&RangeVar>) -> Outcome<Special> {
    let table = table.map(|table| scope.relation_of(table)).transpose()?.flatten();
    let kinds = [RelationKind::Partitioned, RelationKind::PartitionedIndex];
    let parted = table.is_some_and(|relation| kinds.contains(&relation.kind));
    Ok(if parted { Special::Instead(Action::Utility(Utility::Plain)) } else { Special::Password(None) })
}

fn create_table(scope: &Scope<'_>, statement: &CreateStmt) -> Outcome<()> {
    evaluated::constraints(&statement.table_elts).try_for_each(evaluated::condition)?;
    let bound = statement.partbound.clone().map(|b| Node { node: Some(NodeEnum::PartitionBoundSpec(b)) });
    alter::partition_bound(scope, bound.as_ref())
}

/// What is not a statement of its own ([`super::objects`]), or a label, about which a module would have to be asked.
fn large_objects(node: &NodeEnum) -> Outcome<()> {
    let about = match node {
        NodeEnum::GrantStmt(s) => s.objtype(),
        NodeEnum::CommentStmt(s) => s.objtype(),
        NodeEnum::SecLabelStmt(s) => s.objtype(),
        NodeEnum::AlterOwnerStmt(s) => s.object_type(),
        _ => return Ok(()),
    };
    if about == ObjectType::ObjectLargeobject {
        return Err(refuse("it is about large objects", "Send GRANT, COMMENT or ALTER LARGE OBJECT by itself.").into());
    }
    Ok(())
}

/// TRUNCATE, with what it reaches by CASCADE.
fn truncate(scope: &Scope<'_>, statement: &TruncateStmt, facts: &Facts) -> Outcome<()> {
    let catalog = scope.catalog()?;
    let cascades = statement.behavior == pg_query::protobuf::DropBehavior::DropCascade as i32;
    let mut next = Vec::new();
    for name in &facts.relations {
        next.extend(scope.named(name)?);
    }
    let mut seen = Vec::new();
    while let Some(relation) = next.pop() {
        if seen.contains(&relation.oid) {
            continue;
        }
        seen.push(relation.oid);
        let change = Change { event: Event::Truncate, assigned: &[], defaults: false };
        safety::check(catalog, relation, change, true)?;
        next.extend(relation.children.iter().filter_map(|oid| catalog.relation(*oid)));
        if cascades {
            next.extend(catalog.references_to(relation.oid).filter_map(|key| catalog.relation(key.referring)));
        }
    }
    Ok(())
}

/// Statements that change the catalog alone, and by their text alone.
pub fn is_plain(node: &NodeEnum) -> bool {
    use NodeEnum::*;
    matches!(
        node,
        CreateSchemaStmt(_)
            | CreateTableAsStmt(_)
            | RefreshMatViewStmt(_)
            | ViewStmt(_)
            | ReindexStmt(_)
            | ClusterStmt(_)
            | VacuumStmt(_)
            | DropStmt(_)
            | DropRoleStmt(_)
            | DropOwnedStmt(_)
            | ReassignOwnedStmt(_)
            | GrantStmt(_)
            | GrantRoleStmt(_)
            | AlterDefaultPrivilegesStmt(_)
            | CommentStmt(_)
            | SecLabelStmt(_)
            | RenameStmt(_)
            | AlterObjectDependsStmt(_)
            | AlterObjectSchemaStmt(_)
            | AlterOwnerStmt(_)
            | CreateSeqStmt(_)
            | AlterSeqStmt(_)
            | CreateFunctionStmt(_)
            | AlterFunctionStmt(_)
            | CreateTrigStmt(_)
            | CreateEventTrigStmt(_)
            | AlterEventTrigStmt(_)
            | RuleStmt(_)
            | CreatePolicyStmt(_)
            | AlterPolicyStmt(_)
            | CompositeTypeStmt(_)
            | CreateEnumStmt(_)
            | AlterEnumStmt(_)
            | CreateRangeStmt(_)
            | AlterTypeStmt(_)
            | DefineStmt(_)
            | CreateCastStmt(_)
            | CreateConversionStmt(_)
            | CreateTransformStmt(_)
            | CreateOpClassStmt(_)
            | CreateOpFamilyStmt(_)
            | AlterOpFamilyStmt(_)
            | AlterOperatorStmt(_)
            | AlterCollationStmt(_)
            | CreateStatsStmt(_)
            | AlterStatsStmt(_)
            | AlterTsdictionaryStmt(_)
            | AlterTsconfigurationStmt(_)
            | CreateExtensionStmt(_)
            | AlterExtensionStmt(_)
            | AlterExtensionContentsStmt(_)
            | CreatePlangStmt(_)
            | CreateAmStmt(_)
            | CreateFdwStmt(_)
            | AlterFdwStmt(_)
            | CreateForeignServerStmt(_)
            | AlterForeignServerStmt(_)
            | CreateForeignTableStmt(_)
            | CreateUserMappingStmt(_)
            | AlterUserMappingStmt(_)
            | DropUserMappingStmt(_)
            | CreatePublicationStmt(_)
            | AlterPublicationStmt(_)
            | AlterDatabaseStmt(_)
    ) || matches!(node, AlterTableSpaceOptionsStmt(_) | AlterTableMoveAllStmt(_))
}

fn unknown(node: &NodeEnum) -> Stop {
    match node {
        NodeEnum::CreateSubscriptionStmt(_)
        | NodeEnum::AlterSubscriptionStmt(_)
        | NodeEnum::DropSubscriptionStmt(_) => {
            refuse("a subscription writes rows past the proxy", "Subscribe with a server that is not behind it.").into()
        }
        NodeEnum::ImportForeignSchemaStmt(_) => {
            let reason = "each server would ask the foreign server by itself";
            refuse(reason, "CREATE FOREIGN TABLE for each table.").into()
        }
        _ => refuse("it is not known what it would have to do on the other servers", "Use another statement.").into(),
    }
}
