//! Advisory locks and settings of a session, which outlive its transactions: the next leader has them, or it ends.

use lockstep_core::wire::backend::ERROR_RESPONSE;
use lockstep_tests::cluster::Cluster;
use lockstep_tests::raw::{Client, Failure};
use lockstep_tests::wait;

use super::{SOON, add, assert_accounts, bank, wait_until_one_waits};

fn session(cluster: &Cluster, statements: &[&str]) -> Client {
    let mut client = cluster.connect("held");
    statements.iter().for_each(|statement| drop(client.query(statement)));
    client
}

/// The last word of a connection that the server ends.
fn end(client: &mut Client) -> Failure {
    let frames = client.until_closed();
    Failure::of_frame(frames.iter().find(|frame| frame.tag == ERROR_RESPONSE).expect("a reason"))
}

#[test]
fn an_idle_session_keeps_its_locks_and_nobody_gets_one_meanwhile() {
    let mut cluster = bank("held");
    let mut migrates = session(&cluster, &["SELECT pg_try_advisory_lock(7241865325823964) AS got"]);
    let mut twice =
        session(&cluster, &["SELECT pg_advisory_lock(1)", "BEGIN; SELECT pg_advisory_lock(1::bigint); ROLLBACK"]);
    let mut by_parameter = cluster.connect("held");
    by_parameter.execute("SELECT pg_advisory_lock_shared($1, $2)", &[Some("2"), Some("-3")]);
    let mut waits = cluster.connect("held");
    let waiting = std::thread::spawn(move || {
        waits.query("SELECT pg_advisory_lock(1)");
        waits.value("SELECT pg_advisory_unlock(1)")
    });
    wait_until_one_waits(&cluster.nodes[0], "held");

    cluster.nodes[0].kill9();
    let mut other = cluster.connect("held");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(7241865325823964)"), "f");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(1)"), "f");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(2, -3)"), "f");
    assert_eq!(other.value("SELECT pg_try_advisory_lock_shared(2, -3)"), "t");
    assert_eq!(migrates.value("SELECT pg_advisory_unlock(7241865325823964)"), "t");
    assert_eq!(other.value("SELECT pg_try_advisory_lock(7241865325823964)"), "t");
    for expected in ["t", "t"] {
        assert_eq!(twice.value("SELECT pg_advisory_unlock(1)"), expected);
    }
    assert_eq!(waiting.join().expect("the one that waited"), "t");
    assert_eq!(twice.value("SELECT pg_advisory_unlock(1)"), "f");
    assert_eq!(by_parameter.value("SELECT pg_advisory_unlock_shared(2, -3)"), "t");
}

#[test]
fn a_transaction_goes_on_with_the_locks_of_its_session() {
    let mut cluster = bank("held");
    let mut before = session(&cluster, &["SELECT pg_advisory_lock(1)", "BEGIN", &add(0)]);
    let mut within = session(&cluster, &["BEGIN", &add(1), "SELECT pg_try_advisory_lock(2), 'x'", "SAVEPOINT s"]);
    let mut reads = session(&cluster, &["BEGIN", "SELECT pg_advisory_lock(3)", "SELECT v FROM account WHERE id = 2"]);
    cluster.nodes[0].kill9();
    let mut other = cluster.connect("held");
    for (account, client) in [&mut before, &mut within, &mut reads].into_iter().enumerate() {
        let lock = account + 1;
        assert_eq!(other.value(&format!("SELECT pg_try_advisory_lock({lock})")), "f");
        client.query(&add(account));
        client.query("COMMIT");
        assert_eq!(other.value(&format!("SELECT pg_try_advisory_lock({lock})")), "f", "it outlives the transaction");
        assert_eq!(client.value(&format!("SELECT pg_advisory_unlock({lock})")), "t");
        assert_eq!(other.value(&format!("SELECT pg_try_advisory_lock({lock})")), "t");
    }
    assert_accounts(&cluster, "held", "2 2 1 0 0 0 0 0 0 0");
}

#[test]
fn locks_that_were_let_go_are_not_taken_again() {
    let mut cluster = bank("held");
    let by_name = "SELECT pg_advisory_lock(hashtext('a name'))";
    let mut clients = [
        session(&cluster, &["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"]),
        session(&cluster, &["SELECT pg_advisory_lock(2), pg_advisory_lock(2)", "SELECT pg_advisory_unlock_all()"]),
        session(&cluster, &["SELECT pg_advisory_lock(3)", "DISCARD ALL"]),
        session(&cluster, &[by_name, "SELECT pg_advisory_unlock(hashtext('a name'))"]),
        session(&cluster, &["SELECT pg_advisory_lock(id) FROM account", "SELECT pg_advisory_unlock_all()"]),
    ];
    cluster.nodes[0].kill9();
    let mut other = cluster.connect("held");
    assert_eq!(other.value("SELECT bool_and(pg_try_advisory_lock(n)) FROM generate_series(0, 9) AS n"), "t");
    other.query(by_name);
    for (account, client) in clients.iter_mut().enumerate() {
        client.query(&add(account));
    }
    assert_accounts(&cluster, "held", "1 1 1 1 1 0 0 0 0 0");
}

#[test]
fn a_session_ends_whose_locks_are_not_known_or_cannot_be_had() {
    let mut cluster = bank("held");
    cluster
        .connect("held")
        .query("CREATE FUNCTION enter() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(7); END $$");
    let mut unknown = [
        session(&cluster, &["SELECT pg_advisory_lock(id) FROM account WHERE id > 8"]),
        session(&cluster, &["SELECT pg_advisory_lock(hashtext('a name'))"]),
        session(&cluster, &["SELECT enter()", "BEGIN", "SELECT v FROM account WHERE id = 0"]),
    ];
    let mut taken = session(&cluster, &["SELECT pg_advisory_lock(5)"]);
    let mut stranger = cluster.nodes[1].connect("held");
    stranger.query("SELECT pg_advisory_lock(5)");
    cluster.nodes[0].kill9();
    for client in unknown.iter_mut().chain([&mut taken]) {
        let failure = end(client);
        assert!(failure.state() == "57P01" && failure.to_string().contains("advisory locks"), "{failure}");
    }
    assert_eq!(cluster.connect("held").value("SELECT pg_try_advisory_lock(7)"), "t");
}

#[test]
fn a_leader_that_lets_locks_go_by_itself_ends_the_sessions_that_had_them() {
    let mut cluster = bank("held");
    let mut holder = session(&cluster, &["SELECT pg_advisory_lock(1)"]);
    let mut idle = session(&cluster, &["SELECT 1"]);
    cluster.nodes[0].stop();
    let failure = end(&mut holder);
    assert_eq!(failure.state(), "57P01", "{failure}");
    idle.query("SELECT pg_advisory_lock(1)");
}

#[test]
fn settings_by_set_config_are_the_sessions_under_the_next_leader_too() {
    let mut cluster = bank("held");
    let mut tenant =
        session(&cluster, &["SELECT set_config('app.tenant', 'it''s', false), set_config('app.user', 'a', false)"]);
    tenant.execute("SELECT set_config('app.user', $1, false)", &[Some("o'neill \\")]);
    let mut undone = session(&cluster, &["BEGIN", "SELECT set_config('app.tenant', 'x', false)", "ROLLBACK"]);
    let mut reset = session(&cluster, &["SELECT set_config('app.tenant', 'x', false)", "RESET app.tenant"]);
    cluster.nodes[0].kill9();
    assert_eq!(tenant.value("SELECT current_setting('app.tenant')"), "it's");
    assert_eq!(tenant.value("SELECT current_setting('app.user')"), "o'neill \\");
    for client in [&mut undone, &mut reset] {
        assert_eq!(client.value("SELECT coalesce(current_setting('app.tenant', true), '')"), "");
    }
}

#[test]
fn leadership_is_handed_back_when_no_session_has_a_lock_any_more() {
    let cluster = bank("held");
    let leads = |node: usize| (cluster.proxy.status()?["nodes"][node]["role"] == "leader").then_some(());
    let mut holder = session(&cluster, &["SELECT pg_advisory_lock(1)"]);
    cluster.proxy.run(&["detach", "node0"]);
    wait::until(SOON, "the next node leads", || leads(1));
    cluster.proxy.run(&["attach", "node0"]);
    assert_eq!(holder.value("SELECT pg_advisory_unlock(1)"), "t", "it had it there, too");
    wait::until(SOON, "the preferred node leads", || leads(0));
    assert_eq!(holder.value("SELECT pg_try_advisory_lock(1)"), "t");
}
