//! What operators reach: the control socket of the command line, and HTTP.

pub mod protocol;
