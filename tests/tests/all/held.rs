//! Clients that are held: by an operator's `pause`, and while the last node is gone.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lockstep_core::wire::startup::Version;
use lockstep_core::wire::{backend, frontend};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::compare::assert_identical;
use lockstep_tests::process;
use lockstep_tests::raw::Client;
use lockstep_tests::relay::Relay;
use lockstep_tests::users::APP;
use lockstep_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(20);
/// Long enough to show that an answer does not come.
const A_WHILE: Duration = Duration::from_millis(400);

fn furnish(cluster: &Cluster, database: &str) {
    cluster.create_database(database);
    cluster.connect(database).query("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
}

fn asks(client: &mut Client, sql: &str) {
    client.put(|out| frontend::query(out, sql.as_bytes())).flush();
}

fn pause_in_the_background(cluster: &Cluster) -> Child {
    let mut pause = cluster.proxy.command(&["pause"]);
    let child = pause.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run lockstep pause");
    wait::until(SOON, "the pause is in force", || {
        cluster.proxy.status().filter(|status| status["pause"].is_object()).map(drop)
    });
    child
}

fn is_paused(cluster: &Cluster) -> bool {
    cluster.proxy.status().is_some_and(|status| status["pause"].is_object())
}

fn pauses(cluster: &Cluster) {
    let paused = cluster.proxy.run(&["pause"]);
    assert!(paused.status.success(), "{}", process::said(&paused));
}

#[test]
fn a_pause_lets_open_transactions_finish_holds_everybody_else_and_disconnects_nobody() {
    let cluster = Cluster::start(2);
    furnish(&cluster, "shop");
    let (mut open, mut idle) = (cluster.connect("shop"), cluster.connect("shop"));
    open.query("BEGIN; UPDATE t SET v = 1 WHERE id = 1");
    let pause = pause_in_the_background(&cluster);
    asks(&mut idle, "SELECT v FROM t");
    assert!(idle.is_silent_for(A_WHILE), "a read waits, too");
    let status = cluster.proxy.status().expect("a status");
    assert!(status["pause"]["since"].is_null(), "a transaction is open: {status}");
    assert_eq!(open.value("SELECT v FROM t"), "1", "in it everything goes on");
    open.query("COMMIT");

    let told = pause.wait_with_output().expect("the pause holds");
    let said = process::said(&told);
    assert!(told.status.success() && said.contains("1 client has a transaction"), "{said}");
    assert!(cluster.proxy.status().expect("a status")["pause"]["since"].is_string());
    let shown = cluster.proxy.run(&["status"]);
    assert!(shown.status.code() == Some(1) && process::said(&shown).contains("let them go on: lockstep resume"));
    assert!(cluster.proxy.run(&["pause"]).status.success(), "it holds already");

    let address = cluster.proxy.address();
    let coming = thread::spawn(move || Client::connect(&address, &APP, "shop").value("SELECT v FROM t"));
    asks(&mut open, "UPDATE t SET v = v + 1 WHERE id = 1");
    assert!(open.is_silent_for(A_WHILE) && idle.is_silent_for(A_WHILE) && !coming.is_finished());
    assert_identical(&cluster.nodes);

    assert!(cluster.proxy.run(&["resume"]).status.success());
    open.until(backend::READY_FOR_QUERY);
    idle.until(backend::READY_FOR_QUERY);
    let value = coming.join().expect("the new client gets in");
    assert!(["1", "2"].contains(&value.as_str()), "{value}");
    assert_eq!(idle.value("SELECT v FROM t"), "2");
    assert!(!is_paused(&cluster) && cluster.proxy.run(&["status"]).status.success());
}

#[test]
fn a_pause_that_does_not_come_about_in_time_or_is_given_up_leaves_clients_going_on() {
    let cluster = Cluster::start(2);
    furnish(&cluster, "shop");
    let (mut open, mut other) = (cluster.connect("shop"), cluster.connect("shop"));
    open.query("BEGIN; UPDATE t SET v = 1 WHERE id = 1");
    let late = cluster.proxy.run(&["pause", "--wait", "300ms"]);
    let said = process::said(&late);
    assert_eq!(late.status.code(), Some(1), "{said}");
    assert!(said.contains("after 300ms, 1 client has a transaction") && said.contains("clients go on"), "{said}");
    assert_eq!(other.value("SELECT v FROM t"), "0");

    let given_up = pause_in_the_background(&cluster);
    asks(&mut other, "SELECT v FROM t");
    assert!(other.is_silent_for(A_WHILE));
    kill(Pid::from_raw(given_up.id() as i32), Signal::SIGINT).expect("Ctrl-C");
    other.until(backend::READY_FOR_QUERY);
    assert!(!given_up.wait_with_output().expect("it ends").status.success());
    assert!(!is_paused(&cluster));
    open.query("COMMIT");
}

#[test]
fn a_pause_ends_with_the_proxy_which_waits_for_nobody_that_is_held() {
    let mut cluster = Cluster::start(2);
    furnish(&cluster, "shop");
    let mut held = cluster.connect("shop");
    pauses(&cluster);
    asks(&mut held, "UPDATE t SET v = 7 WHERE id = 1");
    assert!(held.is_silent_for(A_WHILE));
    let address = cluster.proxy.address();
    let coming = thread::spawn(move || Client::try_connect(&address, &APP, "shop", &[]).map(drop));
    wait::until(SOON, "the new client waits", || {
        (cluster.proxy.status()?["clients"].as_u64() == Some(2)).then_some(())
    });
    let asked = Instant::now();
    assert!(cluster.proxy.terminate().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(held.answer().expect_err("it is ended").state(), "57P01");
    let refused = coming.join().expect("the new client is told").expect_err("it does not get in");
    assert_eq!(refused.state(), "57P03");
    cluster.proxy.restart();
    assert_eq!(cluster.connect("shop").value("SELECT v FROM t"), "0", "what was held was not begun");
    assert!(!is_paused(&cluster));
}

#[test]
fn a_client_that_leaves_while_it_is_held_makes_room() {
    let cluster = Cluster::builder(1).proxy_setting("listen", "max_clients = 2").start();
    let mut held = cluster.connect("postgres");
    pauses(&cluster);
    asks(&mut held, "SELECT 1");
    let clients = |count: u64| {
        wait::until(SOON, "so many clients are there", || {
            (cluster.proxy.status()?["clients"].as_u64() == Some(count)).then_some(())
        });
    };
    let mut coming = Client::dial(&cluster.proxy.address()).expect("connect");
    coming.start(Version::V3_0, APP.name, "postgres", &[]);
    coming.set_deadline(A_WHILE);
    assert!(coming.log_in(&APP).is_err(), "it waits");
    clients(2);
    let surplus = Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).expect_err("there is no room");
    assert_eq!(surplus.state(), "53300", "the surplus is told at once");
    drop(coming);
    clients(1);
    drop(held);
    clients(0);
    assert!(cluster.proxy.run(&["resume"]).status.success());
    assert_eq!(cluster.connect("postgres").value("SELECT 1"), "1");
}

#[test]
fn a_server_that_is_restarted_in_a_pause_costs_no_client_its_connection() {
    let mut cluster = Cluster::builder(1).proxy_setting("listen", "hold_timeout = \"500ms\"").start();
    furnish(&cluster, "shop");
    let mut held = cluster.connect("shop");
    held.query("SET application_name = 'kept'");
    pauses(&cluster);
    asks(&mut held, "SELECT current_setting('application_name')");
    cluster.nodes[0].kill9();
    cluster.proxy.wait_for_states(&["unreachable"], SOON);
    assert!(held.is_silent_for(A_WHILE * 3), "the time that it may wait for a server has not begun");
    cluster.nodes[0].start();
    cluster.proxy.wait_for_states(&["active"], SOON);
    let mut observer = cluster.nodes[0].connect("shop");
    wait::until(SOON, "the session is at its server again", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kept' AND state = 'idle'";
        (observer.value(sql) == "1").then_some(())
    });
    let begun = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT current_setting%'";
    assert_eq!(observer.value(begun), "0", "it has not begun what it was asked for");
    assert!(cluster.proxy.run(&["resume"]).status.success());
    let answer = held.answer().expect("it goes on");
    assert_eq!(answer.rows[0][0].as_deref(), Some("kept"));
}

#[test]
fn clients_wait_for_the_last_node_and_go_on_when_it_is_back() {
    let mut cluster = Cluster::start(1);
    furnish(&cluster, "shop");
    let (mut reader, mut writer) = (cluster.connect("shop"), cluster.connect("shop"));
    cluster.nodes[0].kill9();
    cluster.proxy.wait_for_states(&["unreachable"], SOON);
    asks(&mut reader, "SELECT v FROM t");
    asks(&mut writer, "UPDATE t SET v = v + 1 WHERE id = 1");
    let address = cluster.proxy.address();
    let coming = thread::spawn(move || Client::connect(&address, &APP, "shop").value("SELECT 5"));
    assert!(reader.is_silent_for(A_WHILE) && writer.is_silent_for(A_WHILE) && !coming.is_finished());
    cluster.nodes[0].start();
    assert!(["0", "1"].contains(&reader.answer().expect("it goes on").rows[0][0].as_deref().expect("a value")));
    writer.answer().expect("it goes on");
    assert_eq!(coming.join().expect("the new client gets in"), "5");
    assert_eq!(reader.value("SELECT v FROM t"), "1");
}

#[test]
fn clients_that_have_waited_long_enough_for_the_last_node_get_57p03() {
    let mut cluster = Cluster::builder(1).proxy_setting("listen", "hold_timeout = \"500ms\"").start();
    let mut client = cluster.connect("postgres");
    cluster.nodes[0].kill9();
    cluster.proxy.wait_for_states(&["unreachable"], SOON);
    let asked = Instant::now();
    assert_eq!(client.try_query("SELECT 1").expect_err("nobody serves").state(), "57P03");
    let refused = Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).expect_err("nobody serves");
    assert_eq!(refused.state(), "57P03");
    assert!(asked.elapsed() < SOON / 2, "{:?}", asked.elapsed());
}

/// Some nodes may have what others have not, of the commits that were under way.
#[test]
fn an_orderly_stop_while_nobody_serves_is_not_taken_for_one_that_left_the_nodes_equal() {
    let mut cluster = Cluster::builder(2).relayed().start();
    furnish(&cluster, "shop");
    cluster.relays.iter().for_each(Relay::cut);
    cluster.proxy.wait_for_states(&["unreachable", "unreachable"], SOON);
    assert!(cluster.proxy.terminate().success());
    cluster.relays.iter().for_each(Relay::mend);
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    let log = cluster.proxy.log();
    assert!(log.contains("the journal has settled") || log.contains("comparing with the leader"), "{log}");
    assert!(!log.contains("the proxy had stopped in order"), "{log}");
}

#[test]
fn a_node_that_comes_back_with_another_history_does_not_serve() {
    let cluster = Cluster::builder(1).relayed().proxy_setting("listen", "hold_timeout = \"500ms\"").start();
    cluster.relays[0].cut();
    cluster.proxy.wait_for_states(&["unreachable"], SOON);
    cluster.nodes[0].connect("postgres").query("UPDATE lockstep.lineage SET cluster = gen_random_uuid()::text");
    cluster.relays[0].mend();
    wait::until(SOON, "the log names the reason", || cluster.proxy.log().contains("belongs to cluster").then_some(()));
    let refused = Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).expect_err("nobody serves");
    assert_eq!(refused.state(), "57P03");
}

#[test]
fn a_transaction_left_idle_is_rolled_back_and_its_client_told_what_postgresql_would_say() {
    let timeout = "idle_in_transaction_timeout = \"500ms\"";
    let cluster = Cluster::builder(2).proxy_setting("listen", timeout).start();
    furnish(&cluster, "shop");
    let (mut left, mut busy, mut idle) = (cluster.connect("shop"), cluster.connect("shop"), cluster.connect("shop"));
    busy.query("BEGIN; SELECT pg_sleep(1)");
    left.query("BEGIN; UPDATE t SET v = 1 WHERE id = 1");
    let last = left.answer().expect_err("it is left idle");
    assert_eq!(last.state(), "25P03");
    assert!(last.to_string().contains("terminating connection due to idle-in-transaction timeout"), "{last}");
    // The lock that it held is free, and a session without a transaction may idle.
    idle.query("UPDATE t SET v = v + 10 WHERE id = 1");
    assert_eq!(idle.value("SELECT v FROM t"), "10");
    // Nothing was sent after BEGIN: the leader does not know of it yet.
    let mut begun = cluster.connect("shop");
    begun.query("BEGIN");
    assert_eq!(begun.answer().expect_err("it is left idle").state(), "25P03");
    assert_identical(&cluster.nodes);
}
