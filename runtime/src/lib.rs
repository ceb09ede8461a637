//! I/O and actors. Decides nothing about replication, membership or recovery: that is `lockstep-core`.

pub mod config;
pub mod door;
