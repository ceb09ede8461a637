//! SQL text: what is meant, by PostgreSQL's own grammar, and cheaply recognised again.
//!
//! The tree of a text comes from PostgreSQL's own grammar ([`parse`]) and from nothing else. The lexer here only cuts a text
//! into tokens: to know where a statement's first and last token stand, to recognise a text that was seen before with
//! other literals, and to refuse a text that is nested too deep before anything recursive touches it.
//!
//! Invariant: nothing here knows a catalog; what is said about a text is true in every database.

#[cfg(feature = "sql")]
pub mod depth;
#[cfg(feature = "sql")]
pub mod facts;
#[cfg(feature = "sql")]
pub mod key;
pub mod lexer;
#[cfg(feature = "sql")]
pub mod parse;

#[cfg(feature = "sql")]
pub use facts::{Facts, Name, OWN_SCHEMA, has_temporal_word};
#[cfg(feature = "sql")]
pub use key::{Masking, TextKey};
pub use lexer::{Kind, Token, Unsure, lex};
#[cfg(feature = "sql")]
pub use parse::{Parsed, Scanned, Statement, Unparsed, scan, span};
