//! Errors that a client is told, and the one table to SQLSTATE.
//!
//! PostgreSQL's error codes: documentation, appendix A.

use std::borrow::Cow;

/// A SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

impl SqlState {
    pub const WARNING: Self = Self("01000");
    pub const PROTOCOL_VIOLATION: Self = Self("08P01");
    pub const CONNECTION_FAILURE: Self = Self("08006");
    pub const FEATURE_NOT_SUPPORTED: Self = Self("0A000");
    pub const INVALID_AUTHORIZATION: Self = Self("28000");
    pub const INVALID_PASSWORD: Self = Self("28P01");
    pub const NO_ACTIVE_TRANSACTION: Self = Self("25P01");
    pub const READ_ONLY_TRANSACTION: Self = Self("25006");
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self("25P03");
    pub const IN_FAILED_TRANSACTION: Self = Self("25P02");
    pub const NO_SUCH_SAVEPOINT: Self = Self("3B001");
    pub const UNDEFINED_STATEMENT: Self = Self("26000");
    pub const UNDEFINED_PORTAL: Self = Self("34000");
    pub const SERIALIZATION_FAILURE: Self = Self("40001");
    pub const INSUFFICIENT_PRIVILEGE: Self = Self("42501");
    pub const INSUFFICIENT_RESOURCES: Self = Self("53000");
    pub const NOT_IN_PREREQUISITE_STATE: Self = Self("55000");
    pub const DISK_FULL: Self = Self("53100");
    pub const TOO_MANY_CONNECTIONS: Self = Self("53300");
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self("54000");
    pub const STATEMENT_TOO_COMPLEX: Self = Self("54001");
    pub const QUERY_CANCELED: Self = Self("57014");
    pub const ADMIN_SHUTDOWN: Self = Self("57P01");
    pub const CANNOT_CONNECT_NOW: Self = Self("57P03");
    pub const INTERNAL: Self = Self("XX000");
}

/// Whether the session survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// The connection is closed after this message.
    Fatal,
}

/// An error of ours on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({})", state.0)]
pub struct Fault {
    pub severity: Severity,
    pub state: SqlState,
    pub message: Cow<'static, str>,
    pub detail: Option<Cow<'static, str>>,
    pub hint: Option<Cow<'static, str>>,
    /// The operator may allow what is refused by it.
    pub waivable: bool,
}

impl Fault {
    pub fn error(state: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Error, state, message: message.into(), detail: None, hint: None, waivable: false }
    }

    pub fn fatal(state: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(state, message) }
    }

    /// A client broke the protocol: nothing after this can be trusted, so it is fatal.
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::fatal(SqlState::PROTOCOL_VIOLATION, message)
    }

    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
