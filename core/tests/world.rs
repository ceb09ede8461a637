//! The simulator over many seeds: `core/src/sim`.

use lockstep_core::sim::{self, Failure, Fault};

/// A seed that fails is replayed with `LOCKSTEP_SEED`, with a fault with `LOCKSTEP_FAULT`, and a file of the fuzz target
/// `world` with `LOCKSTEP_INPUT`; more seeds are tried with `LOCKSTEP_SEEDS`.
#[test]
fn nodes_are_equal_in_every_world() {
    if let Some(seed) = number("LOCKSTEP_SEED") {
        return sim::replay(seed, meant()).into_iter().for_each(|failure| report(&failure));
    }
    if let Some(file) = std::env::var_os("LOCKSTEP_INPUT") {
        let input = std::fs::read(file).expect("a file that can be read");
        return sim::replay_input(&input).into_iter().for_each(|failure| report(&failure));
    }
    let seeds = 0..number("LOCKSTEP_SEEDS").unwrap_or(2000);
    // One thread each for the two cores that a build has.
    std::thread::scope(|scope| {
        for odd in [0, 1] {
            let seeds = seeds.clone();
            scope.spawn(move || {
                let failed = seeds.filter(|seed| seed % 2 == odd).find_map(|seed| sim::run(seed, None).err());
                failed.iter().for_each(report);
            });
        }
    });
}

#[test]
fn each_planted_fault_is_found() {
    let meant = meant();
    for (fault, seeds) in sim::FAULTS.into_iter().filter(|(fault, _)| meant.is_none_or(|meant| meant == *fault)) {
        let found = (0..seeds).find_map(|seed| sim::run(seed, Some(fault)).err());
        let found = found.unwrap_or_else(|| panic!("{fault:?} was not found in {seeds} seeds"));
        println!("{fault:?}: seed {}: {}", found.seed, found.why);
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release -p lockstep-core --test world -- --ignored"]
fn each_rare_planted_fault_costs_something_that_was_acknowledged() {
    let meant = meant();
    for (fault, seeds) in sim::RARE_FAULTS.into_iter().filter(|(fault, _)| meant.is_none_or(|meant| meant == *fault)) {
        let lost = |failure: &Failure| failure.why.starts_with("accounts hold");
        let found = (0..seeds).find_map(|seed| sim::run(seed, Some(fault)).err().filter(lost));
        let found = found.unwrap_or_else(|| panic!("{fault:?} lost nothing in {seeds} seeds"));
        println!("{fault:?}: seed {}: {}", found.seed, found.why);
    }
}

#[test]
fn a_seed_gives_the_same_history_again() {
    let failure =
        |_| (0..20).find_map(|seed| sim::run(seed, Some(Fault::AllAtOnce)).err()).expect("a fault that is found soon");
    let [first, second] = [0, 1].map(failure);
    assert!(!first.history.is_empty());
    assert_eq!(first, second);
}

/// The fault of `LOCKSTEP_FAULT`.
fn meant() -> Option<Fault> {
    let name = std::env::var("LOCKSTEP_FAULT").ok()?;
    let mut faults = sim::FAULTS.into_iter().chain(sim::RARE_FAULTS).map(|(fault, _)| fault);
    Some(faults.find(|fault| format!("{fault:?}") == name).expect("the name of a fault"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("a number"))
}

fn report(failure: &Failure) {
    panic!("{}\nseed {}: {}", failure.history, failure.seed, failure.why);
}
