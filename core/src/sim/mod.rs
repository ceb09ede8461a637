//! A deterministic simulator: sessions of the real core against model nodes, every interleaving from one seed.
//!
//! What is real: [`crate::session::Session`] with its plan cache, catalog and log, the commit machine, the commit lock's
//! queue, what the cluster decides about its members, at a start, and about sequences, and the journal, byte for byte. What is
//! modelled: PostgreSQL ([`node`]: versions, row locks and their re-check, unique and foreign keys, deadlocks, sequences, the
//! protocol), the clients, and the shell that the runtime is otherwise.
//!
//! A seed that fails prints its history, and gives the same again:
//!
//! ```text
//! LOCKSTEP_SEED=7 cargo test -p lockstep-core --test world      one seed, with its history
//! LOCKSTEP_SEEDS=100000 cargo test -p lockstep-core --test world
//! LOCKSTEP_INPUT=FILE cargo test -p lockstep-core --test world   what the fuzz target `world` has found
//! ```
//!
//! That target hands decisions to the world, from which turn is whose to what a client asks for, and so looks for
//! interleavings by what the core's code does in them.
//!
//! | file | |
//! | --- | --- |
//! | `world` | which of the things that can happen next does |
//! | `accident` | what the world does to us |
//! | `kill`, `start` | the proxy dies, and the next one settles what was under way |
//! | `paper`, `rows` | the journal's file; the rows that it names |
//! | `shell`, `seat`, `look`, `exchange`, `fate` | what the runtime does for a session |
//! | `cluster` | who is a member; sequences are levelled |
//! | `client`, `workload` | what clients ask for, and what they were told |
//! | `oracle` | what must be true |
//! | `faults` | what is put in on purpose, and after how many seeds it was found |
//! | `node`, `backend`, `answer` | a model node and its connections |
//! | `store` | rows, locks, transactions |
//! | `select`, `write`, `evaluate` | running a statement |
//! | `serial` | SERIALIZABLE |
//! | `advisory`, `belief` | advisory locks of a model node; what a client believes of them |
//! | `trigger`, `captured` | triggers of users, and ours, which tell what rows have become |
//! | `sql`, `parse`, `schema` | the little SQL |
//!
//! # What is not tried
//!
//! A leader connection of whose end the server knows before we do, without a word that could be found on it: then a unit
//! that waited for its locks goes on from rows that followers do not have, and undoes what was acknowledged (see
//! [`crate::inflight`]).
//!
//! DDL, COPY, and nodes that come in by recovery. SERIALIZABLE other than by BEGIN, and a failure of it before COMMIT. Of
//! captured rows: tables without a key, tables that are given our trigger while they are used, keys that change, foreign
//! keys, and triggers that run text; the model node does what the functions in the database do ([`captured`]), and their SQL is not run. When the proxy is killed: a backend that is idle, belongs to no
//! follower, and has not read what was sent to it when the next proxy has looked for such as are at work; and a disk that
//! does not take the state file, or does not let go of a journal that is not true any more, while which units wait.
//!
//! Known, and found in one world of some ten thousand: a leader connection that is reset while a statement on it draws from
//! a sequence, on a node that lives. The server goes on with the statement, and the followers' sequence stays behind until
//! the next statement that draws.
//!
//! The tests are in `core/tests/world.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

mod accident;
mod advisory;
mod answer;
mod backend;
mod belief;
mod captured;
mod client;
mod cluster;
mod evaluate;
mod exchange;
mod fate;
mod faults;
mod kill;
mod look;
mod node;
mod oracle;
mod paper;
mod parse;
mod rng;
mod rows;
mod schema;
mod seat;
mod select;
mod serial;
mod shell;
mod sql;
mod start;
mod store;
mod trigger;
mod workload;
mod world;
mod write;

pub use faults::{FAULTS, Fault, RARE_FAULTS};
use world::World;

/// What must not have happened has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub why: String,
    /// All that happened, in its order.
    pub history: String,
}

/// What decides in a world: a seed, and before it what was decided elsewhere.
#[derive(Debug, Clone, Copy)]
struct Chance<'a> {
    seed: u64,
    decisions: Option<&'a [u8]>,
}

impl<'a> Chance<'a> {
    fn of_seed(seed: u64) -> Self {
        Self { seed, decisions: None }
    }

    /// Two bytes are the seed.
    fn of_input(input: &'a [u8]) -> Self {
        let (seed, decisions) = input.split_at(input.len().min(2));
        let seed = seed.iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte));
        Self { seed, decisions: Some(decisions) }
    }
}

/// Runs the world of one seed to its end.
pub fn run(seed: u64, fault: Option<Fault>) -> Result<(), Failure> {
    run_world(Chance::of_seed(seed), fault)
}

/// Runs the world of an input of the fuzzer: a seed, and decisions that are taken before any of the seed's.
pub fn run_input(input: &[u8]) -> Result<(), Failure> {
    run_world(Chance::of_input(input), None)
}

fn run_world(chance: Chance<'_>, fault: Option<Fault>) -> Result<(), Failure> {
    let mut world = World::new(chance, fault, false);
    if goes_well(&mut world) {
        return Ok(());
    }
    Err(replay_world(chance, fault).unwrap_or_else(|| Failure {
        seed: chance.seed,
        why: "it failed, and not again: the simulator is not deterministic".into(),
        history: String::new(),
    }))
}

/// Runs it with its history, which is printed whether it fails or not.
pub fn replay(seed: u64, fault: Option<Fault>) -> Option<Failure> {
    replay_world(Chance::of_seed(seed), fault)
}

/// The same for an input of the fuzzer.
pub fn replay_input(input: &[u8]) -> Option<Failure> {
    replay_world(Chance::of_input(input), None)
}

fn replay_world(chance: Chance<'_>, fault: Option<Fault>) -> Option<Failure> {
    let mut world = World::new(chance, fault, true);
    goes_well(&mut world);
    let (why, history) = (world.failure.take()?, world.history());
    Some(Failure { seed: chance.seed, why, history })
}

/// A panic is a failure like any other.
fn goes_well(world: &mut World) -> bool {
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        world.fail("something panicked".into());
    }
    world.failure.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(chance: Chance<'_>) -> String {
        let mut world = World::new(chance, None, true);
        assert!(goes_well(&mut world));
        world.history()
    }

    #[test]
    fn an_input_decides_first_and_its_seed_when_it_has_no_more_to_say() {
        let of_seed = history(Chance::of_seed(7));
        assert_eq!(history(Chance::of_input(&[0, 7])), of_seed);
        let input = [&[0, 7][..], &[3; 200]].concat();
        assert_eq!(history(Chance::of_input(&input)), history(Chance::of_input(&input)));
        assert_ne!(history(Chance::of_input(&input)), of_seed);
    }
}
