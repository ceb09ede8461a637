//! A short run of `chaos`, the same every time; the program plays longer ones.

use std::time::Duration;

use lockstep_tests::chaos::run::{Plan, run};

#[test]
fn accidents_under_load_lose_nothing_and_leave_equal_nodes() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let plan = Plan {
        seed: number("CHAOS_SEED", 1),
        time: Duration::from_secs(number("CHAOS_SECONDS", 25)),
        rounds: usize::MAX,
        clients: 8,
        pace: Duration::from_millis(10),
        keep: None,
    };
    let report = run(&plan, &|line| println!("{line}"));
    assert!(report.is_good(), "{report}");
    println!("{report}");
}
