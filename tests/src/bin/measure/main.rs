//! Measures how fast and how small the proxy is, and holds each figure against its target.
//!
//! Two nodes with fsync, the proxy and all clients on this machine. What is compared runs in turns, a few seconds each and
//! in changing order, so that whatever else the machine does hits both; a ratio is the median of the rounds' ratios.
//!
//! | module | |
//! | --- | --- |
//! | `args` | what to measure, and how long |
//! | `stage` | servers, proxy, PgBouncer, pgbench's tables |
//! | `load` | one run of pgbench |
//! | `contest` | two things in turns |
//! | `rates` | reads and writes |
//! | `bulk` | many rows in one statement |
//! | `queue` | workers that take jobs |
//! | `verify` | `lockstep verify` |
//! | `idle` | clients that do nothing |
//! | `trips` | round trips and what a text seen before costs |
//! | `table` | the lines that are printed |

mod args;
mod bulk;
mod contest;
mod idle;
mod load;
mod queue;
mod rates;
mod stage;
mod table;
mod trips;
mod verify;

use std::process::ExitCode;

use clap::{Parser as _, ValueEnum as _};

use args::{Args, Part};
use stage::Stage;
use table::Table;

/// Ends with 1 when a target is missed. A Ctrl-C leaves nothing behind: the harness's janitor outlives this process.
fn main() -> ExitCode {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("This build is not optimised; for figures that mean something: cargo run --release");
    }
    if args.wants(Part::Reads) && stage::find_bouncer().is_none() {
        eprintln!("PgBouncer, which reads are held against, is not installed: apt-get install pgbouncer");
        return ExitCode::from(2);
    }
    let mut table = Table::default();
    if args.wants(Part::Trips) {
        trips::measure(&mut table);
    }
    if Part::value_variants().iter().any(|part| *part != Part::Trips && args.wants(*part)) {
        let stage = Stage::set(&args);
        if args.wants(Part::Reads) {
            rates::reads(&stage, &args, &mut table);
        }
        if args.wants(Part::Writes) {
            rates::writes(&stage, &args, &mut table);
        }
        if args.wants(Part::Bulk) {
            bulk::measure(&stage, &args, &mut table);
        }
        if args.wants(Part::Queue) {
            queue::measure(&stage, &args, &mut table);
        }
        if args.wants(Part::Verify) {
            verify::measure(&stage, &args, &mut table);
        }
        if args.wants(Part::Idle) {
            idle::measure(&stage, args.clients, &mut table);
        }
        stage.still_whole(&mut table);
    }
    table.verdict()
}
