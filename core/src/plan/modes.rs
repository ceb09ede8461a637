//! Transaction modes: isolation level, access mode, deferrable (documentation, "SET TRANSACTION").
//!
//! What a transaction was given is kept, for one that is chained to it has the same, also where another server has to be
//! told of it.

use std::fmt;

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, Node};

use super::settings::literal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// As far as a statement names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    pub isolation: Option<Isolation>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

impl Isolation {
    const ALL: [(Self, &str); 4] = [
        (Self::ReadUncommitted, "READ UNCOMMITTED"),
        (Self::ReadCommitted, "READ COMMITTED"),
        (Self::RepeatableRead, "REPEATABLE READ"),
        (Self::Serializable, "SERIALIZABLE"),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(level, known)| known.eq_ignore_ascii_case(name).then_some(level))
    }
}

impl Modes {
    pub(super) fn read(list: &[Node]) -> Self {
        let mut modes = Self::default();
        for mode in list {
            let Some(NodeEnum::DefElem(mode)) = &mode.node else { continue };
            match mode.defname.as_str() {
                "transaction_isolation" => modes.isolation = level(mode),
                "transaction_read_only" => modes.read_only = switch(mode),
                "transaction_deferrable" => modes.deferrable = switch(mode),
                _ => {}
            }
        }
        modes
    }

    /// Whether only the leader can judge the transaction, where that is said.
    #[must_use]
    pub fn serializable(self) -> Option<bool> {
        self.isolation.map(|level| level == Isolation::Serializable)
    }

    /// With what was said later.
    pub(crate) fn then(&mut self, later: Self) {
        self.isolation = later.isolation.or(self.isolation);
        self.read_only = later.read_only.or(self.read_only);
        self.deferrable = later.deferrable.or(self.deferrable);
    }
}

fn level(mode: &DefElem) -> Option<Isolation> {
    mode.arg.as_deref().and_then(literal).and_then(Isolation::named)
}

fn switch(mode: &DefElem) -> Option<bool> {
    use pg_query::protobuf::a_const::Val;
    match &mode.arg.as_deref()?.node {
        Some(NodeEnum::AConst(constant)) => match constant.val.as_ref() {
            Some(Val::Ival(number)) => Some(number.ival != 0),
            _ => None,
        },
        _ => None,
    }
}

/// What stands behind BEGIN.
impl fmt::Display for Modes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |level| Isolation::ALL.into_iter().find(|(known, _)| *known == level);
        if let Some((_, name)) = self.isolation.and_then(named) {
            write!(out, " ISOLATION LEVEL {name}")?;
        }
        for (mode, on, off) in
            [(self.read_only, "READ ONLY", "READ WRITE"), (self.deferrable, "DEFERRABLE", "NOT DEFERRABLE")]
        {
            if let Some(is_on) = mode {
                write!(out, " {}", if is_on { on } else { off })?;
            }
        }
        Ok(())
    }
}
