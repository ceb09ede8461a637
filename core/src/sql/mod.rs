//! SQL text: cut into tokens, and parsed by PostgreSQL's own grammar.
//!
//! `lexer` is ours: one pass, for recognising a text that was seen before and for finding where its statements end.
//! `parse` is the only file that calls pg_query, whose C parser guards its stack; what comes after it (decoding and our
//! own walks) is guarded by a bound on nesting that the lexer measures.

pub mod lexer;
pub mod parse;

pub use lexer::{Kind, Token, Tokens};
pub use parse::{ParseFault, parse};
