//! Accidents under load: clients that remember what they were told, and an audit of the nodes after each round.
//!
//! Invariant: at rest, every node holds every acknowledged operation exactly once, nothing that was refused, and the same
//! as every other node; while there is no rest, no client reads what cannot be, and none waits for ever.
//!
//! | module | |
//! | --- | --- |
//! | [`load`] | clients with real drivers, and what each of them does |
//! | [`ledger`], [`trouble`] | what they were told; what a failure says |
//! | [`phase`], [`tally`] | what was going on, which failures go with it, how many there were |
//! | [`event`] | what happens, and the plan that a seed makes of it |
//! | [`stage`] | servers behind relays, the proxy, accidents, and the way back |
//! | [`audit`] | the nodes against the ledger |
//! | [`run`] | rounds of all that |
//! | [`kills`] | kill -9 of the proxy, many times |
//! | [`stalls`], [`meter`] | how long clients wait at each event, for the table in `lockstep help operations` |
//!
//! The program `chaos` is a thin command line around [`run`], [`kills`] and [`stalls`].

pub mod audit;
pub mod event;
pub mod kills;
pub mod ledger;
pub mod load;
pub mod meter;
pub mod phase;
pub mod run;
pub mod stage;
pub mod stalls;
pub mod tally;
pub mod trouble;

/// The database of all this.
pub const DATABASE: &str = "chaos";

/// Where a line of progress goes.
pub type Say<'a> = &'a dyn Fn(&str);
