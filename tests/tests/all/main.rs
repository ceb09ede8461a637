//! Every test that needs real servers, in one binary: one module for each subject.

mod badinput;
mod chance;
mod clients;
mod compare;
mod failover;
mod harness;
mod replicate;
mod roundtrips;
mod stress;
mod tidy;
mod torture;
mod transcript;
