//! Every test that needs real servers, in one binary: one module for each subject.

mod badinput;
mod capture;
mod chance;
mod clients;
mod compare;
mod demo;
mod failover;
mod harness;
mod login;
mod replicate;
mod roundtrips;
mod stress;
mod tidy;
mod torture;
mod transcript;
