//! `Arc`, `Mutex` and atomics: the standard library's, or loom's where the models run (`--cfg lockstep_loom`).
//!
//! The cfg has a name of its own because `--cfg loom` would reach every dependency.

#[cfg(not(lockstep_loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, atomic};

#[cfg(lockstep_loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
