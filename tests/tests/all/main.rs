//! Every test that needs real servers, in one binary: one module for each subject.

mod badinput;
mod chance;
mod clients;
mod compare;
mod demo;
mod explain;
mod failover;
mod harness;
mod login;
mod replicate;
mod roundtrips;
mod stress;
mod tidy;
mod torture;
mod transcript;
mod verify;
