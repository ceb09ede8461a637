//! The simulator over many seeds: `core/src/sim`.

use lockstep_core::sim;

#[test]
fn nodes_are_equal_in_every_world() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    if let Some(seed) = number("LOCKSTEP_SEED") {
        let failure = sim::replay(seed, None);
        if let Some(failure) = failure { panic!("{}\nseed {}: {}", failure.history, failure.seed, failure.why) }
        return;
    }
    for seed in 0..number("LOCKSTEP_SEEDS").unwrap_or(100) {
        if let Err(failure) = sim::run(seed, None) {
            panic!("{}\nseed {}: {}", failure.history, failure.seed, failure.why)
        }
    }
}
