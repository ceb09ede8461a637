//! Accidents under load on real servers, and an audit of what is left: see `lockstep_tests::chaos`.
//!
//! Ends with 0 only when all holds. A Ctrl-C leaves nothing behind: the harness's janitor outlives this process.

mod args;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;

use args::Args;
use lockstep_tests::chaos::{kills, run, stalls};

fn main() -> ExitCode {
    let args = Args::parse().complete();
    let begun = Instant::now();
    let say = |line: &str| {
        let seconds = begun.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {line}", seconds / 60, seconds % 60);
    };
    say(&format!("seed {}, {} clients", args.seed(), args.clients));
    let good = if let Some(kills) = args.kills {
        let report = kills::run(kills, args.crew(), &say);
        println!("{report}");
        report.is_good()
    } else if let Some(repetitions) = args.stalls {
        let stalls = stalls::run(repetitions, &args.only, args.crew(), &say);
        println!("{}\n\n{}{}", stalls.table(), stalls.of_the_load(), machine());
        stalls.wrong.iter().for_each(|line| println!("WRONG: {line}"));
        stalls.wrong.is_empty()
    } else {
        let report = run::run(&args.plan(), &say);
        println!("{report}");
        report.is_good()
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "not optimised" } else { "optimised" };
    format!("servers, proxy and clients on one machine with {cores} cores; {build}")
}
