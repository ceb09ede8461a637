//! The decisions of Lockstep, free of I/O.
//!
//! *Pure* means: bytes and events go in, bytes and actions come out. There is no socket, file, clock, thread, async
//! runtime or random source in this crate; time and random bytes are arguments. So every decision about replication,
//! membership and recovery can be reached by unit tests, fuzzers, loom and a simulator. `core/.clippy.toml` enforces it.
//!
//! ```text
//! client bytes → wire → session → sql (what is meant) → plan (what runs where, what must be learned)
//!              → leader bytes → leader's reply → reply (what the client is owed) → client bytes
//!                                             ↘ effect → unit::log
//! at COMMIT:  commitlock (shared) → inflight (a look) → unit::batch per follower → answers → leader's COMMIT → client bytes
//! ```
//!
//! Arrows between folders point down only (a test reads the `use` lines):
//!
//! | level | folders | |
//! | --- | --- | --- |
//! | 9 | `sim` | test-only (feature `sim`): may see everything |
//! | 8 | [`session`] | a composed machine: events in, actions out |
//! | 7 | [`heirs`] | open units that a new leader inherits |
//! | 6 | [`reply`], [`journal`] | what the client is still owed; what a crash may leave different |
//! | 5 | [`plan`], [`unit`](mod@unit) | statement + catalog → what runs where; a write transaction over all nodes |
//! | 4 | [`effect`] | what a write did |
//! | 3 | [`catalog`], [`commitlock`], [`inflight`], [`cluster`] | do not know each other |
//! | 2 | [`auth`], [`sql`] | both sides of a login; what SQL text says |
//! | 1 | [`wire`] | bytes ⇄ frames |
//! | 0 | [`id`], [`limits`], [`fault`], [`quote`], [`sync`] | words |
#![forbid(unsafe_code)]

pub mod auth;
pub mod catalog;
pub mod cluster;
pub mod commitlock;
pub mod effect;
pub mod fault;
pub mod heirs;
pub mod id;
pub mod inflight;
pub mod journal;
pub mod limits;
#[cfg(feature = "sql")]
pub mod plan;
pub mod quote;
#[cfg(feature = "sql")]
pub mod reply;
#[cfg(feature = "sql")]
pub mod session;
#[cfg(all(feature = "sql", any(test, feature = "sim")))]
pub mod sim;
pub mod sql;
pub mod sync;
pub mod unit;
pub mod wire;
