//! What to play, and how long.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use lockstep_tests::chaos::load::Crew;
use lockstep_tests::chaos::run::Plan;

/// Kill, stop and part nodes and the proxy under load, and see whether all that was acknowledged is there
#[derive(Debug, Parser)]
#[command(
    name = "chaos",
    after_help = "\
Starts two servers behind relays, the proxy, and clients: bank transfers, inserts of ids, a row that is read back,
counters under SELECT … FOR UPDATE. In each round nodes and the proxy are killed, stopped, cut off, and brought back with
`lockstep recover`, while clients are at work; at its end the nodes are held against what the clients were told, and
against each other. Needs no configuration (Debian: postgresql) and leaves nothing behind. Ends with 0 only when

  - every acknowledged operation is on every active node, once, and nothing that was refused is;
  - no client read what cannot be, or waited for ever, or failed where it must not;
  - the nodes are identical, and every recovery succeeded.

With a seed the same things happen in the same order; how they meet with the clients is the machine's doing.

Examples:
  cargo run --release -p lockstep-tests --bin chaos -- --minutes 30 --seed 1
  cargo run --release -p lockstep-tests --bin chaos -- --kills 100
  cargo run --release -p lockstep-tests --bin chaos -- --stalls 20 --only follower"
)]
pub struct Args {
    /// Begin no round after that time
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub minutes: f64,
    /// What makes the plan [default: from the clock]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// End after so many rounds
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub rounds: usize,
    /// Clients at work
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=80))]
    pub clients: usize,
    /// Mean time between two operations of a client, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5)]
    pub pace: u64,
    /// When something is wrong, copy servers, state and logs there
    #[arg(long, value_name = "DIRECTORY")]
    pub keep: Option<PathBuf>,
    /// Instead: kill -9 of the proxy alone, so often
    #[arg(long, value_name = "N", conflicts_with_all = ["stalls", "minutes", "rounds"])]
    pub kills: Option<usize>,
    /// Instead: measure how long clients wait at each event, so often, and print a table
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "rounds"])]
    pub stalls: Option<usize>,
    /// Only events whose names have one of these words
    #[arg(long, value_name = "WORDS", value_delimiter = ',', requires = "stalls")]
    pub only: Vec<String>,
}

impl Args {
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// Chooses what was left to be chosen.
    pub fn complete(mut self) -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() % 100_000);
        self.seed.get_or_insert_with(now);
        self
    }

    pub fn crew(&self) -> Crew {
        Crew { clients: self.clients, pace: Duration::from_millis(self.pace), seed: self.seed() }
    }

    pub fn plan(&self) -> Plan {
        let Crew { clients, pace, seed } = self.crew();
        let time = Duration::from_secs_f64(self.minutes.max(0.0) * 60.0);
        Plan { seed, time, rounds: self.rounds, clients, pace, keep: self.keep.clone() }
    }
}
