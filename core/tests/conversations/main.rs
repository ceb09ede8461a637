//! The session by itself: bytes of a client and of a leader in, bytes and actions out.
//!
//! The leader is a small imitation of PostgreSQL ([`leader`]), the followers take whatever they are sent. What is tried here
//! is what no real server can be brought to do on purpose: bytes that are cut anywhere, answers that come in any order.

mod hold;
mod leader;
mod levels;
mod order;
mod rules;
mod stage;
mod takeover;
