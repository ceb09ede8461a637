//! `lockstep recover` while clients are at work, and in the middle of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::raw::Client;
use lockstep_tests::{process, wait};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(30);

fn stage(nodes: usize, database: &str) -> Cluster {
    let cluster = Cluster::start(nodes);
    cluster.create_database(database);
    cluster.connect(database).query("CREATE TABLE t (client int, n int, PRIMARY KEY (client, n))");
    cluster
}

fn wait_for_state(cluster: &Cluster, node: usize, wanted: impl Fn(&str) -> bool) {
    wait::until(SOON, "a node's state", || wanted(cluster.proxy.node_states().get(node)?).then_some(()));
}

fn write_until(done: &AtomicBool, mut client: Client, number: usize) -> u32 {
    let mut written = 0;
    while !done.load(Ordering::Acquire) {
        client.query(&format!("INSERT INTO t VALUES ({number}, {written})"));
        written += 1;
    }
    written
}

#[test]
fn of_three_nodes_one_is_killed_and_recovered_under_load_and_all_are_equal() {
    let mut cluster = stage(3, "three");
    let done = AtomicBool::new(false);
    let clients: Vec<Client> = (0..4).map(|_| cluster.connect("three")).collect();
    std::thread::scope(|scope| {
        let done = &done;
        let writers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(n, client)| scope.spawn(move || write_until(done, client, n)))
            .collect();
        cluster.nodes[2].kill9();
        wait_for_state(&cluster, 2, |state| state != "active");
        let recovered = cluster.proxy.run(&["recover", "node2"]);
        done.store(true, Ordering::Release);
        assert!(recovered.status.success(), "{}", process::said(&recovered));
        assert!(writers.into_iter().all(|writer| writer.join().expect("no client was told of an error") > 0));
    });
    assert_eq!(cluster.proxy.node_states(), ["active"; 3]);
    let verified = cluster.proxy.run(&["verify"]);
    assert!(verified.status.success(), "{}", process::said(&verified));
    assert_identical(&cluster.nodes);
}

/// Each transaction is open when something happens to the cluster's membership, and commits later.
#[test]
fn transactions_that_are_open_before_through_and_after_the_switch_commit_on_all_nodes() {
    let mut cluster = stage(2, "through");
    cluster.nodes[1].kill9();
    wait_for_state(&cluster, 1, |state| state != "active");
    let open = |number: u32| {
        let mut client = cluster.connect("through");
        client.query(&format!("BEGIN; INSERT INTO t VALUES ({number}, 0)"));
        client
    };
    let (mut before, mut through) = (open(0), open(1));
    let mut during = std::thread::scope(|scope| {
        let recovery = scope.spawn(|| cluster.proxy.run(&["recover", "node1"]));
        wait_for_state(&cluster, 1, |state| state == "recovering");
        before.query("INSERT INTO t VALUES (0, 1); COMMIT");
        let during = open(2);
        through.query("INSERT INTO t VALUES (1, 1)");
        let recovered = recovery.join().expect("the command ends");
        assert!(recovered.status.success(), "{}", process::said(&recovered));
        during
    });
    through.query("INSERT INTO t VALUES (1, 2); COMMIT");
    during.query("INSERT INTO t VALUES (2, 1); COMMIT");
    let mut after = open(3);
    after.query("COMMIT");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    for node in &cluster.nodes {
        assert_eq!(node.connect("through").value("SELECT count(*) FROM t"), "8");
    }
    assert_identical(&cluster.nodes);
}

/// They would fire a second time, and as a superuser.
#[test]
fn rows_of_unlogged_tables_are_copied_without_setting_off_triggers_that_fire_for_copies_too() {
    let mut cluster = stage(2, "unlogged");
    let mut client = cluster.connect("unlogged");
    client.query("CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); CREATE TABLE log (id serial PRIMARY KEY)");
    client.query("INSERT INTO cache SELECT generate_series(1, 10)");
    client.query(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.log DEFAULT VALUES; RETURN NEW; END';
         CREATE TRIGGER note AFTER INSERT ON cache FOR EACH ROW EXECUTE FUNCTION note();
         ALTER TABLE cache ENABLE ALWAYS TRIGGER note",
    );
    cluster.nodes[1].kill9();
    wait_for_state(&cluster, 1, |state| state == "degraded");
    let recovered = cluster.proxy.run(&["recover", "node1"]);
    assert!(recovered.status.success(), "{}", process::said(&recovered));
    let counts = "SELECT (SELECT count(*) FROM cache) || ' ' || (SELECT count(*) FROM log)";
    assert_eq!(cluster.nodes[1].connect("unlogged").value(counts), "10 0");
    assert_identical(&cluster.nodes);
}

#[test]
fn a_server_that_was_killed_and_whose_parent_has_not_noticed_is_recovered() {
    // PostgreSQL itself would take the socket's lock for held.
    let cluster = Cluster::builder(2).server_setting("unix_socket_directories", "").start();
    // The server is a child of this process, which does not ask for it.
    process::signal_all(&process::living_in(cluster.nodes[1].data_dir()), Signal::SIGKILL);
    wait_for_state(&cluster, 1, |state| state != "active");
    let recovered = cluster.proxy.run(&["recover", "node1"]);
    assert!(recovered.status.success(), "{}", process::said(&recovered));
    assert_identical(&cluster.nodes);
}

#[test]
fn a_killed_server_whose_number_somebody_else_has_by_now_is_recovered_and_the_other_lives_on() {
    let mut cluster = Cluster::start(2);
    cluster.nodes[1].kill9();
    wait_for_state(&cluster, 1, |state| state != "active");
    let pid_file = |node: usize| cluster.nodes[node].data_dir().join("postmaster.pid");
    let read = |node: usize| std::fs::read_to_string(pid_file(node)).expect("the pid file of a server");
    let (others, left) = (read(0), read(1));
    let number = others.lines().next().expect("its first line");
    let (_, rest) = left.split_once('\n').expect("more lines");
    std::fs::write(pid_file(1), format!("{number}\n{rest}")).expect("write a file");
    let socket = format!("../.s.PGSQL.{}.lock", cluster.nodes[1].port());
    let lock = cluster.nodes[1].data_dir().join(socket);
    let left = std::fs::read_to_string(&lock).expect("the lock of its socket");
    let (_, rest) = left.split_once('\n').expect("more lines");
    std::fs::write(&lock, format!("{number}\n{rest}")).expect("write a file");
    let recovered = cluster.proxy.run(&["recover", "node1"]);
    assert!(recovered.status.success(), "{}", process::said(&recovered));
    assert_eq!(read(0), others, "the leader has not been started again");
    assert_identical(&cluster.nodes);
}

#[test]
fn a_server_that_ran_before_a_recovery_that_fails_runs_again_on_the_data_that_it_had() {
    let cluster = Cluster::builder(2).proxy_setting("node.recovery", "backup = \"echo no tape >&2; exit 1\"").start();
    assert!(cluster.proxy.run(&["detach", "node1"]).status.success());
    cluster.nodes[1].connect("postgres").query("CREATE TABLE its_own (id int)");
    let failed = cluster.proxy.run(&["recover", "node1"]);
    let said = process::said(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("no tape") && said.contains("its server runs on it again"), "{said}");
    assert_eq!(cluster.nodes[1].connect("postgres").value("SELECT count(*) FROM its_own"), "0");
    assert_ne!(cluster.proxy.node_states()[1], "active");
}
