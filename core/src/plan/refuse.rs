//! Why a statement is refused, and what its author can do instead.
//!
//! Every refusal has SQLSTATE 0A000, says why the statement could not be carried out exactly on every server, and gives a
//! hint. A limit of ours has the SQLSTATE of PostgreSQL's own limit of that kind.

use std::fmt::Display;

use crate::fault::{Fault, SqlState};

pub fn refuse(reason: impl Display, hint: impl Into<String>) -> Fault {
    Fault { waivable: true, ..refuse_always(reason, hint) }
}

/// Refused whatever the operator allows: the proxy itself could not go on.
pub fn refuse_always(reason: impl Display, hint: impl Into<String>) -> Fault {
    let message = format!("this statement is refused: {reason}");
    Fault::error(SqlState::FEATURE_NOT_SUPPORTED, message).with_hint(hint.into())
}

pub fn too_deep() -> Fault {
    Fault::error(SqlState::STATEMENT_TOO_COMPLEX, "the statement is nested too deep to be understood")
        .with_hint("Use fewer nested brackets, or a shorter chain of operators, joins or UNIONs.")
}

pub fn too_long(length: usize) -> Fault {
    let message = format!("the text of {length} bytes is too long to be understood");
    Fault::error(SqlState::PROGRAM_LIMIT_EXCEEDED, message).with_hint("Send it in parts, or use COPY.")
}

pub fn own_schema() -> Fault {
    refuse_always(
        "the schema \"lockstep\" belongs to the proxy",
        "Use another schema; in a dump that is restored it may be passed over, for the proxy makes its own.",
    )
}
