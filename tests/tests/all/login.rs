//! Who gets in, by which door, and what those are told who do not.

use lockstep_core::wire::frontend;
use lockstep_core::wire::startup::Version;
use lockstep_tests::cluster::{Builder, Cluster};
use lockstep_tests::postgres::Server;
use lockstep_tests::raw::Client;
use lockstep_tests::scratch::Scratch;
use lockstep_tests::users::{APP, APP_CLEARTEXT, APP_MD5, APP_TRUST, SUPERUSER, User};
use lockstep_tests::{process, programs, wait};
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn plain(user: &User) -> String {
    format!("{}:{}", user.name, user.password)
}

fn refusal(cluster: &Cluster, user: &User, database: &str) -> String {
    match Client::try_connect(&cluster.proxy.address(), user, database, &[]) {
        Ok(_) => panic!("{} got into {database}", user.name),
        Err(failure) => failure.state().to_owned(),
    }
}

#[test]
fn an_entry_of_each_kind_lets_its_owner_in_and_nobody_else() {
    // Each server of the harness has the same verifiers, as servers have that were copied from each other.
    let verifier = |user: &User| {
        let sql = format!("SELECT rolname || ':' || rolpassword FROM pg_authid WHERE rolname = '{}'", user.name);
        Server::start_new().connect("postgres").value(&sql)
    };
    let (scram, md5) = (verifier(&APP), verifier(&APP_MD5));
    assert!(scram.starts_with("app:SCRAM-SHA-256$") && md5.starts_with("app_md5:md5"), "{scram} {md5}");
    let entries = vec![plain(&SUPERUSER), scram, md5, plain(&APP_CLEARTEXT)];
    let cluster = Cluster::builder(2).users(entries).start();
    cluster.create_database("login");
    cluster.nodes.iter().for_each(|node| drop(node.connect("login").query("GRANT ALL ON SCHEMA public TO public")));
    for user in [SUPERUSER, APP, APP_MD5, APP_CLEARTEXT] {
        // A write opens a connection of this role to the follower, too.
        let table = format!("of_{}", user.name);
        let mut client = cluster.proxy.connect_as(&user, "login");
        client.query(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v text)"));
        client.query(&format!("INSERT INTO {table} VALUES (1, current_user)"));
        for node in &cluster.nodes {
            assert_eq!(node.connect("login").value(&format!("SELECT v FROM {table}")), user.name);
        }
        assert_eq!(refusal(&cluster, &User { password: "wrong", ..user }, "login"), "28P01");
        assert_eq!(refusal(&cluster, &User { password: "", ..user }, "login"), "28P01");
    }
    assert_eq!(refusal(&cluster, &APP_TRUST, "login"), "28P01", "the nodes know the role, the users file does not");
    assert_eq!(refusal(&cluster, &User { name: "nobody", ..APP }, "login"), "28P01");
    assert_eq!(refusal(&cluster, &APP, "no_such_database"), "3D000");
    assert_eq!(cluster.proxy.node_states(), ["active", "active"]);
}

/// What it is challenged with: the salt, for the nonce is another each time.
fn salt_shown_to(cluster: &Cluster, user: &str) -> String {
    let mut client = Client::dial(&cluster.proxy.address()).expect("connect");
    client.start(Version::V3_0, user, "postgres", &[]);
    client.read();
    let first = b"n,,n=,r=abcdefgh";
    let length = (first.len() as u32).to_be_bytes();
    let body = [b"SCRAM-SHA-256\0", &length[..], first].concat();
    client.put(|out| frontend::message(out, frontend::PASSWORD, |out| out.extend_from_slice(&body))).flush();
    let challenge = String::from_utf8_lossy(&client.read().body()[4..]).into_owned();
    challenge.split(',').find_map(|field| field.strip_prefix("s=")).expect("a salt").to_owned()
}

#[test]
fn a_restart_does_not_tell_who_is_unknown_by_another_salt() {
    let mut cluster = Cluster::start(1);
    let before = salt_shown_to(&cluster, "nobody");
    assert_ne!(before, salt_shown_to(&cluster, "somebody else"));
    assert!(cluster.proxy.terminate().success());
    cluster.proxy.restart();
    assert_eq!(salt_shown_to(&cluster, "nobody"), before);
}

fn wait_for_log(cluster: &Cluster, what: &str) {
    wait::until(SOON, what, || cluster.proxy.log().contains(what).then_some(()));
}

#[test]
fn a_reload_takes_on_users_and_health_disturbs_nobody_and_is_all_or_nothing() {
    let cluster = Cluster::builder(1).users(vec![plain(&SUPERUSER), plain(&APP)]).start();
    let mut inside = cluster.connect("postgres");
    let path = cluster.proxy.config_path();
    let config = std::fs::read_to_string(&path).expect("the configuration");
    let reload = |config: &str| {
        std::fs::write(&path, config).expect("write the configuration");
        cluster.proxy.signal(Signal::SIGHUP);
    };
    cluster.proxy.write_users(&[plain(&SUPERUSER), plain(&APP_MD5)]);

    reload(&config.replace("[listen]", "[listen]\nunix_socket = \"doors\""));
    wait_for_log(&cluster, "what has changed in [listen] needs a restart");
    assert_eq!(refusal(&cluster, &APP_MD5, "postgres"), "28P01", "nothing of it was taken on");
    reload(&config.replace("[listen]", "[listen]\nmax_clints = 3"));
    wait_for_log(&cluster, "listen.max_clints: there is no such setting");
    cluster.proxy.connect_as(&APP, "postgres");

    reload(&config.replace("interval = \"200ms\"", "interval = \"100ms\""));
    wait_for_log(&cluster, "the configuration has been taken on");
    cluster.proxy.connect_as(&APP_MD5, "postgres");
    assert_eq!(refusal(&cluster, &APP, "postgres"), "28P01");
    assert_eq!(inside.value("SELECT 1"), "1", "who is in stays");

    cluster.proxy.write_users(&[]);
    reload(&config);
    wait_for_log(&cluster, "names nobody");
    cluster.proxy.connect_as(&APP_MD5, "postgres");
    reload(&config.replace("[replication]", "[replication]\nscrub = \"1h\""));
    wait_for_log(&cluster, "what has changed in [replication] needs a restart");

    std::fs::remove_file(path.with_file_name("users")).expect("lose the users file");
    reload(&config);
    wait_for_log(&cluster, "there is no file");
    cluster.proxy.connect_as(&APP_MD5, "postgres");
}

#[test]
fn more_clients_than_allowed_are_told_so_and_get_in_when_others_have_left() {
    let cluster = Cluster::builder(1).proxy_setting("listen", "max_clients = 2").start();
    let mut first = cluster.connect("postgres");
    let second = cluster.connect("postgres");
    assert_eq!(refusal(&cluster, &APP, "postgres"), "53300");
    assert_eq!(first.value("SELECT 1"), "1", "those who are in are not disturbed");
    drop(second);
    wait::until(SOON, "there is room again", || {
        Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).ok()
    });
}

#[test]
fn a_node_without_room_says_so_to_the_client_and_is_not_taken_for_a_dead_one() {
    let narrow = |builder: Builder| builder.server_setting("max_connections", "12");
    let cluster = narrow(Cluster::builder(2)).start();
    let mut inside = Vec::new();
    let refused = wait::until(SOON, "the leader is full", || {
        match Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]) {
            Ok(client) => {
                inside.push(client);
                None
            }
            Err(failure) => Some(failure.state().to_owned()),
        }
    });
    assert_eq!(refused, "53300");
    let last = inside.last_mut().expect("somebody got in");
    assert_eq!(last.value("SELECT 1"), "1");
    inside.clear();
    let mut client = wait::until(SOON, "there is room again", || {
        Client::try_connect(&cluster.proxy.address(), &APP, "postgres", &[]).ok()
    });
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(cluster.proxy.degradations(), [""; 0]);
}

#[test]
fn a_socket_in_the_file_system_is_a_door_like_the_other_and_goes_with_the_proxy() {
    let doors = Scratch::new("doors");
    process::give_to_server_user(doors.path());
    let line = format!("unix_socket = \"{}\"", doors.path().display());
    let mut cluster = Cluster::builder(1).proxy_setting("listen", &line).start();
    let port = cluster.proxy.port().to_string();
    let socket = doors.path().join(format!(".s.PGSQL.{port}"));
    assert!(socket.exists());
    let psql = |password: &str| {
        let mut psql = Command::new(programs::postgres("psql"));
        psql.args(["--no-psqlrc", "-At", "-c", "SELECT current_user", "-d", "postgres", "-U", APP.name]);
        psql.arg("-h").arg(doors.path()).args(["-p", &port]);
        psql.env("PGPASSWORD", password).output().expect("run psql")
    };
    assert_eq!(String::from_utf8_lossy(&psql(APP.password).stdout).trim(), APP.name);
    let refused = psql("wrong");
    assert!(!refused.status.success() && process::said(&refused).contains("password authentication failed"));
    cluster.proxy.kill9();
    assert!(socket.exists(), "nobody could clear it away");
    cluster.proxy.restart();
    assert_eq!(String::from_utf8_lossy(&psql(APP.password).stdout).trim(), APP.name);
    assert!(cluster.proxy.terminate().success());
    assert!(!socket.exists());
}
