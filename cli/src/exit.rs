//! The four exit codes, and how a command ends early.

use std::process::ExitCode;

/// What a script may rely on. Every command ends with one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command did what it was asked, and the answer is good.
    Good,
    /// The command worked, and the answer is bad: a node is down, nodes differ, a recovery failed.
    Bad,
    /// The command was given wrongly, or the configuration is wrong.
    Usage,
    /// The proxy (or what the command needs to reach) cannot be reached.
    Unreachable,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not go on: what is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Stop {
    pub exit: Exit,
    pub what: String,
    pub remedy: Option<String>,
}

impl Stop {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), remedy: None }
    }

    pub fn bad(what: impl Into<String>) -> Self {
        Self::new(Exit::Bad, what)
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub fn unreachable(what: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, what)
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        let codes = [Exit::Good, Exit::Bad, Exit::Usage, Exit::Unreachable].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
