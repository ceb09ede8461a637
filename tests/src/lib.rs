//! The harness: real PostgreSQL servers, the proxy as a process, byte-level clients, and the question "are they equal?".
//!
//! Nothing here needs an async runtime: servers, relays and raw clients live on threads, so a test that blocks stalls
//! nobody else. A failure of the harness is a panic, because it is a failed test. Whatever a test starts has its working
//! directory inside [`scratch::root`], and is ended and removed when the test binary is gone, however it went.
//!
//! | module | |
//! | --- | --- |
//! | [`postgres`] | servers in well under a second each: started, stopped, killed, paused |
//! | [`proxy`], [`cluster`] | the program `lockstep` in front of some of them |
//! | [`raw`] | a client that sends any bytes and reads frames with a deadline |
//! | [`compare`] | tables, sequences, schema and roles of nodes, compared |
//! | [`relay`] | a wire with a delay that can be cut or hung |
//! | [`dns`] | a name server that says what it is told to |
//! | [`tap`], [`wires`] | what a statement costs: messages and round trips in sequence |
//! | [`users`] | who may log in, and how |
//! | [`chaos`] | clients that remember what they were told, accidents, and the audit after them |
//! | [`chance`] | numbers that look random and are the same in every run |
//! | [`programs`], [`process`], [`scratch`], [`port`], [`wait`] | what those stand on |

pub mod chance;
pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod dns;
pub mod port;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod scratch;
pub mod tap;
pub mod users;
pub mod wait;
pub mod wires;
