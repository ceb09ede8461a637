//! However the leader goes, and the next one too.

use lockstep_tests::raw::Client;

use super::{CLIENTS, add, assert_accounts, assert_accounts_on, bank, open_with, stranger, wait_until_one_waits};

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
