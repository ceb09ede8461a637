//! Rows, savepoints, and transactions that have more to them.

use lockstep_tests::raw::Client;

use super::{CLIENTS, add, assert_accounts, bank, open_with, wait_until_one_waits};

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
        "DECLARE c CURSOR FOR SELECT 1; FETCH c",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SET LOCAL client_encoding = latin1",
        "SELECT pg_notify('n', 'told once'), pg_sleep(0)",
    ];
    let mut clients: Vec<Client> = tied.iter().map(|_| cluster.connect("tied")).collect();
    for (number, (client, tie)) in clients.iter_mut().zip(tied).enumerate() {
        client.query("BEGIN");
        client.query(&add(number + 2));
        client.query(tie);
    }
    let mut back = cluster.connect("tied");
    back.query("BEGIN; SAVEPOINT s; DECLARE c CURSOR FOR SELECT 1; FETCH c");
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
    assert_eq!(back.try_query("ROLLBACK TO s").expect_err("it is lost with its savepoints").state(), "40001");
    assert_eq!(repeatable.try_query("COMMIT").expect_err("a COMMIT that is none").state(), "40001");
    failed.query("BEGIN; UPDATE account SET v = v + 1; COMMIT");
    assert_accounts(&cluster, "tied", "1 1 1 1 1 1 1 1 1 1");
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
fn rows_of_partitions_go_on_however_they_are_named() {
    let mut cluster = bank("more");
    cluster.connect("more").query(
        "CREATE TABLE part (id int PRIMARY KEY, v int NOT NULL) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (10); \
         CREATE TABLE high PARTITION OF part FOR VALUES FROM (10) TO (20); \
         INSERT INTO part SELECT n, 0 FROM generate_series(0, 19) AS n",
    );
    let mut root = open_with(&cluster, 0, &["UPDATE part SET v = v + 1 WHERE id IN (1, 11)"]);
    let mut again = open_with(&cluster, 1, &["DELETE FROM part WHERE id = 13", "INSERT INTO part VALUES (13, 7)"]);
    let mut leaf = open_with(&cluster, 2, &["UPDATE low SET v = v + 1 WHERE id = 2"]);
    cluster.nodes[0].kill9();
    let mut other = cluster.connect("more");
    other.query("SET lock_timeout = '100ms'");
    for (table, id) in [("low", 1), ("high", 11), ("part", 2), ("high", 13)] {
        let update = format!("UPDATE {table} SET v = v + 10 WHERE id = {id}");
        assert_eq!(other.try_query(&update).expect_err("it is locked").state(), "55P03", "{update}");
    }
    for client in [&mut root, &mut again, &mut leaf] {
        client.query("UPDATE part SET v = v + 1 WHERE id = 19");
        client.query("COMMIT");
    }
    let changed = "SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM part WHERE v > 0";
    assert_eq!(other.value(changed), "1:1 2:1 11:1 13:7 19:3");
    assert_accounts(&cluster, "more", "1 1 1 0 0 0 0 0 0 0");
}
