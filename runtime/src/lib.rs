//! I/O and actors. Decides nothing about replication, membership or recovery: that is `lockstep-core`.

pub mod clock;
pub mod cluster;
pub mod config;
pub mod door;
mod node;
mod service;
pub mod shared;
mod supervise;
