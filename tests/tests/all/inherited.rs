//! The leader is killed while transactions are open: they go on under the next one, or say why not.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lockstep_core::wire::backend::NOTIFICATION_RESPONSE;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::postgres::Server;
use lockstep_tests::process;
use lockstep_tests::programs;
use lockstep_tests::raw::Client;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::users::APP;
use lockstep_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const CLIENTS: usize = 4;

/// Three nodes, of which one may die, and accounts.
fn bank(database: &str) -> Cluster {
    let cluster = Cluster::start(3);
    cluster.create_database(database);
    cluster.connect(database).query(
        "CREATE TABLE account (id int PRIMARY KEY, v int NOT NULL); \
         CREATE TABLE entry (id serial PRIMARY KEY, account int NOT NULL REFERENCES account, at timestamptz DEFAULT now()); \
         INSERT INTO account SELECT n, 0 FROM generate_series(0, 9) AS n",
    );
    cluster
}

fn add(account: usize) -> String {
    format!("UPDATE account SET v = v + 1 WHERE id = {account}")
}

/// The survivors hold the same, and the accounts these sums.
fn assert_accounts(cluster: &Cluster, database: &str, expected: &str) {
    assert_accounts_on(&cluster.nodes[1..], database, expected);
}

fn assert_accounts_on(survivors: &[Server], database: &str, expected: &str) {
    let sql = "SELECT string_agg(v::text, ' ' ORDER BY id) FROM account";
    assert_eq!(survivors[0].connect(database).value(sql), expected);
    assert_identical(survivors);
}

/// A client's backend on a node waits for a lock.
fn wait_until_one_waits(node: &Server, database: &str) {
    let mut observer = node.connect(database);
    wait::until(SOON, "one waits for a lock", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (observer.value(waiting) == "1").then_some(())
    });
}

/// Somebody past the proxy holds an account's row on a node.
fn stranger(node: &Server, database: &str, account: usize) -> Client {
    let mut stranger = node.connect(database);
    stranger.query("BEGIN");
    stranger.query(&format!("SELECT v FROM account WHERE id = {account} FOR UPDATE"));
    stranger
}

#[test]
fn open_transactions_go_on_and_so_does_one_that_waits_for_a_row_of_another() {
    let mut cluster = bank("open");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| cluster.connect("open")).collect();
    let mut waiter = cluster.connect("open");
    let mut reader = cluster.connect("open");
    for (number, client) in clients.iter_mut().enumerate() {
        client.query("BEGIN");
        client.query(&add(number));
        client.query(&format!("INSERT INTO entry (account) VALUES ({number})"));
        client.query("SELECT count(*) FROM account");
    }
    reader.query("BEGIN");
    assert_eq!(reader.value("SELECT v FROM account WHERE id = 0"), "0");
    waiter.query("BEGIN");
    waiter.query(&add(8));
    let waits = std::thread::spawn(move || {
        waiter.query(&add(0));
        waiter.query("COMMIT");
    });
    wait_until_one_waits(&cluster.nodes[0], "open");

    cluster.nodes[0].kill9();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.value(&format!("SELECT v FROM account WHERE id = {number}")), "1", "its own row is there");
        client.query(&add(number));
        client.query(&add(9 - number.min(1)));
        client.query("COMMIT");
    }
    waits.join().expect("the one that waited");
    assert_eq!(reader.value("SELECT v FROM account WHERE id = 0"), "3");
    reader.query("COMMIT");
    assert_accounts(&cluster, "open", "3 2 2 2 0 0 0 0 4 1");
}

#[test]
fn a_failed_transaction_is_that_for_the_next_leader_too_and_one_with_more_to_it_says_that_it_is_lost() {
    let mut cluster = bank("tied");
    let mut failed = cluster.connect("tied");
    failed.query("BEGIN");
    failed.query(&add(0));
    assert_eq!(failed.try_query("SELECT 1/0").expect_err("a division by zero").state(), "22012");
    let tied = [
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT set_config('application_name', 'x', true)",
        "SET LOCAL search_path = public",
        "SET CONSTRAINTS ALL DEFERRED",
    ];
    let mut clients: Vec<Client> = tied.iter().map(|_| cluster.connect("tied")).collect();
    for (number, (client, tie)) in clients.iter_mut().zip(tied).enumerate() {
        client.query("BEGIN");
        client.query(&add(number + 2));
        client.query(tie);
    }
    let mut repeatable = cluster.connect("tied");
    repeatable.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    repeatable.query("SELECT count(*) FROM account");

    cluster.nodes[0].kill9();
    assert_eq!(failed.try_query("SELECT 1").expect_err("it has failed").state(), "25P02");
    failed.query("ROLLBACK");
    for (client, tie) in clients.iter_mut().zip(tied) {
        assert_eq!(client.try_query("SELECT 1").expect_err(tie).state(), "40001", "{tie}");
        client.query("ROLLBACK");
    }
    assert_eq!(repeatable.try_query("COMMIT").expect_err("a COMMIT that is none").state(), "40001");
    failed.query("BEGIN; UPDATE account SET v = v + 1; COMMIT");
    assert_accounts(&cluster, "tied", "1 1 1 1 1 1 1 1 1 1");
}

/// A transaction that has done this, and has added to an account of its own.
fn open_with(cluster: &Cluster, account: usize, statements: &[&str]) -> Client {
    let mut client = cluster.connect("more");
    client.query("BEGIN");
    statements.iter().for_each(|statement| drop(client.query(statement)));
    client.query(&add(account));
    client
}

#[test]
fn savepoints_go_on_and_can_be_gone_back_to_also_after_a_failure() {
    let mut cluster = bank("more");
    let mut back = open_with(&cluster, 0, &["SAVEPOINT s"]);
    back.query("SAVEPOINT \"In ner\"");
    let mut released = open_with(&cluster, 1, &["SAVEPOINT s"]);
    released.query("RELEASE s");
    let mut failed = open_with(&cluster, 2, &[]);
    failed.query("SAVEPOINT s");
    failed.query(&add(3));
    failed.try_query("SELECT 1/0").expect_err("a division by zero");
    let mut undone = open_with(&cluster, 4, &[]);
    undone.query("SAVEPOINT s");
    undone.query(&add(5));
    undone.query("ROLLBACK TO s");

    cluster.nodes[0].kill9();
    back.query("ROLLBACK TO s");
    back.query(&add(6));
    assert_eq!(released.try_query("ROLLBACK TO s").expect_err("it was released").state(), "3B001");
    released.query("ROLLBACK");
    assert_eq!(failed.try_query("SELECT 1").expect_err("it has failed").state(), "25P02");
    failed.query("ROLLBACK TO s");
    failed.query(&add(7));
    for client in [&mut back, &mut failed, &mut undone] {
        client.query("COMMIT");
    }
    assert_accounts(&cluster, "more", "0 0 1 0 1 0 1 1 0 0");
}

#[test]
fn locks_go_on_and_keep_others_out() {
    let mut cluster = bank("more");
    let mut locked = open_with(&cluster, 0, &["SELECT * FROM account WHERE id IN (1, 2) ORDER BY id FOR UPDATE"]);
    let mut prepared = open_with(&cluster, 3, &[]);
    prepared.try_prepare("lock", "SELECT v FROM account WHERE id = $1::int FOR NO KEY UPDATE").expect("prepare");
    prepared.try_execute_prepared("lock", &[Some("4")]).expect("the lock");
    let mut alone = open_with(&cluster, 5, &["SELECT pg_advisory_xact_lock(7)", "LOCK TABLE entry IN SHARE MODE"]);
    let mut reads = cluster.connect("more");
    reads.query("BEGIN");
    reads.query("SELECT v FROM account WHERE id = 6 FOR SHARE");

    cluster.nodes[0].kill9();
    let mut other = cluster.connect("more");
    other.query("SET lock_timeout = '100ms'");
    for locked in [1, 2, 4, 6] {
        assert_eq!(other.try_query(&add(locked)).expect_err("it is locked").state(), "55P03", "{locked}");
    }
    assert_eq!(other.value("SELECT pg_try_advisory_xact_lock(7)"), "f");
    assert_eq!(other.try_query("INSERT INTO entry (account) VALUES (9)").expect_err("locked").state(), "55P03");
    locked.query(&add(1));
    prepared.query(&add(4));
    for client in [&mut locked, &mut prepared, &mut alone, &mut reads] {
        client.query("COMMIT");
    }
    other.query(&add(6));
    assert_accounts(&cluster, "more", "1 1 0 1 1 1 1 0 0 0");
}

#[test]
fn settings_and_notifications_go_on() {
    let mut cluster = bank("more");
    let mut listener = cluster.connect("more");
    listener.query("LISTEN n");
    let mut client = open_with(&cluster, 0, &["SET LOCAL statement_timeout = '1min'", "SET lock_timeout = '2min'"]);
    client.query("NOTIFY n, 'told once'");
    client.query("LISTEN own");
    cluster.nodes[0].kill9();
    // It listens at the next leader, too, from now on.
    listener.query("SELECT 1");
    assert_eq!(client.value("SHOW statement_timeout"), "1min");
    assert_eq!(client.value("SHOW lock_timeout"), "2min");
    client.query("COMMIT");
    assert_eq!(client.value("SHOW statement_timeout"), "0");
    assert_eq!(client.value("SHOW lock_timeout"), "2min");
    assert_eq!(client.value("SELECT pg_listening_channels()"), "own");
    let told = listener.until(NOTIFICATION_RESPONSE);
    assert!(told.last().is_some_and(|frame| frame.raw.ends_with(b"n\0told once\0")), "{told:?}");
    assert_accounts(&cluster, "more", "1 0 0 0 0 0 0 0 0 0");
}

#[test]
fn a_transaction_whose_locks_would_be_on_other_rows_ends() {
    let mut cluster = bank("more");
    let mut client = open_with(&cluster, 0, &["SELECT id FROM account WHERE v = 0 AND id > 7 ORDER BY id FOR UPDATE"]);
    cluster.connect("more").query("INSERT INTO account VALUES (10, 0)");
    cluster.nodes[0].kill9();
    assert_eq!(client.try_query(&add(8)).expect_err("there is another row now").state(), "40001");
    client.query("ROLLBACK");
    assert_accounts(&cluster, "more", "0 0 0 0 0 0 0 0 0 0 0");
}

#[test]
fn a_leader_that_is_detached_leaves_its_open_transactions_to_the_next() {
    let cluster = bank("more");
    let mut client = open_with(&cluster, 0, &["SELECT v FROM account WHERE id = 1 FOR UPDATE", "SAVEPOINT s"]);
    cluster.proxy.run(&["detach", "node0"]);
    client.query(&add(1));
    client.query("COMMIT");
    assert_accounts(&cluster, "more", "1 1 0 0 0 0 0 0 0 0");
}

#[test]
fn a_leader_that_ends_its_sessions_by_itself_takes_their_transactions_with_it() {
    let mut cluster = bank("orderly");
    let mut client = cluster.connect("orderly");
    client.query("BEGIN");
    client.query(&add(0));
    cluster.nodes[0].stop();
    let failure = client.try_query(&add(0)).expect_err("the transaction is lost");
    assert!(["40001", "57P01"].contains(&failure.state()), "{failure}");
    client.query("ROLLBACK");
    client.query(&add(1));
    assert_accounts(&cluster, "orderly", "0 1 0 0 0 0 0 0 0 0");
}

#[test]
fn a_leader_that_hangs_leaves_its_open_transactions_to_the_next() {
    let cluster = bank("hung");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| cluster.connect("hung")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.query("BEGIN");
        client.query(&add(number));
    }
    cluster.nodes[0].pause();
    for (number, client) in clients.iter_mut().enumerate() {
        client.query(&add(number));
    }
    // It goes on with what it had, and nobody cares.
    cluster.nodes[0].resume();
    for client in &mut clients {
        client.query("COMMIT");
    }
    assert_accounts(&cluster, "hung", "2 2 2 2 0 0 0 0 0 0");
}

#[test]
fn the_next_leader_dies_too_before_the_transaction_has_got_there() {
    let mut cluster = bank("twice");
    let mut client = cluster.connect("twice");
    client.query("BEGIN");
    client.query(&add(0));
    client.query(&add(1));
    let _stranger = stranger(&cluster.nodes[1], "twice", 1);
    cluster.nodes[0].kill9();
    wait_until_one_waits(&cluster.nodes[1], "twice");
    cluster.nodes[1].kill9();
    client.query(&add(0));
    client.query("COMMIT");
    assert_accounts_on(&cluster.nodes[2..], "twice", "2 1 0 0 0 0 0 0 0 0");
}

#[test]
fn a_transaction_that_cannot_be_brought_over_in_time_ends_and_the_others_are_served() {
    let mut cluster = bank("late");
    let (mut late, mut other) = (cluster.connect("late"), cluster.connect("late"));
    for (client, account) in [(&mut late, 0), (&mut other, 1)] {
        client.query("BEGIN");
        client.query(&add(account));
    }
    let mut stranger = stranger(&cluster.nodes[1], "late", 0);
    cluster.nodes[0].kill9();
    other.query(&add(2));
    other.query("COMMIT");
    stranger.query("ROLLBACK");
    assert_eq!(late.try_query(&add(0)).expect_err("it came too late").state(), "40001");
    late.query("ROLLBACK");
    late.query(&add(3));
    assert_accounts(&cluster, "late", "0 1 1 1 0 0 0 0 0 0");
}

#[test]
fn a_session_that_may_hold_a_lock_of_its_own_does_not_go_on() {
    let mut cluster = bank("held");
    let (mut holder, mut other) = (cluster.connect("held"), cluster.connect("held"));
    cluster
        .connect("held")
        .query("CREATE FUNCTION enter() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(7); END $$");
    holder.query("SELECT enter()");
    for client in [&mut holder, &mut other] {
        client.query("BEGIN");
        client.query("SELECT v FROM account WHERE id = 0");
    }
    cluster.nodes[0].kill9();
    other.query("SELECT pg_advisory_lock(7)");
    assert_eq!(holder.try_query(&add(0)).expect_err("the lock is another's").state(), "40001");
}

#[test]
fn a_prepared_write_in_a_transaction_goes_on() {
    let mut cluster = bank("prepared");
    let mut client = cluster.connect("prepared");
    client.try_prepare("add", "UPDATE account SET v = v + $1::int WHERE id = 1").expect("prepare");
    client.query("BEGIN");
    client.try_execute_prepared("add", &[Some("3")]).expect("the first");
    cluster.nodes[0].kill9();
    client.try_execute_prepared("add", &[Some("4")]).expect("the second");
    client.query("COMMIT");
    assert_accounts(&cluster, "prepared", "0 7 0 0 0 0 0 0 0 0");
}

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
        let load = ["--no-vacuum", "--log", "--client=8", "--jobs=2", "--transactions=300", "--protocol", mode];
        let running = bench(&load).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pgbench");
        let mut observer = cluster.nodes[1].connect("bench");
        wait::until(SOON, "the load has begun", || {
            let count: u32 = observer.value("SELECT count(*) FROM pgbench_history").parse().expect("a number");
            (count > 100).then_some(())
        });
        cluster.nodes[0].kill9();
        let output = running.wait_with_output().expect("pgbench ends");
        let said = process::said(&output);
        let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) \
                    AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)";
        assert_eq!(observer.value(sums), "t", "{said}");
        assert!(output.status.success() && said.contains("failed transactions: 0 "), "{mode}: {said}");
        assert!(said.contains("actually processed: 2400/2400"), "{mode}: {said}");
        println!("{mode}: the longest of 2400 transactions took {:?}", longest(logs.path()));
    }
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
