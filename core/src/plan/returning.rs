//! RETURNING: what the client asked for, and what is put behind it.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, BoolExprType, ColumnRef, Node, RangeVar, ReturningClause, UpdateStmt};

use super::ClientColumns;
use super::refuse::refuse;
use super::scope::{Outcome, Scope};
use crate::catalog::Relation;
use crate::effect::EffectColumn;
use crate::fault::Fault;
use crate::sql::Facts;

/// Where RETURNING's columns may come from.
pub struct Sources<'a> {
    pub scope: &'a Scope<'a>,
    pub target: &'a Relation,
    pub range: &'a RangeVar,
    /// FROM or USING.
    pub from: &'a [Node],
    /// Names may mean common table expressions.
    pub with: bool,
}

impl Sources<'_> {
    /// How many columns the client will see, without any of ours.
    pub fn client_columns(&self, clause: Option<&ReturningClause>) -> Outcome<ClientColumns> {
        let Some(clause) = clause else { return Ok(ClientColumns::None) };
        let mut count = 0usize;
        for item in &clause.exprs {
            count += self.width(item)?;
        }
        let count = u16::try_from(count).map_err(|_| uncountable())?;
        Ok(ClientColumns::Known(count))
    }

    /// Columns that one item of the list stands for.
    fn width(&self, item: &Node) -> Outcome<usize> {
        let Some(NodeEnum::ResTarget(target)) = &item.node else { return Err(uncountable().into()) };
        match target.val.as_ref().and_then(|v| v.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => self.column_width(column),
            Some(NodeEnum::AIndirection(field)) if field.indirection.iter().any(is_star) => Err(uncountable().into()),
            Some(_) => Ok(1),
            None => Err(uncountable().into()),
        }
    }

    fn column_width(&self, column: &ColumnRef) -> Outcome<usize> {
        match column.fields.as_slice() {
            [.., last] if !is_star(last) => Ok(1),
            [_] => {
                let others = self.from.iter().map(|item| self.source_width(item)).sum::<Outcome<usize>>()?;
                Ok(self.target.columns.len() + others)
            }
            [name, _] => self.named_width(text(name).ok_or_else(uncountable)?),
            _ => Err(uncountable().into()),
        }
    }

    fn named_width(&self, name: &str) -> Outcome<usize> {
        if name == self.target_name() {
            return Ok(self.target.columns.len());
        }
        let named = self.from.iter().find(|item| source_name(item) == Some(name));
        named.map_or(Err(uncountable().into()), |item| self.source_width(item))
    }

    /// Columns of an item of FROM: a plain table's are known.
    fn source_width(&self, item: &Node) -> Outcome<usize> {
        match &item.node {
            Some(NodeEnum::RangeVar(range)) if !(self.with && range.schemaname.is_empty()) => {
                let relation = self.scope.relation_of(range)?.filter(|r| !r.columns.is_empty());
                Ok(relation.ok_or_else(uncountable)?.columns.len())
            }
            _ => Err(uncountable().into()),
        }
    }

    fn target_name(&self) -> &str {
        self.range.alias.as_ref().map_or(&self.range.relname, |a| &a.aliasname)
    }

    /// What is put behind the statement's last token.
    pub fn append(&self, client: ClientColumns, columns: &[EffectColumn]) -> Outcome<String> {
        let target = self.target_name();
        if self.range.alias.is_none() && mentions(self.from, target) {
            let reason = format!("{target} stands for two tables");
            return Err(
                refuse(reason, format!("Give the table that is written to an alias: {target} AS target.")).into()
            );
        }
        let list: Vec<String> = columns.iter().map(|c| c.returned(target)).collect();
        let separator = match client {
            ClientColumns::None => " RETURNING ",
            ClientColumns::Known(_) => ", ",
        };
        Ok(format!("{separator}{}", list.join(", ")))
    }
}

fn uncountable() -> Fault {
    refuse("its RETURNING list has a star whose columns cannot be counted", "List the columns by name.")
}

fn is_star(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::AStar(_)))
}

fn text(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(s)) => Some(&s.sval),
        _ => None,
    }
}

fn source_name(item: &Node) -> Option<&str> {
    match &item.node {
        Some(NodeEnum::RangeVar(r)) => Some(r.alias.as_ref().map_or(&r.relname, |a| &a.aliasname)),
        _ => None,
    }
}

/// Whether FROM names a relation, however deep in it, as the target is named.
fn mentions(from: &[Node], name: &str) -> bool {
    from.iter().any(|item| Facts::of(item).relations.iter().any(|r| r.name == name))
}

/// Types whose equal values are the same value, bit for bit.
const EXACT: [&str; 5] = ["int2", "int4", "int8", "uuid", "bool"];

/// Whether an UPDATE sets a column to just what its WHERE demands of it: `SET id = $1 … WHERE id = $1`.
pub fn keeps(statement: &UpdateStmt, relation: &Relation, range: &RangeVar, name: &str) -> bool {
    let table = range.alias.as_ref().map_or(&range.relname, |a| &a.aliasname);
    let exact =
        relation.column(name).is_some_and(|c| EXACT.iter().any(|t| c.type_name == format!("\"pg_catalog\".\"{t}\"")));
    let mut values = statement.target_list.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::ResTarget(t)) if t.name == name && t.indirection.is_empty() => t.val.as_deref(),
        _ => None,
    });
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    exact && is_simple(value) && statement.where_clause.as_deref().is_some_and(|w| demands(w, (table, name), value))
}

/// A parameter or a literal.
fn is_simple(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::ParamRef(_) | NodeEnum::AConst(_)))
}

fn demands(condition: &Node, column: (&str, &str), value: &Node) -> bool {
    match &condition.node {
        Some(NodeEnum::BoolExpr(e)) if e.boolop == BoolExprType::AndExpr as i32 => {
            e.args.iter().any(|arg| demands(arg, column, value))
        }
        Some(NodeEnum::AExpr(e)) => {
            is_equality(e) && sides(e).iter().any(|(l, r)| is_column(l, column) && same(r, value))
        }
        _ => false,
    }
}

fn is_equality(e: &AExpr) -> bool {
    e.kind == AExprKind::AexprOp as i32 && matches!(e.name.as_slice(), [name] if text(name) == Some("="))
}

fn sides(e: &AExpr) -> Vec<(&Node, &Node)> {
    match (e.lexpr.as_deref(), e.rexpr.as_deref()) {
        (Some(l), Some(r)) => vec![(l, r), (r, l)],
        _ => Vec::new(),
    }
}

fn is_column(node: &Node, (table, name): (&str, &str)) -> bool {
    let Some(NodeEnum::ColumnRef(column)) = &node.node else { return false };
    match column.fields.as_slice() {
        [field] => text(field) == Some(name),
        [qualifier, field] => text(qualifier) == Some(table) && text(field) == Some(name),
        _ => false,
    }
}

/// The same parameter, or the same literal.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.node, &b.node) {
        (Some(NodeEnum::ParamRef(a)), Some(NodeEnum::ParamRef(b))) => a.number == b.number,
        (Some(NodeEnum::AConst(a)), Some(NodeEnum::AConst(b))) => !a.isnull && a.val == b.val,
        _ => false,
    }
}
