//! DDL that comes to something else when others have made or dropped something meanwhile. The leader has run it in the middle of
//! their transactions; followers run it at its COMMIT, which may be behind theirs.
//!
//! Other DDL names what it needs, and the server keeps that as it is until the transaction ends.

use pg_query::NodeEnum;
use pg_query::protobuf::GrantTargetType;

pub(super) fn on_others(node: &NodeEnum) -> bool {
    reaches_all(node) || is_conditional(node)
}

/// All objects of a kind.
fn reaches_all(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::GrantStmt(s) => s.targtype() == GrantTargetType::AclTargetAllInSchema,
        NodeEnum::DropOwnedStmt(_) | NodeEnum::ReassignOwnedStmt(_) | NodeEnum::AlterTableMoveAllStmt(_) => true,
        _ => false,
    }
}

/// `IF EXISTS` and `IF NOT EXISTS`: what is passed over is not locked.
fn is_conditional(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::CreateStmt(s) => s.if_not_exists,
        NodeEnum::CreateForeignTableStmt(s) => s.base_stmt.as_ref().is_some_and(|base| base.if_not_exists),
        NodeEnum::CreateTableAsStmt(s) => s.if_not_exists,
        NodeEnum::CreateSchemaStmt(s) => s.if_not_exists,
        NodeEnum::CreateSeqStmt(s) => s.if_not_exists,
        NodeEnum::CreateStatsStmt(s) => s.if_not_exists,
        NodeEnum::CreateExtensionStmt(s) => s.if_not_exists,
        NodeEnum::CreateForeignServerStmt(s) => s.if_not_exists,
        NodeEnum::CreateUserMappingStmt(s) => s.if_not_exists,
        NodeEnum::IndexStmt(s) => s.if_not_exists,
        NodeEnum::DefineStmt(s) => s.if_not_exists,
        NodeEnum::DropStmt(s) => s.missing_ok,
        NodeEnum::DropRoleStmt(s) => s.missing_ok,
        NodeEnum::DropUserMappingStmt(s) => s.missing_ok,
        NodeEnum::AlterTableStmt(s) => s.missing_ok,
        NodeEnum::AlterSeqStmt(s) => s.missing_ok,
        NodeEnum::AlterStatsStmt(s) => s.missing_ok,
        NodeEnum::AlterObjectSchemaStmt(s) => s.missing_ok,
        NodeEnum::RenameStmt(s) => s.missing_ok,
        _ => false,
    }
}
