//! What to measure, and how long.

use clap::{Parser, ValueEnum};

/// Measure the proxy's speed and size, and hold each figure against its target
#[derive(Debug, Parser)]
#[command(
    name = "measure",
    after_help = "\
Starts its own servers (Debian: postgresql, pgbouncer), needs no configuration, and leaves nothing behind.
Ends with 1 when a target is missed.

Examples:
  cargo run --release -p lockstep-tests --bin measure
  cargo run --release -p lockstep-tests --bin measure -- --only writes --rounds 3 --seconds 5"
)]
pub struct Args {
    /// How often each figure is taken; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Seconds of each run of pgbench
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub seconds: u16,
    /// pgbench's scale: 100,000 accounts each
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub scale: u16,
    /// Idle clients
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub clients: u16,
    /// GB of the database that is verified
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub gigabytes: u16,
    /// Only some parts
    #[arg(long, value_name = "PARTS", value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Reads,
    Writes,
    Idle,
    Trips,
    /// Many rows in one statement
    Bulk,
    /// Workers that take jobs with SKIP LOCKED
    Queue,
    /// `lockstep verify`
    Verify,
}

impl Args {
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}
