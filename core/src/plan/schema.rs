//! DDL: replicated as text, unless it evaluates expressions over rows or concerns temporary objects.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableStmt, AlterTableType, ColumnDef, ConstrType, Constraint, CreateTableAsStmt, DropStmt,
    Node, RangeVar,
};

use super::classify::{Scope, constant, literal_after};
use super::{Action, Ddl, PasswordLiteral, Plan, refuse};

/// A statement about temporary objects: the leader's alone, and the session needs a catalog of its own.
pub fn temporary() -> Plan {
    let mut plan = Plan::new(Action::Leader);
    plan.marks.temporary = true;
    plan
}

fn ddl() -> Plan {
    Plan::new(Action::Ddl(Arc::new(Ddl { password: None })))
}

/// Statements whose objects may be temporary ones, which only the catalog can tell.
pub fn may_be_temporary(node: &NodeEnum) -> bool {
    use NodeEnum as N;
    matches!(
        node,
        N::AlterTableStmt(_)
            | N::IndexStmt(_)
            | N::DropStmt(_)
            | N::TruncateStmt(_)
            | N::RenameStmt(_)
            | N::CommentStmt(_)
            | N::CreateTrigStmt(_)
            | N::AlterSeqStmt(_)
            | N::GrantStmt(_)
            | N::AlterObjectSchemaStmt(_)
            | N::AlterOwnerStmt(_)
            | N::ViewStmt(_)
            | N::RuleStmt(_)
            | N::CreateStatsStmt(_)
    )
}

pub fn plan(scope: &Scope<'_>, statement: &NodeEnum) -> Plan {
    use NodeEnum as N;
    let is_temporary = |range: Option<&RangeVar>| range.is_some_and(|r| made_temporary(r) || known_temporary(scope, r));
    match statement {
        N::CreateStmt(s) if is_temporary(s.relation.as_ref()) => temporary(),
        N::CreateSeqStmt(s) if is_temporary(s.sequence.as_ref()) => temporary(),
        N::ViewStmt(s) if is_temporary(s.view.as_ref()) => temporary(),
        N::IndexStmt(s) if is_temporary(s.relation.as_ref()) => temporary(),
        N::AlterTableStmt(s) if is_temporary(s.relation.as_ref()) => temporary(),
        N::RenameStmt(s) if is_temporary(s.relation.as_ref()) => temporary(),
        N::CreateTrigStmt(s) if is_temporary(s.relation.as_ref()) => temporary(),
        N::TruncateStmt(s) => by_ranges(scope, s.relations.iter().map(range_of)),
        N::DropStmt(s) => drop(scope, s),
        N::CreateTableAsStmt(s) => create_table_as(s),
        N::RefreshMatViewStmt(s) if !s.skip_data => {
            Plan::new(refuse::later("a materialized view holds the result of a query"))
        }
        N::AlterTableStmt(s) => alter_table(scope, s),
        N::IndexStmt(s) if s.concurrent => Plan::new(Action::Utility),
        N::CreateRoleStmt(s) => role(scope, &s.role, &s.options),
        N::AlterRoleStmt(s) => role(scope, s.role.as_ref().map_or("", |r| &r.rolename), &s.options),
        N::VacuumStmt(_) | N::ReindexStmt(_) | N::ClusterStmt(_) | N::CreatedbStmt(_) | N::DropdbStmt(_) => {
            Plan::new(Action::Utility)
        }
        N::AlterSystemStmt(_) | N::CreateTableSpaceStmt(_) | N::DropTableSpaceStmt(_) => Plan::new(Action::Utility),
        other if is_text_ddl(other) => ddl(),
        _ => Plan::new(refuse::later("statements of this kind are not replicated")),
    }
}

/// DDL that does the same wherever the schema is the same.
fn is_text_ddl(node: &NodeEnum) -> bool {
    use NodeEnum as N;
    matches!(
        node,
        N::CreateSchemaStmt(_)
            | N::CreateStmt(_)
            | N::CreateSeqStmt(_)
            | N::AlterSeqStmt(_)
            | N::ViewStmt(_)
            | N::IndexStmt(_)
            | N::RenameStmt(_)
            | N::AlterObjectSchemaStmt(_)
            | N::AlterOwnerStmt(_)
            | N::AlterObjectDependsStmt(_)
            | N::CommentStmt(_)
            | N::SecLabelStmt(_)
            | N::GrantStmt(_)
            | N::GrantRoleStmt(_)
            | N::AlterDefaultPrivilegesStmt(_)
            | N::CreateFunctionStmt(_)
            | N::AlterFunctionStmt(_)
            | N::CreateTrigStmt(_)
            | N::RuleStmt(_)
            | N::CreateEventTrigStmt(_)
            | N::AlterEventTrigStmt(_)
            | N::CreatePolicyStmt(_)
            | N::AlterPolicyStmt(_)
            | N::CreateDomainStmt(_)
            | N::AlterDomainStmt(_)
            | N::CreateEnumStmt(_)
            | N::AlterEnumStmt(_)
            | N::CompositeTypeStmt(_)
            | N::CreateRangeStmt(_)
            | N::AlterTypeStmt(_)
            | N::DefineStmt(_)
            | N::CreateCastStmt(_)
            | N::CreateConversionStmt(_)
            | N::CreateTransformStmt(_)
            | N::CreateOpClassStmt(_)
            | N::CreateOpFamilyStmt(_)
            | N::AlterOpFamilyStmt(_)
            | N::AlterOperatorStmt(_)
            | N::CreateStatsStmt(_)
            | N::AlterStatsStmt(_)
            | N::CreateExtensionStmt(_)
            | N::AlterExtensionStmt(_)
            | N::AlterExtensionContentsStmt(_)
            | N::CreatePlangStmt(_)
            | N::CreateAmStmt(_)
            | N::AlterTsdictionaryStmt(_)
            | N::AlterTsconfigurationStmt(_)
            | N::AlterCollationStmt(_)
            | N::AlterRoleSetStmt(_)
            | N::DropRoleStmt(_)
            | N::DropOwnedStmt(_)
            | N::ReassignOwnedStmt(_)
            | N::AlterDatabaseStmt(_)
            | N::AlterDatabaseSetStmt(_)
            | N::AlterDatabaseRefreshCollStmt(_)
            | N::CreatePublicationStmt(_)
            | N::AlterPublicationStmt(_)
            | N::CreateFdwStmt(_)
            | N::AlterFdwStmt(_)
            | N::CreateForeignServerStmt(_)
            | N::AlterForeignServerStmt(_)
            | N::CreateForeignTableStmt(_)
            | N::CreateUserMappingStmt(_)
            | N::AlterUserMappingStmt(_)
            | N::DropUserMappingStmt(_)
            | N::AlterTableMoveAllStmt(_)
            | N::AlterTableSpaceOptionsStmt(_)
            | N::RefreshMatViewStmt(_)
    )
}

fn made_temporary(range: &RangeVar) -> bool {
    range.relpersistence == "t" || range.schemaname.eq_ignore_ascii_case("pg_temp")
}

fn known_temporary(scope: &Scope<'_>, range: &RangeVar) -> bool {
    scope.relation(range).is_some_and(|r| r.temporary)
}

fn range_of(node: &Node) -> Option<RangeVar> {
    match &node.node {
        Some(NodeEnum::RangeVar(range)) => Some(range.clone()),
        _ => None,
    }
}

/// One statement about several relations: all temporary, or none.
fn by_ranges(scope: &Scope<'_>, ranges: impl Iterator<Item = Option<RangeVar>>) -> Plan {
    let temporaries: Vec<bool> =
        ranges.map(|r| r.is_some_and(|r| made_temporary(&r) || known_temporary(scope, &r))).collect();
    match (temporaries.iter().any(|t| *t), temporaries.iter().all(|t| *t)) {
        (false, _) => ddl(),
        (true, true) => temporary(),
        (true, false) => Plan::new(refuse::because(
            "it is about temporary and other tables at once",
            "Write one statement for each kind.",
        )),
    }
}

fn drop(scope: &Scope<'_>, statement: &DropStmt) -> Plan {
    if statement.concurrent {
        return Plan::new(Action::Utility);
    }
    let ranges = statement.objects.iter().map(|object| match &object.node {
        Some(NodeEnum::List(names)) => range_from_names(&names.items),
        _ => None,
    });
    by_ranges(scope, ranges)
}

fn range_from_names(names: &[Node]) -> Option<RangeVar> {
    let text = |node: &Node| match &node.node {
        Some(NodeEnum::String(name)) => Some(name.sval.clone()),
        _ => None,
    };
    let (schemaname, relname) = match names {
        [name] => (String::new(), text(name)?),
        [schema, name] => (text(schema)?, text(name)?),
        _ => return None,
    };
    Some(RangeVar { schemaname, relname, ..RangeVar::default() })
}

fn create_table_as(statement: &CreateTableAsStmt) -> Plan {
    let Some(into) = &statement.into else { return Plan::new(Action::Unparsed) };
    if into.rel.as_ref().is_some_and(made_temporary) {
        return temporary();
    }
    if into.skip_data {
        return ddl();
    }
    Plan::new(refuse::because(
        "it fills a table with the result of a query, which may come out in another way on another server",
        "Create the table, then use INSERT ... SELECT.",
    ))
}

fn alter_table(scope: &Scope<'_>, statement: &AlterTableStmt) -> Plan {
    let commands = statement.cmds.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::AlterTableCmd(command)) => Some(&**command),
        _ => None,
    });
    let refusal = commands.into_iter().find_map(|command| evaluates(scope, command));
    refusal.map_or_else(ddl, Plan::new)
}

/// Why a part of ALTER TABLE would fill rows with values that each server chooses for itself.
fn evaluates(scope: &Scope<'_>, command: &AlterTableCmd) -> Option<Action> {
    let column = match command.def.as_deref().and_then(|d| d.node.as_ref()) {
        Some(NodeEnum::ColumnDef(column)) => column,
        _ => return adds_identity(command),
    };
    match AlterTableType::try_from(command.subtype) {
        Ok(AlterTableType::AtAddColumn) => added_column(column),
        Ok(AlterTableType::AtAlterColumnType) => {
            let calls = scope.text().to_ascii_lowercase();
            let computes = column.raw_default.as_deref().is_some_and(|using| !is_plain(using));
            (computes && calls.contains('(')).then(|| {
                refuse::because(
                    "USING calls functions over the rows",
                    "Add a column, fill it with UPDATE, and drop the old one.",
                )
            })
        }
        _ => None,
    }
}

fn adds_identity(command: &AlterTableCmd) -> Option<Action> {
    let identity = command.subtype == AlterTableType::AtAddIdentity as i32;
    identity.then(|| refuse::later("it would number the rows that are there"))
}

fn added_column(column: &ColumnDef) -> Option<Action> {
    let serial = column.type_name.as_ref().is_some_and(|t| {
        t.names
            .iter()
            .any(|n| matches!(&n.node, Some(NodeEnum::String(s)) if s.sval.to_ascii_lowercase().contains("serial")))
    });
    let varies = column.constraints.iter().any(|node| match &node.node {
        Some(NodeEnum::Constraint(constraint)) => fills_rows(constraint),
        _ => false,
    });
    (serial || varies).then(|| {
        refuse::because(
            format_args!("each server would fill column {} with values of its own", column.colname),
            "Add the column without a default, fill it with UPDATE, then set the default.",
        )
    })
}

fn fills_rows(constraint: &Constraint) -> bool {
    match ConstrType::try_from(constraint.contype) {
        Ok(ConstrType::ConstrIdentity) => true,
        Ok(ConstrType::ConstrDefault) => constraint.raw_expr.as_deref().is_some_and(|e| !is_constant(e)),
        _ => false,
    }
}

/// A literal that means the same everywhere, perhaps cast.
fn is_constant(node: &Node) -> bool {
    let now =
        |text: &str| ["now", "today", "tomorrow", "yesterday"].iter().any(|w| text.trim().eq_ignore_ascii_case(w));
    match &node.node {
        Some(NodeEnum::AConst(_)) => !constant(node).is_some_and(now),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        Some(NodeEnum::AExpr(sign)) => sign.lexpr.is_none() && sign.rexpr.as_deref().is_some_and(is_constant),
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(is_constant),
        _ => false,
    }
}

/// A column or constant, perhaps cast.
fn is_plain(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::ColumnRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_plain),
        _ => is_constant(node),
    }
}

/// CREATE or ALTER ROLE. A password in clear would get another salt on each server.
fn role(scope: &Scope<'_>, role: &str, options: &[Node]) -> Plan {
    let password = options.iter().find_map(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "password" => constant(option.arg.as_deref()?),
        _ => None,
    });
    let Some(password) = password.filter(|p| !is_verifier(p)) else { return ddl() };
    let Some(span) = literal_after(scope, "password") else {
        return Plan::new(refuse::later("its password is not found"));
    };
    let literal = PasswordLiteral { span, role: role.to_owned(), password: password.to_owned() };
    Plan::new(Action::Ddl(Arc::new(Ddl { password: Some(literal) })))
}

fn is_verifier(password: &str) -> bool {
    let md5 = password.strip_prefix("md5").is_some_and(|d| d.len() == 32 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    md5 || password.starts_with("SCRAM-SHA-256$")
}
