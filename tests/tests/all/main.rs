//! Every test that needs real servers, in one binary: one module for each subject.

mod badinput;
mod cancel;
mod capture;
mod chance;
mod clients;
mod compare;
mod demo;
mod divergence;
mod ended;
mod explain;
mod failover;
mod harness;
mod inherited;
mod login;
mod operator;
mod recovery;
mod replicate;
mod roundtrips;
mod strangers;
mod stress;
mod tidy;
mod torture;
mod transcript;
mod unhindered;
mod verify;
mod waived;
