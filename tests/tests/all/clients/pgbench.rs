//! pgbench: its tables made through the proxy, its load in all three protocols, no failed transaction, equal nodes.

use lockstep_tests::compare::assert_identical_database;
use lockstep_tests::process;

use super::{output, stage, tool};

/// In all, whatever the number of clients.
const TRANSACTIONS: usize = 400;

#[test]
fn in_every_query_mode_at_one_and_eight_clients() {
    let cluster = stage("pgbench");
    let port = cluster.proxy.port();
    process::run(tool("pgbench", port, "pgbench").args(["--initialize", "--quiet", "--foreign-keys"]));
    assert_identical_database(&cluster.nodes, "pgbench");
    for mode in ["simple", "extended", "prepared"] {
        for clients in [1, 8] {
            let each = TRANSACTIONS / clients;
            let mut command = tool("pgbench", port, "pgbench");
            command.args(["--no-vacuum", "--protocol", mode, "--client", &clients.to_string()]);
            command.args(["--jobs=2", "--transactions", &each.to_string()]);
            let said = output(&mut command);
            assert!(said.contains(&format!("actually processed: {TRANSACTIONS}/{TRANSACTIONS}")), "{mode}: {said}");
            assert!(said.contains("failed transactions: 0 "), "{mode}: {said}");
        }
    }
    let done = cluster.nodes[1].connect("pgbench").value("SELECT count(*) FROM pgbench_history");
    assert_eq!(done, (6 * TRANSACTIONS).to_string());
    assert_identical_database(&cluster.nodes, "pgbench");
}

#[test]
fn partitioned_and_read_only() {
    let cluster = stage("pgbench_parts");
    let port = cluster.proxy.port();
    let initialize = ["--initialize", "--quiet", "--partitions=3", "--init-steps=dtGvp"];
    process::run(tool("pgbench", port, "pgbench_parts").args(initialize));
    for arguments in [&["--select-only"][..], &["--skip-some-updates", "--protocol=prepared"]] {
        let mut command = tool("pgbench", port, "pgbench_parts");
        let said = output(command.args(["--no-vacuum", "--client=4", "--transactions=100"]).args(arguments));
        assert!(said.contains("failed transactions: 0 "), "{said}");
    }
    assert_identical_database(&cluster.nodes, "pgbench_parts");
}
