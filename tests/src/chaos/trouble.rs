//! Why an operation failed, and whether that says what became of it.

use tokio_postgres::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A SQLSTATE, or words where there is none.
    pub cause: String,
    /// In the server's words.
    pub said: String,
    pub in_doubt: bool,
}

pub const CLOSED: &str = "connection closed";
pub const REFUSED: &str = "connection refused";
pub const NO_ANSWER: &str = "no answer";

/// A server that is about to go has said nothing about a commit that is under way.
const UNDECIDED: [&str; 4] = ["57P01", "57P02", "57P03", "XX000"];

impl Trouble {
    /// Nothing that could commit had been sent.
    pub fn before_commit(error: &Error) -> Self {
        Self { cause: cause(error), said: said(error), in_doubt: false }
    }

    /// The commit, or a statement that commits by itself, had been sent.
    pub fn at_commit(error: Error) -> Self {
        let cause = cause(&error);
        let said = said(&error);
        let decided = error.code().is_some() && !cause.starts_with("08") && !UNDECIDED.contains(&cause.as_str());
        Self { cause, said, in_doubt: !decided }
    }

    pub fn no_answer() -> Self {
        Self { cause: NO_ANSWER.into(), said: String::new(), in_doubt: true }
    }

    pub fn at_login(error: &Error) -> Self {
        let cause = match cause(error).as_str() {
            CLOSED => REFUSED.into(),
            cause => format!("{cause} at login"),
        };
        Self { cause, said: said(error), in_doubt: false }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::before_commit(&error)
    }
}

fn cause(error: &Error) -> String {
    let is_io = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    match error.code() {
        Some(code) => code.code().to_owned(),
        None if error.is_closed() || is_io => CLOSED.into(),
        None => error.to_string(),
    }
}

fn said(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
