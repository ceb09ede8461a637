//! What a SELECT leaves with its session rather than its transaction: advisory locks, and settings by `set_config`.
//!
//! Another leader can be given both, where it is known what they are: the SELECT is a list of such calls and of
//! constants, and their arguments are literals or parameters. That is how programs write them.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{AConst, FuncCall, LimitOption, Node, SelectStmt, SetOperation, TypeName};

use super::scope::{Outcome, Scope};
use crate::catalog::builtin;
use crate::catalog::model::Effect;
use crate::sql::{Facts, Name};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Locks(Arc<[LockCall]>),
    Settings(Arc<[SettingCall]>),
    /// Locks are taken or let go, and it is not known which.
    SomeLocks,
}

/// A call that takes or lets go a lock of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockCall {
    /// Where its answer stands in the row.
    pub column: usize,
    pub does: Locking,
    pub shared: bool,
    /// One number or two.
    pub key: Vec<Argument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    Takes,
    /// It may have taken it: its answer says so.
    Tries,
    LetsGo,
    LetsAllGo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingCall {
    pub name: String,
    pub value: Argument,
    /// Until the end of the transaction.
    pub local: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `None`: NULL.
    Literal(Option<String>),
    /// Counted from 1.
    Parameter(usize),
}

impl Kept {
    /// Bytes that it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Locks(calls) => calls.len() * 128,
            Self::Settings(calls) => calls.iter().map(|call| 64 + call.name.len() + call.value.weight()).sum(),
            Self::SomeLocks => 0,
        }
    }
}

impl Argument {
    fn weight(&self) -> usize {
        match self {
            Self::Literal(Some(text)) => 32 + text.len(),
            Self::Literal(None) | Self::Parameter(_) => 32,
        }
    }
}

/// Whether it calls functions that lock by their names. Operators, casts and views may call some, too.
pub fn locks(scope: &Scope<'_>, facts: &Facts) -> Outcome<bool> {
    if facts.functions.is_empty() {
        return Ok(false);
    }
    let catalog = scope.catalog()?;
    // Of what writes it is not known.
    let known = |effect: Effect| effect.locks && !effect.writes;
    let locks = |call: &Name| {
        known(builtin::effect_of(&call.name)) || catalog.functions_named(&call.name).any(|f| known(f.effect))
    };
    Ok(facts.functions.iter().any(locks))
}

/// To be asked when it is known to write nothing.
pub fn of(scope: &Scope<'_>, select: &SelectStmt, facts: &Facts) -> Outcome<Option<Kept>> {
    let locking = locks(scope, facts)?;
    let sets = facts.functions.iter().any(|call| call.name == SET_CONFIG);
    if !locking && !sets {
        return Ok(None);
    }
    scope.reads_literals();
    let catalog = scope.catalog()?;
    let of_users = |call: &Name| catalog.functions_named(&call.name).next().is_some();
    let known = if facts.functions.iter().any(of_users) { None } else { calls(select) };
    Ok(match known {
        Some((locks, settings)) if settings.is_empty() => Some(Kept::Locks(locks.into())),
        Some((locks, settings)) if locks.is_empty() => Some(Kept::Settings(settings.into())),
        _ => locking.then_some(Kept::SomeLocks),
    })
}

const SET_CONFIG: &str = "set_config";

/// `None`: it is not known what they are, or there is more to the statement.
fn calls(select: &SelectStmt) -> Option<(Vec<LockCall>, Vec<SettingCall>)> {
    let rest = SelectStmt { target_list: Vec::new(), ..select.clone() };
    let (limit_option, op) = (LimitOption::Default as i32, SetOperation::SetopNone as i32);
    if rest != (SelectStmt { limit_option, op, ..SelectStmt::default() }) {
        return None;
    }
    let (mut locks, mut settings) = (Vec::new(), Vec::new());
    for (column, target) in select.target_list.iter().enumerate() {
        let Some(NodeEnum::ResTarget(target)) = &target.node else { return None };
        let value = target.val.as_deref()?;
        match &value.node {
            Some(NodeEnum::FuncCall(call)) if is_plain(call) => match name(&call.funcname)?.as_str() {
                SET_CONFIG => settings.push(setting(&call.args)?),
                other => locks.push(lock(column, other, &call.args)?),
            },
            _ if Facts::of(value).computes_with_constants() => {}
            _ => return None,
        }
    }
    Some((locks, settings))
}

fn is_plain(call: &FuncCall) -> bool {
    let aggregates = call.agg_star || call.agg_distinct || call.agg_within_group || !call.agg_order.is_empty();
    !aggregates && call.agg_filter.is_none() && call.over.is_none() && !call.func_variadic
}

/// A name of the server's own.
fn name(parts: &[Node]) -> Option<String> {
    let parts: Vec<&str> = parts.iter().filter_map(text).collect();
    match parts[..] {
        [name] | ["pg_catalog", name] => Some(name.to_owned()),
        _ => None,
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(text)) => Some(&text.sval),
        _ => None,
    }
}

fn lock(column: usize, name: &str, args: &[Node]) -> Option<LockCall> {
    let (name, shared) = name.strip_suffix("_shared").map_or((name, false), |name| (name, true));
    let does = match name {
        "pg_advisory_lock" => Locking::Takes,
        "pg_try_advisory_lock" => Locking::Tries,
        "pg_advisory_unlock" => Locking::LetsGo,
        "pg_advisory_unlock_all" if !shared && args.is_empty() => Locking::LetsAllGo,
        _ => return None,
    };
    let key: Vec<Argument> = args.iter().map(|arg| argument(arg, &INTEGERS)).collect::<Option<_>>()?;
    let keyed = does == Locking::LetsAllGo || matches!(key.len(), 1 | 2);
    keyed.then_some(LockCall { column, does, shared, key })
}

fn setting(args: &[Node]) -> Option<SettingCall> {
    let [name, value, local] = args else { return None };
    let Some(NodeEnum::AConst(AConst { val: Some(Val::Sval(name)), .. })) = &name.node else { return None };
    let Some(NodeEnum::AConst(AConst { val: Some(Val::Boolval(local)), .. })) = &local.node else { return None };
    let value = argument(value, &["text"])?;
    Some(SettingCall { name: name.sval.to_ascii_lowercase(), value, local: local.boolval })
}

const INTEGERS: [&str; 3] = ["int8", "int4", "int2"];

/// A literal or a parameter, perhaps with a cast to one of these types, which leaves it what it is.
fn argument(node: &Node, types: &[&str]) -> Option<Argument> {
    match node.node.as_ref()? {
        NodeEnum::ParamRef(parameter) => usize::try_from(parameter.number).ok().map(Argument::Parameter),
        NodeEnum::AConst(constant) => literal(constant).map(Argument::Literal),
        NodeEnum::TypeCast(cast) => {
            let TypeName { names, typmods, array_bounds, setof: false, pct_type: false, .. } =
                cast.type_name.as_ref()?
            else {
                return None;
            };
            let known = typmods.is_empty() && array_bounds.is_empty() && types.contains(&name(names)?.as_str());
            argument(cast.arg.as_deref().filter(|_| known)?, types)
        }
        _ => None,
    }
}

fn literal(constant: &AConst) -> Option<Option<String>> {
    if constant.isnull {
        return Some(None);
    }
    let text = match constant.val.as_ref()? {
        Val::Ival(number) => number.ival.to_string(),
        Val::Fval(number) => number.fval.clone(),
        Val::Sval(text) => text.sval.clone(),
        Val::Boolval(_) | Val::Bsval(_) => return None,
    };
    Some(Some(text))
}
