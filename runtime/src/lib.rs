//! I/O and actors. Decides nothing about replication, membership or recovery: that is `lockstep-core`.

pub mod clock;
pub mod cluster;
pub mod config;
pub mod door;
mod entropy;
mod guard;
mod intake;
mod listen;
mod node;
mod serve;
mod server;
mod service;
mod session;
pub mod shared;
mod supervise;

pub use serve::{ReloadFault, ServeFault, Service, serve};
