//! The program `lockstep`.
pub mod config;
pub mod exit;
