//! Every message that a bad file can give, and that a good one means what it says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use lockstep_core::plan::policy::{Capturing, Inexact, Policy};

/// The least configuration that must work, as the contract has it.
const LEAST: &str = r#"[listen]
address = "127.0.0.1:5433"

[control]
socket = "state/control.sock"
http   = "127.0.0.1:9187"

[cluster]
name      = "main"
state_dir = "state"

[service]
user     = "postgres"
password = "secret"

[auth]
users_file = "pool_passwd"

[health]
interval = "500ms"
timeout  = "1s"
retries  = 2

[[node]]
name    = "midna"
address = "127.0.0.1:5501"
weight  = 2

[[node]]
name    = "alp"
address = "127.0.0.1:5502"
weight  = 1

[node.recovery]
shell          = []
run_as         = "postgres"
data_directory = "/var/lib/postgresql/15/alp"
"#;

/// A directory with a users file in it, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lockstep-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("pool_passwd"), "app:secret\n").unwrap();
        Self(path)
    }

    fn parse(&self, text: &str) -> Result<Config, Vec<Problem>> {
        parse(&self.0.join("lockstep.toml"), text, &Environment::default(), UsersFile::Needed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn good(text: &str) -> Config {
    Place::new().parse(text).unwrap()
}

/// The problems of the least configuration with one line put in place of another.
fn problems(line: &str, instead: &str) -> Vec<String> {
    assert!(LEAST.contains(line), "{line}");
    let place = Place::new();
    let text = LEAST.replacen(line, instead, 1);
    let directory = format!("{}/", place.0.display());
    let problems = place.parse(&text).expect_err("a bad file is refused");
    problems.iter().map(|problem| problem.to_string().replace(&directory, "")).collect()
}

#[track_caller]
fn one_problem(line: &str, instead: &str, message: &str) {
    let problems = problems(line, instead);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains(message), "\n got: {}\nwant: {message}", problems[0]);
}

#[test]
fn the_least_configuration_means_what_it_says() {
    let place = Place::new();
    let config = place.parse(LEAST).unwrap();
    assert_eq!(config.file, place.0.join("lockstep.toml"));
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:5433");
    assert_eq!(config.control.socket, place.0.join("state/control.sock"));
    assert_eq!(config.control.http.unwrap().port(), 9187);
    assert_eq!((config.cluster.name.as_str(), config.cluster.state_dir), ("main", place.0.join("state")));
    assert_eq!(config.service.password.as_deref(), Some("secret"));
    assert_eq!(config.auth.users_file, place.0.join("pool_passwd"));
    let addresses: Vec<_> = config.nodes.iter().map(|node| (node.name.as_str(), node.address(), node.weight)).collect();
    assert_eq!(addresses, [("midna", "127.0.0.1:5501".into(), 2), ("alp", "127.0.0.1:5502".into(), 1)]);
    let recovery = config.nodes[1].recovery.as_ref().unwrap();
    assert_eq!(recovery.run_as.as_deref(), Some("postgres"));
    assert_eq!(recovery.data_directory, Path::new("/var/lib/postgresql/15/alp"));
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = good(
        r#"
        listen.address = "[::]:5433"
        cluster = { name = "main", state_dir = "/var/lib/lockstep" }
        service.user = "postgres"
        auth.users_file = "pool_passwd"
        node = [{ name = "midna", address = "midna:5432" }]
        "#,
    );
    assert_eq!(config.control.socket, Path::new("/var/lib/lockstep/control.sock"));
    assert_eq!(config.control.http, None);
    assert_eq!(config.service.database, "postgres");
    let limits = config.limits.now();
    assert_eq!(limits.max_clients, 1000);
    assert_eq!(limits.authentication_timeout, Duration::from_secs(60));
    assert_eq!((limits.hold_timeout, limits.idle_in_transaction_timeout), (Duration::from_secs(30), None));
    let health = config.health.now();
    assert_eq!(health.interval, Duration::from_millis(500));
    assert_eq!((health.timeout, health.retries), (Duration::from_secs(1), 2));
    assert_eq!(config.nodes[0].weight, 1);
}

#[test]
fn what_is_not_exact_and_what_is_captured_can_be_chosen() {
    assert_eq!(good(LEAST).replication.policy, Policy { inexact: Inexact::Reject, capture: Capturing::Auto });
    let chosen = |lines: &str| good(&LEAST.replacen("[health]", &format!("[replication]\n{lines}\n[health]"), 1));
    let policy = chosen("unsafe = \"warn\"\ncapture = \"all\"").replication.policy;
    assert_eq!(policy, Policy { inexact: Inexact::Warn, capture: Capturing::All });
    let bad = "[replication]\nunsafe = \"yes\"\n[health]";
    one_problem("[health]", bad, "lockstep.toml:20: replication.unsafe: ");
}

#[test]
fn a_node_is_a_host_an_address_or_a_socket_directory() {
    let node = |address: &str| {
        let config = good(&LEAST.replacen("127.0.0.1:5501", address, 1));
        (config.nodes[0].host.clone(), config.nodes[0].port)
    };
    assert_eq!(node("alp.example.org:5432"), ("alp.example.org".into(), 5432));
    assert_eq!(node("[2001:db8::1]:5432"), ("2001:db8::1".into(), 5432));
    assert_eq!(node("/var/run/postgresql:5432"), ("/var/run/postgresql".into(), 5432));
}

#[test]
fn an_address_that_is_none_is_shown_how_to_write() {
    for bad in ["alp", "alp:", ":5432", "alp:0", "alp:70000", "::1:5432", "[::1:5432", "a b:5432"] {
        let said = format!("lockstep.toml:26: node.address: `{bad}` is not a server's address; write \"host:5432\"");
        one_problem("127.0.0.1:5501", bad, &said);
    }
    let said =
        "lockstep.toml:2: listen.address: `localhost:5433` is not an address to listen on; write \"127.0.0.1:5433\"";
    one_problem("127.0.0.1:5433", "localhost:5433", said);
    one_problem("127.0.0.1:9187", "9187", "lockstep.toml:6: control.http: `9187` is not an address to listen on");
}

#[test]
fn a_password_may_come_from_the_environment() {
    let place = Place::new();
    let text = LEAST.replace("password = \"secret\"", "");
    let environment = Environment { password: Some("from outside".into()), ..Environment::default() };
    let parsed = |environment| {
        parse(&place.0.join("lockstep.toml"), &text, environment, UsersFile::Needed).unwrap().service.password
    };
    assert_eq!(parsed(&environment).as_deref(), Some("from outside"));
    assert_eq!(parsed(&Environment::default()), None);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_there_is() {
    let said =
        "lockstep.toml:20: health.intervall: there is no such setting; there is `interval`, `timeout`, `retries`";
    one_problem("interval = \"500ms\"", "intervall = \"500ms\"", said);
    one_problem("weight  = 2", "wieght = 2", "lockstep.toml:27: node.wieght: there is no such setting");
    one_problem("[health]", "[healht]", "lockstep.toml:19: healht: there is no such setting; there is `listen`");
    one_problem("run_as ", "runas", "lockstep.toml:36: node.recovery.runas: there is no such setting");
}

#[test]
fn a_key_of_a_later_version_is_refused_and_never_ignored() {
    let listen = "[listen]\n";
    for (key, line) in [
        ("listen.tls", "[listen]\ntls = true\n"),
        ("listen.tls_certificate", "[listen]\ntls_certificate = \"x\"\n"),
        ("listen.tls", "[listen]\ntls.certificate = \"x\"\n"),
        ("replication.load_balance", "[replication]\nload_balance = true\n[listen]\n"),
    ] {
        one_problem(listen, line, &format!(": {key}: not in this version; take the line out"));
    }
    let pcp = "lockstep.toml:5: control.pcp: not in this version; take the line out. Until then pgpool's pcp_* tools";
    one_problem("[control]\n", "[control]\npcp = \"127.0.0.1:9898\"\n", pcp);
    one_problem("[auth]\n", "[auth]\nhba_file = \"pg_hba.conf\"\n", "auth.hba_file: not in this version");
}

#[test]
fn a_key_that_only_begins_like_a_later_one_is_unknown() {
    one_problem("[listen]\n", "[listen]\ntlsx = true\n", "listen.tlsx: there is no such setting");
}

#[test]
fn what_is_missing_is_named() {
    one_problem("name      = \"main\"\n", "", "cluster.name: is missing");
    one_problem("user     = \"postgres\"\n", "", "service.user: is missing");
    one_problem("address = \"127.0.0.1:5502\"\n", "", "node.address: is missing");
    one_problem("data_directory = \"/var/lib/postgresql/15/alp\"\n", "", "node.recovery.data_directory: is missing");
    one_problem(
        "[auth]\nusers_file = \"pool_passwd\"\n",
        "",
        "lockstep.toml: auth: is missing; `lockstep help configuration`",
    );
    let without_nodes = &LEAST[LEAST.find("[[node]]").unwrap()..];
    one_problem(without_nodes, "", "lockstep.toml: node: there is no node; add one with [[node]]");
}

#[test]
fn a_bad_value_is_named_with_what_would_be_good() {
    one_problem("\"500ms\"", "500", "lockstep.toml:20: health.interval: is a number, 500; write a time such as");
    one_problem("\"500ms\"", "\"soon\"", "health.interval: `soon` is not a time; write a time such as \"500ms\"");
    one_problem("\"500ms\"", "\"0s\"", "health.interval: 0s is not between 10ms and 10m");
    one_problem("retries  = 2", "retries = -1", "lockstep.toml:22: health.retries: -1 is not between 0 and 100");
    one_problem("weight  = 2", "weight = -2", "lockstep.toml:27: node.weight: -2 is not between 0 and 4294967295");
    one_problem(
        "weight  = 2",
        "weight = \"2\"",
        "lockstep.toml:27: node.weight: is a text, \"2\"; write a whole number such as 2, without quotes",
    );
    one_problem("[listen]\n", "[listen]\nmax_clients = 0\n", "listen.max_clients: 0 is not between 1 and 262143");
    one_problem("[listen]\n", "[listen]\nauthentication_timeout = \"1h\"\n", "1h is not between 1s and 10m");
    one_problem("[listen]\n", "[listen]\nidle_in_transaction_timeout = \"0s\"\n", "0s is not between 10ms and");
    one_problem("\"main\"", "\"the main one\"", "cluster.name: `the main one` is not a name; use letters");
    one_problem("user     = \"postgres\"", "user = \"\"", "service.user: is empty; give it a value");
}

#[test]
fn a_guard_has_a_name_and_what_else_it_has_is_sound() {
    let with = |lines: &str| LEAST.replace("[listen]\n", &format!("[guard]\n{lines}\n[listen]\n"));
    let guard = good(&with("name = \"db.example.com\"\nservers = [\"::1\", \"192.0.2.53:5353\"]")).guard.unwrap();
    assert_eq!((guard.name.as_str(), guard.failures, guard.interval), ("db.example.com", 3, Duration::from_secs(10)));
    assert_eq!(guard.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[::1]:53", "192.0.2.53:5353"]);
    assert_eq!(good(LEAST).guard, None);
    for (lines, message) in [
        ("name = \"192.0.2.1\"", "guard.name: `192.0.2.1` is not a host's name"),
        ("name = \"db..example.com\"", "guard.name: `db..example.com` is not a host's name"),
        ("name = \"db\"\nfailures = 0", "guard.failures: 0 is not between 1 and 1000"),
        ("name = \"db\"\ninterval = \"1ms\"", "guard.interval: 1ms is not between 100ms and 1h"),
        ("name = \"db\"\naddress = \"192.0.2.1\"", "guard.address: "),
        ("name = \"db\"\naddresses = [\"here\"]", "guard.addresses: `here` is not an IP address"),
        ("name = \"db\"\nservers = [\"dns.example.com\"]", "guard.servers: `dns.example.com` is not a name server's"),
        ("failures = 3", "guard.name: is missing"),
    ] {
        one_problem("[listen]\n", &format!("[guard]\n{lines}\n[listen]\n"), message);
    }
}

#[test]
fn nodes_must_differ_from_each_other_and_from_the_proxy() {
    let twin = "lockstep.toml:30: node.name: `midna` is also the name of the node in line 25";
    one_problem("name    = \"alp\"", "name = \"midna\"", twin);
    let same = "lockstep.toml:31: node.address: `127.0.0.1:5501` is also the address of the node in line 25";
    one_problem("127.0.0.1:5502", "127.0.0.1:5501", same);
    for proxy in ["127.0.0.1:5433", "localhost:5433"] {
        one_problem("127.0.0.1:5502", proxy, "is also listen.address; the proxy cannot be its own node");
    }
    one_problem("127.0.0.1:9187", "127.0.0.1:5433", "control.http: `127.0.0.1:5433` is also listen.address");
}

#[test]
fn two_nodes_never_share_a_data_directory() {
    let recovery = "weight  = 2\n[node.recovery]\ndata_directory = \"/var/lib/postgresql/15/alp\"\n";
    one_problem("weight  = 2\n", recovery, "is also the data directory of the node in line 25, on the same machine");
    let elsewhere = recovery.replace("[node.recovery]", "[node.recovery]\nshell = [\"ssh\", \"postgres@midna\"]");
    assert!(Place::new().parse(&LEAST.replace("weight  = 2\n", &elsewhere)).is_ok());
}

#[test]
fn a_path_on_another_machine_is_absolute() {
    let remote = "shell = [\"ssh\", \"postgres@alp\"]\nbin_directory = \"bin\"\n";
    one_problem("shell          = []\n", remote, "node.recovery.bin_directory: `bin` must be an absolute path");
}

#[test]
fn a_users_file_that_cannot_be_read_is_named() {
    let said = "lockstep.toml:17: auth.users_file: there is no file `nobody_here`; create it";
    one_problem("\"pool_passwd\"", "\"nobody_here\"", said);
    one_problem("\"pool_passwd\"", "\".\"", "auth.users_file: `.` cannot be read: Is a directory");
}

#[test]
fn a_users_file_with_a_bad_line_is_named_with_that_line() {
    let place = Place::new();
    std::fs::write(place.0.join("pool_passwd"), "app:secret\nnobody\n").unwrap();
    let problem = place.parse(LEAST).unwrap_err()[0].to_string();
    assert!(
        problem.contains("auth.users_file: `") && problem.contains("pool_passwd`, line 2: there is no ':'"),
        "{problem}"
    );
}

#[test]
fn a_socket_path_that_the_system_cannot_hold_is_refused() {
    let long = "x".repeat(108);
    one_problem("state/control.sock", &long, "control.socket: `xxxx");
    one_problem("[listen]\n", &format!("[listen]\nunix_socket = \"/{long}\"\n"), "too long for a Unix socket");
}

#[test]
fn a_value_of_the_wrong_kind_is_told_in_words_of_the_file_and_not_of_the_program() {
    one_problem("weight  = 2", "weight = 1.5", "node.weight: is a number with a fraction, 1.5; write a whole number");
    one_problem("retries  = 2", "retries = true", "health.retries: is true; write a whole number");
    one_problem("\"midna\"", "5", "node.name: is a number, 5; write a text in quotes");
    one_problem("\"127.0.0.1:5502\"", "[\"127.0.0.1:5502\"]", "node.address: is a list; write a text in quotes");
    one_problem(
        "shell          = []",
        "shell = \"ssh alp\"",
        "node.recovery.shell: is a text, \"ssh alp\"; write a list such as",
    );
    one_problem(
        "[health]\n",
        "[health]\nstrangers = \"kill\"\n",
        "`kill` is not known here; write \"end\" or \"degrade\"",
    );
    one_problem("weight  = 2", "weight = 2\nweight = 3", "`weight` is there twice; take one of them out");
}

#[test]
fn brackets_too_many_or_too_few_are_told_how_many() {
    one_problem("[listen]", "[[listen]]", "listen: is there as a list; write [listen], in single brackets");
    let double = "write [[node]], in double brackets";
    let two = LEAST.replace("[[node]]", "[node]");
    assert!(Place::new().parse(&two).unwrap_err()[0].to_string().contains(double));
    let first = LEAST.find("[[node]]").unwrap();
    let second = first + LEAST[first + 1..].find("[[node]]").unwrap();
    let one = format!("{}[node]{}", &LEAST[..first], &LEAST[first + "[[node]]".len()..=second]);
    assert!(Place::new().parse(&one).unwrap_err()[0].to_string().contains(double), "{one}");
}

#[test]
fn a_path_or_a_user_that_is_empty_is_told_so() {
    for (line, key) in [
        ("\"pool_passwd\"", "auth.users_file"),
        ("\"state\"", "cluster.state_dir"),
        ("\"state/control.sock\"", "control.socket"),
        ("\"/var/lib/postgresql/15/alp\"", "node.recovery.data_directory"),
    ] {
        one_problem(line, "\"\"", &format!("{key}: is empty; give it a value"));
    }
    one_problem("run_as         = \"postgres\"", "run_as = \"\"", "node.recovery.run_as: is empty");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = LEAST.replace("127.0.0.1:5433", "here").replace("weight  = 2", "weight = -1");
    assert_eq!(Place::new().parse(&text).unwrap_err().len(), 2);
}

#[test]
fn a_file_that_is_not_toml_is_told_the_line() {
    let problems = problems("[control]", "[control");
    assert!(problems[0].starts_with("lockstep.toml:4: this is not TOML: "), "{problems:#?}");
}

#[test]
fn the_file_is_looked_for_here_and_then_in_etc() {
    assert_eq!(find(None, |_| true).unwrap(), Path::new("lockstep.toml"));
    assert_eq!(find(None, |path| path.is_absolute()).unwrap(), Path::new("/etc/lockstep/lockstep.toml"));
    assert_eq!(find(Some(Path::new("mine.toml")), |_| true).unwrap(), Path::new("mine.toml"));
}

#[test]
fn no_file_at_all_is_told_with_both_places_and_a_way_on() {
    let problem = find(None, |_| false).unwrap_err()[0].to_string();
    assert!(
        problem
            .starts_with("lockstep.toml or /etc/lockstep/lockstep.toml: there is no such file; give one with --config")
    );
    let problem = find(Some(Path::new("mine.toml")), |_| false).unwrap_err()[0].to_string();
    assert!(problem.starts_with("mine.toml: there is no such file"), "{problem}");
}

#[test]
fn the_examples_in_the_documentation_are_read_without_a_complaint() {
    for page in [include_str!("../../docs/configuration.md"), include_str!("../../docs/getting-started.md")] {
        let (_, example) = page.split_once("```toml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let place = Place::new();
        std::fs::write(place.0.join("users"), "app:secret\n").unwrap();
        let config = place.parse(example).unwrap();
        assert_eq!(config.nodes.len(), 2);
    }
}

#[test]
fn a_secret_is_never_shown() {
    assert!(!format!("{:?}", good(LEAST)).contains("secret"));
}

#[test]
fn a_running_proxy_is_found_whatever_else_the_file_says() {
    let way = |text: &str| parse_way(Path::new("/etc/lockstep.toml"), text);
    let broken =
        LEAST.replace("127.0.0.1:5433", "nowhere").replace("weight  = 2", "wait = 2").replace("[auth]", "[oauth]");
    assert_eq!(way(&broken).unwrap(), Path::new("/etc/state/control.sock"));
    assert_eq!(way("cluster.state_dir = '/var/lib/x'").unwrap(), Path::new("/var/lib/x/control.sock"));
    let lost = way("[listen]\naddress = '127.0.0.1:5433'").unwrap_err()[0].to_string();
    assert!(lost.contains("cluster.state_dir: is missing"), "{lost}");
    assert!(way("[cluster").unwrap_err()[0].to_string().contains("this is not TOML"));
}

#[test]
fn who_lets_nobody_in_needs_no_users_file() {
    let place = Place::new();
    std::fs::remove_file(place.0.join("pool_passwd")).unwrap();
    let file = place.0.join("lockstep.toml");
    assert!(parse(&file, LEAST, &Environment::default(), UsersFile::NotNeeded).is_ok());
    assert!(parse(&file, LEAST, &Environment::default(), UsersFile::Needed).is_err());
}
