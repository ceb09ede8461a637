//! The servers, and what a test has done to them.

use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare;
use lockstep_tests::postgres::Server;
use lockstep_tests::{process, wait};

/// Two-phase transactions are among what is tested.
const PREPARED: (&str, &str) = ("max_prepared_transactions", "8");

pub fn plain_server() -> Server {
    Server::builder().setting(PREPARED.0, PREPARED.1).next_oid(20_000).start()
}

/// The proxy with two nodes, looked at after each test.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    log_seen: usize,
    /// Nodes that have been given up for good.
    lost: Vec<usize>,
}

impl Stage {
    pub fn set() -> Self {
        let cluster = Cluster::builder(2).server_setting(PREPARED.0, PREPARED.1).start();
        Self { cluster, log_seen: 0, lost: Vec::new() }
    }

    pub fn port(&self) -> u16 {
        self.cluster.proxy.port()
    }

    /// What is wrong now and was not before the last test; mended, so that the next test has two nodes again.
    pub fn troubles(&mut self) -> Vec<String> {
        let log = self.cluster.proxy.log();
        let news = log.get(self.log_seen..).unwrap_or_default();
        let is_bad = |line: &&str| line.contains("panicked") || line.contains("\"to\":\"degraded\"");
        let mut found: Vec<_> = news.lines().filter(is_bad).map(str::to_owned).collect();
        self.log_seen = log.len();
        let states = wait::within(Duration::from_secs(10), || self.states());
        match states {
            None => {
                found.push("the proxy does not answer; started again".into());
                self.cluster.proxy.kill9();
                self.cluster.proxy.restart();
            }
            Some(states) => found.extend(self.recover(&states)),
        }
        found
    }

    fn states(&self) -> Option<Vec<String>> {
        Some(self.cluster.proxy.node_states()).filter(|states| !states.is_empty())
    }

    /// A node that cannot be recovered stays out: what is said is of interest all the same.
    fn recover(&mut self, states: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for (position, state) in states.iter().enumerate().filter(|(_, state)| *state != "active") {
            if self.lost.contains(&position) {
                continue;
            }
            found.push(format!("node{position} is {state}"));
            let output = self.cluster.proxy.run(&["recover", &format!("node{position}")]);
            if !output.status.success() {
                found.push(format!("it stays out, for its recovery says: {}", process::said(&output)));
                self.lost.push(position);
            }
        }
        found
    }

    /// Where the nodes differ in one database, by the harness's own comparison.
    pub fn differences_in(&self, database: &str) -> Vec<String> {
        let nodes: Vec<&Server> = self.cluster.nodes.iter().collect();
        compare::until_quiet(|| compare::differences_in(&nodes, database))
    }

    /// Where the nodes differ in anything: tables, sequences, large objects, dumps of every schema and of the roles; and
    /// what `lockstep verify` has to say.
    pub fn differences(&self) -> Vec<String> {
        let nodes: Vec<&Server> = self.cluster.nodes.iter().collect();
        let mut found = compare::until_quiet(|| compare::differences(&nodes));
        let verify = self.cluster.proxy.run(&["verify"]);
        if !verify.status.success() {
            found.push(format!("lockstep verify: {}", process::said(&verify)));
        }
        found
    }

    /// The proxy's log, for who wants to keep it.
    pub fn log(&self) -> String {
        self.cluster.proxy.log()
    }
}
