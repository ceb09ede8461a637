//! One run of pgbench.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use lockstep_tests::programs;
use lockstep_tests::users::APP;

#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub protocol: &'static str,
    pub clients: u16,
    pub work: Work,
    pub seconds: u16,
}

/// What each client does again and again.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// pgbench's TPC-B.
    Transactions,
    /// pgbench's SELECT by key.
    Reads,
    /// In pgbench's language.
    Script(&'static str),
}

/// What a run gave.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Transactions a second.
    pub tps: f64,
    pub transactions: u64,
}

impl Load {
    /// Lets it run to its end.
    pub fn run(self, port: u16, database: &str) -> Rate {
        finish(self.start(port, database))
    }

    /// Several at the same time.
    pub fn run_at_once(self, ports: &[u16], database: &str) -> Vec<Rate> {
        let children: Vec<Child> = ports.iter().map(|port| self.start(*port, database)).collect();
        children.into_iter().map(finish).collect()
    }

    fn start(self, port: u16, database: &str) -> Child {
        let mut pgbench = pgbench(port, database);
        pgbench.args(["--no-vacuum", "--protocol", self.protocol]);
        pgbench.args(["--client", &self.clients.to_string(), "--jobs", &self.clients.min(2).to_string()]);
        pgbench.args(["--time", &self.seconds.to_string()]);
        pgbench.args(match self.work {
            Work::Transactions => &[][..],
            Work::Reads => &["--select-only"],
            Work::Script(_) => &["--file", "-"],
        });
        pgbench.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pgbench.spawn().expect("start pgbench");
        if let (Work::Script(script), Some(mut input)) = (self.work, child.stdin.take()) {
            input.write_all(script.as_bytes()).expect("give pgbench its script");
        }
        child
    }
}

/// Makes pgbench's tables.
pub fn initialize(port: u16, database: &str, scale: u16) {
    lockstep_tests::process::run(pgbench(port, database).args([
        "--initialize",
        "--quiet",
        "--scale",
        &scale.to_string(),
    ]));
}

fn pgbench(port: u16, database: &str) -> Command {
    let mut command = Command::new(programs::postgres("pgbench"));
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGDATABASE", database);
    command.env("PGUSER", APP.name).env("PGPASSWORD", APP.password).env("LC_ALL", "C.UTF-8");
    command
}

fn finish(child: Child) -> Rate {
    let output = child.wait_with_output().expect("wait for pgbench");
    let said = lockstep_tests::process::said(&output);
    assert!(output.status.success() && said.contains("failed transactions: 0 "), "pgbench failed:\n{said}");
    let field = |before: &str| {
        let rest = said.lines().find_map(|line| line.strip_prefix(before))?;
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?.parse::<f64>().ok()
    };
    let transactions = field("number of transactions actually processed: ").expect("a number of transactions");
    Rate { tps: field("tps = ").expect("a rate"), transactions: transactions as u64 }
}
