//! Every test that needs real servers, in one binary: one module for each subject.

mod compare;
mod harness;
mod tidy;
