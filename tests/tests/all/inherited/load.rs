//! Under the load of many clients.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::process;
use lockstep_tests::programs;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

use super::SOON;

#[test]
fn the_leader_killed_under_a_bank_costs_no_transaction() {
    for mode in ["simple", "extended", "prepared"] {
        let mut cluster = Cluster::start(2);
        cluster.create_database("bench");
        let logs = Scratch::new("bench");
        let bench = |arguments: &[&str]| {
            let mut command = std::process::Command::new(programs::postgres("pgbench"));
            let port = cluster.proxy.port().to_string();
            command.args(["-h", "127.0.0.1", "-p", &port, "-U", APP.name]).args(arguments).arg("bench");
            command.env("PGPASSWORD", APP.password).current_dir(logs.path());
            command
        };
        process::run(&mut bench(&["--initialize", "--quiet"]));
        let load = [
            "--no-vacuum",
            "--log",
            "--client=8",
            "--jobs=2",
            "--transactions=300",
            "--verbose-errors",
            "--protocol",
            mode,
        ];
        let running = bench(&load).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pgbench");
        let mut observer = cluster.nodes[1].connect("bench");
        wait::until(SOON, "the load has begun", || {
            let count: u32 = observer.value("SELECT count(*) FROM pgbench_history").parse().expect("a number");
            (count > 100).then_some(())
        });
        cluster.nodes[0].kill9();
        let output = running.wait_with_output().expect("pgbench ends");
        let said = format!("{}{}", process::said(&output), complaints(&cluster.proxy.log()));
        let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) \
                    AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)";
        assert_eq!(observer.value(sums), "t", "{said}");
        assert!(output.status.success() && said.contains("failed transactions: 0 "), "{mode}: {said}");
        assert!(said.contains("actually processed: 2400/2400"), "{mode}: {said}");
        println!("{mode}: the longest of 2400 transactions took {:?}", longest(logs.path()));
    }
}

/// What the proxy has said of it, but for what is as usual.
fn complaints(log: &str) -> String {
    let unusual = log.lines().filter(|line| !line.contains("\"level\":\"INFO\""));
    unusual.map(|line| format!("{line}\n")).collect()
}

/// The longest transaction of pgbench's logs.
fn longest(logs: &Path) -> Duration {
    let files = std::fs::read_dir(logs).expect("the logs").map(|entry| entry.expect("a log").path());
    let lines = files.flat_map(|path| {
        let text = std::fs::read_to_string(path).expect("a log");
        text.lines()
            .map(|line| line.split(' ').nth(2).and_then(|took| took.parse().ok()).expect("a time"))
            .collect::<Vec<_>>()
    });
    Duration::from_micros(lines.max().expect("a transaction"))
}
