//! What an operator meets who starts, stops, reloads and asks at the wrong moment.

use std::time::Duration;

use lockstep_tests::cluster::Cluster;
use lockstep_tests::postgres::Server;
use lockstep_tests::proxy::{NodeEntry, Proxy, Settings};
use lockstep_tests::users::{APP, SUPERUSER};
use lockstep_tests::wait;
use nix::sys::signal::Signal;
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
    assert!(refused.status.code() == Some(1) && said.contains("[node] needs a restart"), "{said}");
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
