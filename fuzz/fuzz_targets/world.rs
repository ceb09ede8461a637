//! Two bytes are the seed of a world of the simulator, and the others decide in it: in every interleaving, whatever goes
//! wrong, nodes are equal and clients were told the truth. A panic leaves no history: `LOCKSTEP_INPUT` gives it, see
//! `core/src/sim`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstep_core::sim;

fuzz_target!(|input: &[u8]| {
    if let Err(failure) = sim::run_input(input) {
        panic!("{}\nseed {}: {}", failure.history, failure.seed, failure.why);
    }
});
