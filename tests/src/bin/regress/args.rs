//! What to run, and where its files are.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Run PostgreSQL's own tests through the proxy, and hold each against what a plain server says
#[derive(Debug, Parser)]
#[command(
    name = "regress",
    after_help = "\
Runs the regression schedule and the isolation specs one by one, first on a plain server, then through the proxy with two
nodes; afterwards the nodes are compared. Starts its own servers and leaves nothing behind. Ends with 0 only when every
difference is in the reviewed list (tests/src/bin/regress/differences.txt), nothing hung, no node was given up, and the
nodes are equal.

The tests come with PostgreSQL's source. On Debian, as root, in a directory of its own:
  echo 'deb-src http://deb.debian.org/debian bookworm main' >/etc/apt/sources.list.d/src.list
  apt-get update && apt-get install postgresql-server-dev-15 gcc && apt-get source postgresql-15

Examples:
  cargo run -p lockstep-tests --bin regress -- ~/postgresql-15-15.18
  cargo run -p lockstep-tests --bin regress -- ~/postgresql-15-15.18 --suite isolation --keep /tmp/results
  cargo run -p lockstep-tests --bin regress -- ~/postgresql-15-15.18 --suite sql --only create_index,select"
)]
pub struct Args {
    /// PostgreSQL's source, of the same major version as the server
    pub source: PathBuf,
    /// Only one of the two
    #[arg(long, value_enum)]
    pub suite: Option<SuiteName>,
    /// Only these tests (and test_setup before them)
    #[arg(long, value_name = "TESTS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Keep what was said there: direct/, proxy/, and a diff of each test that differs
    #[arg(long, value_name = "DIRECTORY")]
    pub keep: Option<PathBuf>,
    /// Take what a plain server says from what an earlier run kept there
    #[arg(long, value_name = "DIRECTORY")]
    pub direct: Option<PathBuf>,
    /// Compare the nodes after every test, to learn which one left them unequal
    #[arg(long)]
    pub compare_each: bool,
    /// Seconds after which a test that says nothing hangs
    #[arg(long, value_name = "N", default_value_t = 240)]
    limit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SuiteName {
    /// The regression schedule
    Sql,
    /// The isolation specs
    Isolation,
}

impl SuiteName {
    pub const ALL: [Self; 2] = [Self::Sql, Self::Isolation];

    pub fn text(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Isolation => "isolation",
        }
    }
}

impl Args {
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }

    pub fn wants(&self, suite: SuiteName) -> bool {
        self.suite.is_none_or(|only| only == suite)
    }

    pub fn wants_test(&self, test: &str) -> bool {
        self.only.is_empty() || test == "test_setup" || self.only.iter().any(|only| only == test)
    }
}
