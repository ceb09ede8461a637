//! What an operator meets who starts, stops, reloads and asks at the wrong moment.

use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::postgres::Server;
use lockstep_tests::process;
use lockstep_tests::proxy::{NodeEntry, Proxy, Settings};
use lockstep_tests::raw::Client;
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::wait;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_proxy_that_cannot_serve_yet_ends_when_it_is_asked_to() {
    let server = Server::start_new();
    let address = format!("127.0.0.1:{}", server.port());
    let node = NodeEntry { name: "n".into(), address, data_directory: "/nowhere".into() };
    let mut proxy = Proxy::new(vec![node], Settings::default());
    let state = proxy.config_path().with_file_name("state");
    std::fs::create_dir_all(state.join("membership.new")).expect("be in the way of the state file");
    proxy.launch();
    wait::until(SOON, "it cannot write its state", || proxy.log().contains("cannot be written").then_some(()));
    assert!(proxy.terminate().success());
    assert_eq!(proxy.log().matches("cannot be written").count(), 1, "it says so once: {}", proxy.log());
}

#[test]
fn commands_do_not_wait_for_a_proxy_that_hangs_and_leave_nothing_for_it_to_do() {
    let cluster = Cluster::start(2);
    cluster.proxy.signal(Signal::SIGSTOP);
    let asked = ["detach node1", "status"].map(|command| cluster.proxy.run(&command.split(' ').collect::<Vec<_>>()));
    cluster.proxy.signal(Signal::SIGCONT);
    for output in asked {
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("does not answer"), "{said}");
    }
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
}

#[test]
fn a_command_that_cannot_be_written_down_holds_nobody_up_and_neither_does_a_stop() {
    let mut cluster = Cluster::start(2);
    let aside = cluster.proxy.config_path().with_file_name("state").join("membership.new");
    std::fs::create_dir_all(&aside).expect("be in the way of the state file");
    let refused = cluster.proxy.run(&["detach", "node1"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("state file cannot be written") && said.contains("nothing has been changed"), "{said}");
    cluster.create_database("shop");
    let mut client = cluster.connect("shop");
    client.query("CREATE TABLE goes_on (id int PRIMARY KEY)");
    drop(client);
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    assert!(cluster.proxy.terminate().success());
    assert!(cluster.proxy.log().contains("the orderly stop cannot be written down"), "{}", cluster.proxy.log());
    std::fs::remove_dir(aside).expect("make way");
}

#[test]
fn a_reload_by_command_says_what_was_taken_on_or_why_not() {
    let cluster = Cluster::builder(1).users(vec![format!("{}:{}", SUPERUSER.name, SUPERUSER.password)]).start();
    let path = cluster.proxy.config_path();
    let config = std::fs::read_to_string(&path).expect("the configuration");
    let line = |user: &lockstep_tests::users::User| format!("{}:{}", user.name, user.password);
    cluster.proxy.write_users(&[line(&SUPERUSER), line(&APP)]);
    let taken = cluster.proxy.run(&["reload", "--json"]);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    let said: Value = serde_json::from_slice(&taken.stdout).expect("JSON");
    assert_eq!((&said["taken_on"], &said["users"]), (&Value::Bool(true), &Value::from(2)));
    cluster.proxy.connect_as(&APP, "postgres");

    std::fs::write(&path, config.replace("[listen]", "[listen]\nunix_socket = \"doors\""))
        .expect("write the configuration");
    let refused = cluster.proxy.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("[listen] needs a restart") && said.contains("the old configuration holds"), "{said}");

    std::fs::write(&path, config.replace("[listen]", "[listen]\nmax_clints = 3")).expect("write the configuration");
    assert_eq!(cluster.proxy.run(&["reload"]).status.code(), Some(2));
}

#[test]
fn a_reload_takes_on_weights_and_refuses_what_else_has_changed_about_nodes() {
    let cluster = Cluster::start(2);
    let path = cluster.proxy.config_path();
    let config = std::fs::read_to_string(&path).expect("the configuration");
    let write = |config: &str| std::fs::write(&path, config).expect("write the configuration");
    write(&config.replace("weight = 1", "weight = 3").replace("name = \"node0\"", "name = \"other\""));
    let refused = cluster.proxy.run(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("which is that of node0"), "{said}");
    let weights = || -> Vec<u64> {
        let status = cluster.proxy.status().expect("a status");
        status["nodes"].as_array().expect("nodes").iter().map(|node| node["weight"].as_u64().expect("it")).collect()
    };
    assert_eq!(weights(), [2, 1], "nothing of it was taken on");

    write(&config.replace("weight = 1", "weight = 3"));
    assert!(cluster.proxy.run(&["reload"]).status.success());
    assert_eq!(weights(), [2, 3]);
    wait::until(SOON, "the node that is the heaviest now leads", || {
        (cluster.proxy.status()?["nodes"][1]["role"] == "leader").then_some(())
    });
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
}

#[test]
fn a_transaction_that_stays_open_is_ended_with_57p01_and_makes_no_stop_unclean() {
    let mut cluster = Cluster::start(2);
    cluster.create_database("shop");
    let mut client = cluster.connect("shop");
    client.query("CREATE TABLE left_open (id int PRIMARY KEY)");
    client.query("BEGIN");
    client.query("INSERT INTO left_open VALUES (1)");
    cluster.proxy.signal(Signal::SIGTERM);
    client.set_deadline(Duration::from_secs(60));
    let last = client.answer().expect_err("the proxy waits for it, but not for ever");
    assert_eq!(last.state(), "57P01");
    assert!(cluster.proxy.wait_for_end().success());
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    assert!(!cluster.proxy.log().contains("after an unclean stop"), "{}", cluster.proxy.log());
    assert_eq!(cluster.connect("shop").value("SELECT count(*) FROM left_open"), "0");
}

/// A proxy at its first start before two equal servers, held up in comparing them by whoever has locked a table.
fn held_up() -> (Proxy, [Server; 2], Client) {
    let servers = [Server::start_new(), Server::start_new()];
    let entry = |(position, server): (usize, &Server)| NodeEntry {
        name: format!("node{position}"),
        address: server.address(),
        data_directory: server.data_dir().to_owned(),
    };
    servers.iter().for_each(|server| drop(server.connect("postgres").query("CREATE TABLE busy (id int PRIMARY KEY)")));
    let mut elsewhere = servers[1].connect("postgres");
    elsewhere.query("BEGIN");
    elsewhere.query("LOCK TABLE busy");
    let mut settings = Settings::default();
    settings.lines.push(("listen".into(), "hold_timeout = \"2s\"".into()));
    let mut proxy = Proxy::new(servers.iter().enumerate().map(entry).collect(), settings);
    proxy.launch();
    let waits = || proxy.status().filter(|status| status["comparing"]["progress"] == "waiting for node1").map(drop);
    wait::until(SOON, "the comparison waits for the table", waits);
    (proxy, servers, elsewhere)
}

#[test]
fn a_first_start_says_how_far_its_comparison_is_and_lets_clients_wait_for_it() {
    let (proxy, _servers, mut elsewhere) = held_up();
    let comparing = || proxy.status()?.get("comparing").cloned();
    let now = comparing().expect("it lasts");
    assert_eq!((&now["nodes"][0], &now["clients_wait"]), (&Value::from("node1"), &Value::Bool(true)));
    let said = process::said(&proxy.run(&["status"]));
    assert!(said.contains("node1 is being compared with node0") && !said.contains("lockstep recover"), "{said}");

    let turned_away = Client::try_connect(&proxy.address(), &APP, "postgres", &[]).expect_err("it is not decided yet");
    assert_eq!(turned_away.state(), "57P03");
    assert!(turned_away.to_string().contains("comparing node1 with node0"), "{turned_away}");
    elsewhere.query("COMMIT");
    wait::until(SOON, "clients are let in", || Client::try_connect(&proxy.address(), &APP, "postgres", &[]).ok());
    proxy.wait_for_states(&["active", "active"], SOON);
    assert_eq!(comparing(), None);
}

#[test]
fn a_stop_does_not_wait_for_a_comparison() {
    let (mut proxy, _servers, _elsewhere) = held_up();
    assert!(proxy.terminate().success());
    let log = proxy.log();
    assert!(log.contains("the comparison is given up") && !log.contains("still under way"), "{log}");
    proxy.restart();
    let status = proxy.status().expect("it runs");
    assert_eq!((&status["nodes"][1]["state"], status.get("comparing")), (&Value::from("new"), None));
}

#[test]
fn a_proxy_whose_configuration_has_been_broken_meanwhile_is_still_asked_and_told() {
    let cluster = Cluster::start(2);
    let path = cluster.proxy.config_path();
    let config = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::remove_file(path.with_file_name("users")).expect("lose the users file");
    std::fs::write(&path, config.replace("[listen]", "[listen]\nno_such_key = 1")).expect("write the configuration");
    let code = |command: &str| cluster.proxy.run(&command.split(' ').collect::<Vec<_>>()).status.code();
    assert_eq!(["status", "verify", "detach node1", "attach node1"].map(code), [Some(0); 4]);
    assert_eq!(["reload", "check", "detach nobody"].map(code), [Some(2); 3]);
}

#[test]
fn a_port_that_is_taken_is_found_before_anything_is_done_on_the_nodes() {
    let server = Server::start_new();
    let node = NodeEntry { name: "n".into(), address: server.address(), data_directory: "/nowhere".into() };
    let mut proxy = Proxy::new(vec![node], Settings::default());
    let _taken = std::net::TcpListener::bind(proxy.address()).expect("take its port");
    proxy.launch();
    assert_eq!(proxy.wait_for_end().code(), Some(1));
    assert!(proxy.log().contains("cannot listen on"), "{}", proxy.log());
    let schemas = server.connect("postgres").value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lockstep'");
    assert_eq!(schemas, "0");
}

#[test]
fn who_stops_waiting_is_told_that_the_proxy_goes_on() {
    let cluster = Cluster::start(2);
    cluster.create_database("shop");
    cluster.connect("shop").query("CREATE TABLE busy (id int PRIMARY KEY)");
    assert!(cluster.proxy.run(&["detach", "node1"]).status.success());
    let mut elsewhere = cluster.nodes[1].connect("shop");
    elsewhere.query("BEGIN");
    elsewhere.query("LOCK TABLE busy");
    let mut command = cluster.proxy.command(&["attach", "node1"]);
    let waiting = command.stderr(Stdio::piped()).spawn().expect("run lockstep");
    let compares = || cluster.proxy.log().contains("\"command\":\"attach node1\"").then_some(());
    wait::until(SOON, "it is being attached", compares);
    process::signal(Pid::from_raw(waiting.id().cast_signed()), Signal::SIGINT);
    let output = waiting.wait_with_output().expect("wait for lockstep");
    assert_eq!(output.status.code(), Some(1));
    let said = process::said(&output);
    assert!(said.contains("the proxy goes on"), "{said}");
    elsewhere.query("COMMIT");
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
}

#[test]
fn a_probe_writes_and_reads_through_the_proxy() {
    let cluster = Cluster::start(2);
    cluster.create_database("shop");
    let mut command = cluster.proxy.command(&["probe", "--user", APP.name, "--database", "shop", "--interval", "50ms"]);
    let output = command.args(["--rounds", "5"]).env("PGPASSWORD", APP.password).output().expect("run lockstep");
    let said = process::said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("✓ writes: 5 good, 0 failed") && said.contains("✓ health: 5 good"), "{said}");
    let unknown = cluster.proxy.command(&["probe", "--user", APP.name]).env("PGPASSWORD", "wrong").output();
    assert_eq!(unknown.expect("run lockstep").status.code(), Some(2));
    let verified = cluster.proxy.run(&["verify"]);
    assert!(verified.status.success(), "{}", process::said(&verified));
}

#[test]
fn operators_who_say_nothing_keep_nobody_out_for_long() {
    let cluster = Cluster::start(1);
    let socket = cluster.proxy.config_path().with_file_name("state").join("control.sock");
    let connect = || UnixStream::connect(&socket).expect("connect to the control socket");
    let _silent: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    let status = cluster.proxy.run(&["status"]);
    assert!(status.status.success(), "{}", process::said(&status));
    assert!(cluster.proxy.log().contains("the control socket is crowded"), "{}", cluster.proxy.log());
}

#[test]
fn a_change_that_cannot_be_written_down_is_seen_by_whoever_asks() {
    let mut cluster = Cluster::start(2);
    let aside = cluster.proxy.config_path().with_file_name("state").join("membership.new");
    std::fs::create_dir_all(&aside).expect("be in the way of the state file");
    cluster.nodes[1].kill9();
    let unwell = || cluster.proxy.http("/healthz").starts_with("HTTP/1.1 503").then_some(());
    wait::until(SOON, "health tells it", unwell);
    assert!(cluster.proxy.http("/healthz").contains("the state file cannot be written"));
    assert!(cluster.proxy.http("/metrics").contains("lockstep_state_unwritten 1"));
    let status = cluster.proxy.run(&["status"]);
    let said = process::said(&status);
    assert!(status.status.code() == Some(1) && said.contains("the state file cannot be written"), "{said}");
    std::fs::remove_dir(aside).expect("make way");
    cluster.proxy.wait_for_states(&["active", "degraded"], SOON);
    wait::until(SOON, "health is good", || cluster.proxy.http("/healthz").starts_with("HTTP/1.1 200").then_some(()));
    assert!(cluster.proxy.http("/metrics").contains("lockstep_state_unwritten 0"));
}

#[test]
fn a_state_directory_that_is_removed_while_the_proxy_runs_is_filled_again() {
    let mut cluster = Cluster::start(2);
    cluster.create_database("shop");
    let mut client = cluster.connect("shop");
    client.query("CREATE TABLE t (id int PRIMARY KEY)");
    let state = cluster.proxy.config_path().with_file_name("state");
    std::fs::remove_dir_all(&state).expect("remove the state directory");
    std::fs::create_dir(&state).expect("make it again");
    wait::until(SOON, "operators get in", || cluster.proxy.status());
    let whole = || ["membership.json", "journal", "lock"].iter().all(|name| state.join(name).exists()).then_some(());
    wait::until(SOON, "it is filled again", whole);
    assert!(cluster.proxy.log().contains("files were removed from the state directory"), "{}", cluster.proxy.log());
    client.query("INSERT INTO t VALUES (1)");
    cluster.proxy.kill9();
    cluster.proxy.restart();
    cluster.proxy.wait_for_states(&["active", "active"], SOON);
    assert!(cluster.proxy.log().contains("the journal has settled"), "{}", cluster.proxy.log());
}
