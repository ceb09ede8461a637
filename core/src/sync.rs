//! `Mutex`, `Arc` and atomics: the standard library's, or loom's when the models run (`--cfg lockstep_loom`).

#[cfg(not(lockstep_loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, atomic};

#[cfg(lockstep_loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
