//! What a write did, in a form that gives the same rows on every node that holds the rows it touched.
//!
//! An effect is *rows by key*: the leader's own new rows (or the keys of those that are gone), read from RETURNING. No
//! expression of a client is ever evaluated on a follower. The statements that followers are sent are made here, from
//! catalog names alone; values travel as parameters, in binary wherever a type's binary form means the same everywhere.
//! A follower's search path is the client's where DDL runs in the same unit: so every name and operator is qualified.

pub mod capture;
pub mod finder;
pub mod names;
pub mod objects;
pub mod role;
pub mod rows;
mod template;

pub use finder::{Change, Finder, FoundBy, KeyPart};
pub use rows::{EffectColumn, RowEffect, RowKind, Rows, Template, TemplateId, Text};
