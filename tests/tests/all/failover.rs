//! Nodes and connections die, hang and come back; clients notice as little as the protocol allows.

use std::process::Stdio;
use std::time::{Duration, Instant};

use lockstep_core::wire::frontend;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::{Disk, Server};
use lockstep_tests::process;
use lockstep_tests::programs;
use lockstep_tests::raw::Client;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);

/// Two nodes and a table of the application's in its own database.
fn stage(database: &str) -> Cluster {
    let cluster = Cluster::start(2);
    cluster.create_database(database);
    cluster.connect(database).query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    cluster
}

fn pgbench(cluster: &Cluster, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(programs::postgres("pgbench"));
    command.args(["-h", "127.0.0.1", "-p", &cluster.proxy.port().to_string(), "-U", APP.name]).args(arguments);
    command.arg("bench").env("PGPASSWORD", APP.password);
    command
}

fn wait_until_not_active(cluster: &Cluster, node: usize) {
    wait::until(SOON, "a dead node is no longer active", || {
        (cluster.proxy.node_states().get(node)? != "active").then_some(())
    });
}

#[test]
fn a_follower_killed_under_load_costs_no_transaction() {
    for round in 0..3 {
        let mut cluster = Cluster::start(2);
        cluster.create_database("bench");
        process::run(&mut pgbench(&cluster, &["--initialize", "--quiet"]));
        let mode = ["simple", "extended", "prepared"][round];
        let load = ["--no-vacuum", "--client=8", "--jobs=2", "--transactions=300", "--protocol", mode];
        let running = pgbench(&cluster, &load).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pgbench");
        let mut observer = cluster.nodes[1].connect("bench");
        wait::until(SOON, "the load has begun", || {
            let count: u32 = observer.value("SELECT count(*) FROM pgbench_history").parse().expect("a number");
            (count > 100).then_some(())
        });
        cluster.nodes[1].kill9();
        let output = running.wait_with_output().expect("pgbench ends");
        let said = process::said(&output);
        assert!(output.status.success() && said.contains("failed transactions: 0 "), "{said}");
        assert!(said.contains("actually processed: 2400/2400"), "{said}");
        wait_until_not_active(&cluster, 1);
    }
}

#[test]
fn a_session_without_a_transaction_does_not_notice_that_the_leader_died() {
    let mut cluster = stage("idle");
    let mut client = cluster.connect("idle");
    client.try_prepare("read", "SELECT v + $1 FROM t WHERE id = 1").expect("prepare");
    client.query("SET application_name = 'kept'; SET timezone = 'Asia/Tokyo'");
    cluster.nodes[0].kill9();
    assert_eq!(client.value("SELECT v FROM t"), "0");
    client.query("UPDATE t SET v = 5 WHERE id = 1");
    assert_eq!(
        client.value("SELECT current_setting('application_name') || current_setting('timezone')"),
        "keptAsia/Tokyo"
    );
    let answer = client.try_execute_prepared("read", &[Some("2")]).expect("the statement was prepared anew");
    assert_eq!(answer.rows[0][0].as_deref(), Some("7"));
    wait_until_not_active(&cluster, 0);
    assert_eq!(cluster.nodes[1].connect("idle").value("SELECT v FROM t"), "5");
}

#[test]
fn a_session_in_a_transaction_goes_on_or_may_try_again_on_its_connection() {
    let mut cluster = stage("open");
    let mut client = cluster.connect("open");
    client.query("BEGIN; UPDATE t SET v = 7 WHERE id = 1");
    cluster.nodes[0].kill9();
    let finished = client.try_query("UPDATE t SET v = v + 1 WHERE id = 1").and_then(|_| client.try_query("COMMIT"));
    match finished {
        Ok(_) => assert_eq!(client.value("SELECT v FROM t"), "8"),
        Err(failure) => {
            assert!(["40001", "57P01"].contains(&failure.state()), "{failure}");
            client.query("ROLLBACK");
            assert_eq!(client.value("SELECT v FROM t"), "0");
            client.query("BEGIN; UPDATE t SET v = 8 WHERE id = 1; COMMIT");
        }
    }
    assert_eq!(cluster.nodes[1].connect("open").value("SELECT v FROM t"), "8");
}

/// Nothing acknowledged is lost: every client counts what it was told, and the survivor has at least that.
#[test]
fn the_leader_killed_under_load_loses_nothing_that_was_acknowledged() {
    let mut cluster = stage("load");
    cluster.connect("load").query("CREATE TABLE done (client int, n int, PRIMARY KEY (client, n))");
    let told: Vec<u32> = std::thread::scope(|scope| {
        let start = |number| {
            let client = cluster.connect("load");
            scope.spawn(move || insert_and_count(client, number))
        };
        let clients: Vec<_> = (0..8).map(start).collect();
        let mut observer = cluster.nodes[1].connect("load");
        wait::until(SOON, "the load has begun", || {
            (observer.value("SELECT count(*) > 100 FROM done") == "t").then_some(())
        });
        process::signal_all(&process::living_in(cluster.nodes[0].data_dir()), nix::sys::signal::Signal::SIGKILL);
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    cluster.nodes[0].kill9();
    let mut survivor = cluster.nodes[1].connect("load");
    for (number, told) in told.iter().enumerate() {
        let held: u32 =
            survivor.value(&format!("SELECT count(*) FROM done WHERE client = {number}")).parse().expect("a number");
        assert!(held >= *told, "client {number} was told of {told} rows and {held} are there");
        assert!(*told >= 200, "client {number} stopped after {told}");
    }
}

/// The number of rows of which the client was told that they are there; an error that a driver may retry is retried.
fn insert_and_count(mut client: Client, number: u32) -> u32 {
    let mut told = 0;
    for n in 0..300 {
        match client.try_query(&format!("INSERT INTO done VALUES ({number}, {n})")) {
            Ok(_) => told += 1,
            Err(failure) => assert!(["40001", "57P01", "08006"].contains(&failure.state()), "{failure}"),
        }
    }
    told
}

#[test]
fn one_broken_connection_is_no_dead_node() {
    let cluster = stage("broken");
    let mut client = cluster.connect("broken");
    client.query("UPDATE t SET v = 1 WHERE id = 1");
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'broken' AND pid <> pg_backend_pid()";
    cluster.nodes[1].connect("broken").query(end);
    client.query("UPDATE t SET v = 2 WHERE id = 1");
    cluster.nodes[0].connect("broken").query(end);
    // What PostgreSQL would have given, or nothing at all.
    if let Err(failure) = client.try_query("UPDATE t SET v = 3 WHERE id = 1") {
        assert!(["57P01", "08006"].contains(&failure.state()), "{failure}");
    }
    cluster.connect("broken").query("UPDATE t SET v = 4 WHERE id = 1");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_follower_that_hangs_stalls_writers_for_a_bounded_time() {
    let cluster = stage("hang");
    let mut client = cluster.connect("hang");
    client.query("UPDATE t SET v = 1 WHERE id = 1");
    cluster.nodes[1].pause();
    let start = Instant::now();
    client.query("UPDATE t SET v = 2 WHERE id = 1");
    // The harness's settings: interval 200 ms, time-out 1 s, 2 retries.
    assert!(start.elapsed() < Duration::from_secs(8), "the write took {:?}", start.elapsed());
    wait_until_not_active(&cluster, 1);
    cluster.nodes[1].resume();
}

#[test]
fn a_disk_that_stands_still_is_found_and_costs_no_client_an_error() {
    for node in [1, 0] {
        let disks = [Disk::new(), Disk::new()];
        let builder = Cluster::builder(2).disks(&disks).proxy_setting("health", "disk_timeout = \"1s\"");
        let cluster = builder.start();
        cluster.create_database("disk");
        let (mut client, mut open) = (cluster.connect("disk"), cluster.connect("disk"));
        client.query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)");
        open.query("BEGIN");
        open.query("UPDATE t SET v = 2 WHERE id = 2");
        disks[node].stands_still();
        let start = Instant::now();
        client.query("UPDATE t SET v = 1 WHERE id = 1");
        assert!(start.elapsed() < Duration::from_secs(8), "the write took {:?}", start.elapsed());
        wait_until_not_active(&cluster, node);
        assert!(cluster.proxy.log().contains("a small write took longer than 1s"), "{}", cluster.proxy.log());
        open.query("COMMIT");
        assert_eq!(client.value("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t"), "1 2");
    }
}

#[test]
fn a_client_that_logs_in_while_the_leader_hangs_is_served_by_its_successor_as_soon_as_there_is_one() {
    let cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("late");
    cluster.relays[0].hang();
    let start = Instant::now();
    let mut client = cluster.connect("late");
    assert_eq!(client.value("SELECT 1"), "1");
    // The harness's settings: interval 200 ms, time-out 1 s, 2 retries. An answer to a login is waited for longer.
    assert!(start.elapsed() < Duration::from_secs(8), "the login took {:?}", start.elapsed());
    cluster.proxy.wait_for_states(&["degraded", "active"], SOON);
}

#[test]
fn a_stall_of_all_servers_costs_time_and_nothing_else() {
    let cluster = stage("stall");
    let (mut open, mut other) = (cluster.connect("stall"), cluster.connect("stall"));
    open.query("BEGIN");
    open.query("INSERT INTO t VALUES (2, 0)");
    cluster.nodes.iter().for_each(Server::pause);
    other.put(|out| frontend::query(out, b"INSERT INTO t VALUES (3, 0)")).flush();
    wait::until(Duration::from_secs(10), "the proxy has missed them", || {
        cluster.proxy.log().contains("no node answers; waiting").then_some(())
    });
    cluster.nodes.iter().for_each(Server::resume);
    other.answer().expect("a write that took its time");
    open.query("INSERT INTO t VALUES (4, 0)");
    open.query("COMMIT");
    assert_eq!(open.value("SELECT count(*) FROM t"), "4");
    assert_eq!(cluster.proxy.degradations(), [] as [String; 0]);
    assert_identical(&cluster.nodes);
}

#[test]
fn a_new_leader_serves_nobody_before_it_bears_the_lineage_of_its_epoch() {
    let mut cluster = stage("lineage");
    let epoch = |client: &mut Client| -> i64 { client.value("SELECT epoch FROM lockstep.lineage").parse().unwrap() };
    let (mut holder, mut reader) = (cluster.nodes[1].connect("postgres"), cluster.nodes[1].connect("postgres"));
    let before = epoch(&mut reader);
    holder.query("BEGIN; LOCK TABLE lockstep.lineage IN SHARE MODE");
    cluster.nodes[0].kill9();
    let waits = || cluster.proxy.http("/healthz").contains("lineage cannot be written on node1").then_some(());
    wait::until(SOON, "the proxy says for what commits wait", waits);
    std::thread::scope(|scope| {
        let insert = scope.spawn(|| cluster.connect("lineage").query("INSERT INTO t VALUES (2, 0)"));
        // Longer than it takes until a node is taken for dead, were it one.
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_secs(4) {
            assert!(!insert.is_finished(), "nothing is acknowledged by a leader of no epoch");
            assert_eq!(epoch(&mut reader), before, "nobody can write it");
        }
        holder.query("COMMIT");
        insert.join().expect("the client has noticed nothing");
    });
    assert!(epoch(&mut reader) > before);
    assert_eq!(cluster.proxy.node_states()[1], "active");
}

#[test]
fn a_server_that_is_slow_to_let_somebody_in_is_not_dead_and_one_whose_postmaster_is_stopped_is() {
    let cluster = stage("slow");
    let mut client = cluster.connect("slow");
    client.query("UPDATE t SET v = 1 WHERE id = 1");
    let mut direct = cluster.nodes[1].connect("postgres");
    direct.query("ALTER SYSTEM SET post_auth_delay = '3s'");
    direct.query("SELECT pg_reload_conf()");
    // The harness's settings: interval 200 ms, every fourth look is a login, time-out 1 s, 2 retries.
    let slow = Instant::now();
    while slow.elapsed() < Duration::from_secs(6) {
        client.query("UPDATE t SET v = v + 1 WHERE id = 1");
    }
    assert_eq!(cluster.proxy.node_states(), ["active"; 2]);
    direct.query("ALTER SYSTEM RESET post_auth_delay");
    direct.query("SELECT pg_reload_conf()");
    assert_identical(&cluster.nodes);

    cluster.nodes[1].pause_postmaster();
    wait_until_not_active(&cluster, 1);
    let why = cluster.proxy.degradations().join("\n");
    assert!(why.contains("it answers old connections, but no new one within 2s"), "{why}");
    client.query("UPDATE t SET v = 0 WHERE id = 1");
    cluster.nodes[1].resume();
}

#[test]
fn a_statement_on_the_new_leader_does_not_overtake_what_the_old_one_has_ordered() {
    let mut cluster = Cluster::builder(2).relayed().start();
    cluster.create_database("overtake");
    let mut early = cluster.connect("overtake");
    early.query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    let add = "UPDATE t SET v = v + 1 WHERE id = 1";
    // Both have all that they need: connections, plans.
    let mut late = cluster.connect("overtake");
    [&mut early, &mut late].into_iter().for_each(|client| drop(client.query(add)));

    let batch_takes = Duration::from_millis(1500);
    cluster.relays[1].set_delay(batch_takes);
    let ordered = std::thread::spawn(move || early.query(add));
    let mut observer = cluster.nodes[0].connect("overtake");
    wait::until(SOON, "the leader has run the statement, and the batch is on its way", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE t%' \
                   AND wait_event = 'ClientRead' AND now() - xact_start > '100ms'";
        (observer.value(sql) == "1").then_some(())
    });
    cluster.relays[1].set_delay(Duration::ZERO);
    cluster.nodes[0].kill9();
    late.query(add);
    ordered.join().expect("the first client is told that it has committed");
    assert_eq!(cluster.nodes[1].connect("overtake").value("SELECT v FROM t"), "4");
}

#[test]
fn with_no_node_at_all_the_proxy_stays_and_works_again_when_one_is_back() {
    let mut cluster = Cluster::builder(1).proxy_setting("listen", "hold_timeout = \"1s\"").start();
    cluster.create_database("lonely");
    cluster.connect("lonely").query("CREATE TABLE t (id int PRIMARY KEY)");
    cluster.nodes[0].kill9();
    wait_until_not_active(&cluster, 0);
    let refused = Client::try_connect(&cluster.proxy.address(), &APP, "lonely", &[]).expect_err("no node is there");
    assert_eq!(refused.state(), "57P03");
    cluster.nodes[0].start();
    let mut client = wait::until(SOON, "the proxy lets somebody in again", || {
        Client::try_connect(&cluster.proxy.address(), &APP, "lonely", &[]).ok()
    });
    client.query("INSERT INTO t VALUES (1)");
}

#[test]
fn a_degraded_node_does_not_come_back_by_itself() {
    let mut cluster = Cluster::builder(2).proxy_setting("listen", "hold_timeout = \"1s\"").start();
    cluster.create_database("stale");
    cluster.connect("stale").query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    cluster.nodes[1].kill9();
    cluster.connect("stale").query("UPDATE t SET v = 1 WHERE id = 1");
    // Killed at once: what was acknowledged was written down before.
    cluster.proxy.kill9();
    cluster.nodes[1].start();
    cluster.proxy.restart();
    assert_eq!(cluster.connect("stale").value("SELECT v FROM t"), "1");
    assert_ne!(cluster.proxy.node_states()[1], "active");
    cluster.proxy.terminate();
    cluster.proxy.restart();
    assert_ne!(cluster.proxy.node_states()[1], "active");
    // With the leader gone there is nobody who is known to be current.
    cluster.nodes[0].kill9();
    let stale = Client::try_connect(&cluster.proxy.address(), &APP, "stale", &[])
        .and_then(|mut client| client.try_query("SELECT v FROM t"));
    assert_eq!(stale.expect_err("a stale node never answers").state(), "57P03");
}

#[test]
fn after_an_unclean_stop_without_a_journal_equal_nodes_are_active_again_and_an_unequal_one_is_not() {
    let mut cluster = stage("unclean");
    cluster.proxy.kill9();
    cluster.proxy.restart();
    cluster.connect("unclean").query("UPDATE t SET v = 1 WHERE id = 1");
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    cluster.proxy.kill9();
    let journal = cluster.proxy.config_path().with_file_name("state").join("journal");
    std::fs::remove_file(journal).expect("lose the journal");
    cluster.nodes[1].connect("unclean").query("UPDATE t SET v = 99 WHERE id = 1");
    cluster.proxy.restart();
    assert_eq!(cluster.connect("unclean").value("SELECT v FROM t"), "1");
    wait::until(SOON, "the unequal node has been judged", || {
        let states = cluster.proxy.node_states();
        (states.first()? == "active" && states.get(1)? != "active").then_some(())
    });
}

#[test]
fn a_killed_follower_is_recovered_while_clients_write() {
    let mut cluster = stage("recover");
    cluster.nodes[1].kill9();
    cluster.connect("recover").query("UPDATE t SET v = 1 WHERE id = 1");
    wait_until_not_active(&cluster, 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = cluster.connect("recover");
            let mut written = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                client.query(&format!("INSERT INTO t VALUES ({}, 0)", 100 + written));
                written += 1;
            }
            written
        });
        let output = cluster.proxy.run(&["recover", "node1"]);
        done.store(true, std::sync::atomic::Ordering::Release);
        assert!(output.status.success(), "{}", process::said(&output));
        assert!(writer.join().expect("the writer") > 0);
    });
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    cluster.connect("recover").query("UPDATE t SET v = v + 1");
    assert_identical(&cluster.nodes);
}
