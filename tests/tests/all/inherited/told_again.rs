//! What the next leader is told again: locks, settings, notifications.

use lockstep_core::wire::backend::NOTIFICATION_RESPONSE;

use super::{add, assert_accounts, bank, open_with};

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
    client.query("SELECT pg_notify('n', 'told once')");
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
fn settings_by_set_config_go_on() {
    let mut cluster = bank("more");
    let settings = "SELECT set_config('app.tenant', '42', true), set_config('lock_timeout', '2min', false)";
    let mut client = open_with(&cluster, 0, &[settings]);
    client.execute("SELECT set_config('app.user', $1, true)", &[Some("somebody")]);
    let mut reads = cluster.connect("more");
    reads.query("BEGIN");
    reads.execute("SELECT set_config('app.tenant', $1::text, true)", &[Some("43")]);
    cluster.nodes[0].kill9();
    assert_eq!(client.value("SELECT current_setting('app.tenant') || current_setting('app.user')"), "42somebody");
    assert_eq!(reads.value("SELECT current_setting('app.tenant')"), "43");
    client.query("COMMIT");
    reads.query("COMMIT");
    assert_eq!(client.value("SHOW lock_timeout"), "2min");
    for client in [&mut client, &mut reads] {
        assert_eq!(client.value("SELECT current_setting('app.tenant')"), "");
    }
    assert_accounts(&cluster, "more", "1 0 0 0 0 0 0 0 0 0");
}

#[test]
fn names_mean_the_same_under_the_next_leader() {
    let mut cluster = bank("more");
    cluster.nodes[0].connect("postgres").query("CREATE ROLE keeper; GRANT keeper TO app");
    cluster.nodes[1].connect("postgres").query("CREATE ROLE keeper; GRANT keeper TO app");
    cluster.nodes[2].connect("postgres").query("CREATE ROLE keeper; GRANT keeper TO app");
    cluster.connect("more").query(
        "CREATE SCHEMA own; CREATE TABLE own.account (id int PRIMARY KEY, v int); INSERT INTO own.account VALUES (0, 100); \
         CREATE TABLE kept (id int PRIMARY KEY); CREATE SCHEMA AUTHORIZATION keeper CREATE TABLE kept (id int PRIMARY KEY)",
    );
    let mut path = open_with(&cluster, 1, &["SET LOCAL search_path = own", &add(0)]);
    let mut role = open_with(
        &cluster,
        2,
        &["SAVEPOINT s", "SET LOCAL ROLE keeper", "INSERT INTO keeper.kept VALUES (1)", "RESET ROLE"],
    );
    let both = "SELECT set_config('search_path', 'keeper', true), set_config('role', $1, true)";
    let mut web = open_with(&cluster, 3, &[]);
    web.execute(both, &[Some("keeper")]);
    web.query("INSERT INTO kept VALUES (2)");
    cluster.nodes[0].kill9();
    path.query(&add(0));
    assert_eq!(path.value("SELECT v FROM account"), "102");
    assert_eq!(role.value("SELECT current_user"), "app");
    assert_eq!(web.value("SELECT current_user"), "keeper");
    web.query("INSERT INTO kept VALUES (3)");
    for client in [&mut path, &mut role, &mut web] {
        client.query("COMMIT");
        assert_eq!(client.value("SELECT current_user || current_schema()"), "apppublic");
    }
    assert_eq!(path.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM keeper.kept"), "1 2 3");
    assert_accounts(&cluster, "more", "0 0 1 1 0 0 0 0 0 0");
}

#[test]
fn a_cursor_goes_on_of_which_nothing_was_read() {
    let mut cluster = bank("more");
    let declare = "DECLARE c CURSOR FOR SELECT v FROM account ORDER BY id";
    let mut unread = open_with(&cluster, 0, &[declare, "DECLARE d CURSOR FOR SELECT 1", "CLOSE d"]);
    let mut read = open_with(&cluster, 1, &[declare, "FETCH c"]);
    cluster.nodes[0].kill9();
    assert_eq!(unread.value("FETCH c"), "0", "it sees what was there when it was declared");
    unread.query("COMMIT");
    assert_eq!(read.try_query("FETCH c").expect_err("a row of it was read").state(), "40001");
    read.query("ROLLBACK");
    assert_accounts(&cluster, "more", "1 0 0 0 0 0 0 0 0 0");
}

#[test]
fn constraints_are_deferred_under_the_next_leader_too() {
    let mut cluster = bank("more");
    cluster.connect("more").query(
        "CREATE TABLE parent (id int PRIMARY KEY); \
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent DEFERRABLE)",
    );
    let orphan = ["SET CONSTRAINTS ALL DEFERRED", "INSERT INTO child VALUES (1, 1)"];
    let mut in_time = open_with(&cluster, 0, &orphan);
    let mut never = open_with(&cluster, 1, &["SET CONSTRAINTS ALL DEFERRED", "INSERT INTO child VALUES (2, 2)"]);
    cluster.nodes[0].kill9();
    in_time.query("INSERT INTO parent VALUES (1)");
    in_time.query("COMMIT");
    assert_eq!(never.try_query("COMMIT").expect_err("it has no parent").state(), "23503");
    assert_eq!(in_time.value("SELECT string_agg(id::text, ' ') FROM child"), "1");
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
