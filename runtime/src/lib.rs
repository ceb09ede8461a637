//! I/O and actors. Decides nothing about replication, membership or recovery: that is `lockstep-core`.

pub mod clock;
pub mod cluster;
pub mod config;
mod descriptors;
pub mod door;
mod entropy;
pub mod guard;
mod intake;
pub mod journal;
mod listen;
mod node;
pub mod roster;
mod serve;
mod server;
mod service;
mod session;
pub mod shared;
mod supervise;

pub use serve::{ReloadFault, ServeFault, Service, serve};
