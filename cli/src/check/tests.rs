//! What holds for a node, and between nodes, by facts made up here.

use std::collections::BTreeMap;

use lockstep_core::unit::stall::Strangers;

use super::compare::{alone, between};
use super::facts::Database;
use super::*;

pub fn node(name: &str, port: u16) -> Node {
    Node { name: name.into(), host: "127.0.0.1".into(), port, weight: 1, recovery: None }
}

/// A server that nobody could complain about.
pub fn facts() -> Facts {
    let settings = [
        ("TimeZone", "UTC"),
        ("max_connections", "1100"),
        ("superuser_reserved_connections", "3"),
        ("session_replication_role", "origin"),
        ("default_transaction_read_only", "off"),
        ("standard_conforming_strings", "on"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("wal_level", "replica"),
        ("max_wal_senders", "10"),
        ("lc_messages", "C"),
    ];
    let shop = Database {
        encoding: "UTF8".into(),
        locale: "c C.UTF-8 C.UTF-8".into(),
        extensions: BTreeMap::from([("plpgsql".into(), "1.0".into())]),
        ..Database::default()
    };
    Facts {
        version: 150_006,
        superuser: true,
        system_identifier: "42".into(),
        settings: settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        databases: BTreeMap::from([("shop".into(), shop)]),
        collations: BTreeMap::from([("c".into(), "2.36".into())]),
        ..Facts::default()
    }
}

pub fn config() -> Config {
    use lockstep_runtime::config::{Auth, Cluster, Control, Health, Limits, Listen, LiveHealth, LiveLimits, Service};
    Config {
        file: "/etc/lockstep/lockstep.toml".into(),
        standby: false,
        listen: Listen { address: ([127, 0, 0, 1], 5433).into(), unix_directory: None },
        limits: LiveLimits::new(Limits {
            max_clients: 1000,
            authentication_timeout: Duration::from_secs(60),
            hold_timeout: Duration::from_secs(10),
            idle_in_transaction_timeout: None,
        }),
        control: Control { socket: "/nowhere/control.sock".into(), http: None },
        cluster: Cluster { name: "main".into(), state_dir: "/nowhere/state".into() },
        service: Service { user: "postgres".into(), password: None, database: "postgres".into() },
        auth: Auth { users_file: "/nowhere/users".into() },
        health: LiveHealth::new(Health {
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            retries: 2,
            disk_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            strangers: Strangers::End,
        }),
        replication: Default::default(),
        journal: Default::default(),
        guard: None,
        nodes: [node("midna", 5501), node("alp", 5502)].into_iter().collect(),
    }
}

fn of_one(change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = facts();
    change(&mut facts);
    let mut report = Report::default();
    alone(&mut report, &config(), (&node("midna", 5501), &facts));
    report
}

fn of_two(change: impl FnOnce(&mut Facts)) -> Report {
    let (left, mut right) = (facts(), facts());
    change(&mut right);
    let mut report = Report::default();
    between(&mut report, &[(&node("midna", 5501), &left), (&node("alp", 5502), &right)]);
    report
}

#[track_caller]
fn says(report: &Report, mark: Mark, found: &str) {
    let fits = |finding: &&Finding| finding.mark == mark && finding.found.contains(found);
    let finding = report.findings.iter().find(fits).unwrap_or_else(|| panic!("{found}: {report:#?}"));
    assert!(finding.remedy.is_some());
}

fn set(facts: &mut Facts, setting: &str, value: &str) {
    facts.settings.insert(setting.into(), value.into());
}

#[test]
fn a_good_server_gives_no_complaint() {
    let report = of_one(|_| ());
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(report.findings[0].found, "answers, PostgreSQL 15.6");
}

#[test]
fn two_equal_servers_give_no_complaint() {
    let report = of_two(|_| ());
    assert_eq!(report.findings.iter().map(|finding| finding.mark).collect::<Vec<_>>(), [Mark::Good]);
}

#[test]
fn what_makes_one_server_unfit_is_named() {
    says(&of_one(|facts| facts.version = 120_001), Mark::Problem, "PostgreSQL 12 is too old");
    says(&of_one(|facts| facts.superuser = false), Mark::Problem, "postgres is no superuser");
    says(&of_one(|facts| facts.standby = true), Mark::Problem, "is a standby");
    let replica = of_one(|facts| set(facts, "session_replication_role", "replica"));
    says(&replica, Mark::Problem, "session_replication_role is replica: foreign keys");
    says(&of_one(|facts| set(facts, "fsync", "off")), Mark::Advice, "fsync is off");
    says(&of_one(|facts| set(facts, "max_connections", "100")), Mark::Advice, "takes 97 connections, fewer than");
    says(&of_one(|facts| facts.prepared = 2), Mark::Advice, "2 prepared transactions");
    let moved = of_one(|facts| facts.databases.get_mut("shop").unwrap().collation = Some("2.31".into()));
    says(&moved, Mark::Problem, "database shop was made with collation version 2.31, the system now has 2.36");
}

#[test]
fn what_makes_two_servers_unfit_for_each_other_is_named() {
    says(&of_two(|facts| facts.version = 160_001), Mark::Problem, "PostgreSQL is 15 on midna and 16 on alp");
    says(&of_two(|facts| set(facts, "TimeZone", "CET")), Mark::Problem, "TimeZone is UTC on midna and CET on alp");
    says(
        &of_two(|facts| set(facts, "lc_messages", "de_DE")),
        Mark::Advice,
        "lc_messages is C on midna and de_DE on alp",
    );
    says(
        &of_two(|facts| set(facts, "max_connections", "50")),
        Mark::Problem,
        "max_connections is 1100 on midna and 50 on alp",
    );
    let glibc = of_two(|facts| drop(facts.collations.insert("c".into(), "2.31".into())));
    says(&glibc, Mark::Problem, "the collation version of the C library is 2.36 on midna and 2.31 on alp");
}

#[test]
fn databases_and_extensions_must_be_the_same() {
    says(&of_two(|facts| facts.databases.clear()), Mark::Problem, "database shop is not on alp");
    let more = of_two(|facts| drop(facts.databases.insert("old".into(), Database::default())));
    says(&more, Mark::Problem, "database old is not on midna");
    let changed = |change: fn(&mut Database)| of_two(|facts| change(facts.databases.get_mut("shop").unwrap()));
    says(
        &changed(|shop| shop.encoding = "LATIN1".into()),
        Mark::Problem,
        "shop: encoding is UTF8 on midna and LATIN1 on alp",
    );
    says(&changed(|shop| shop.locale = "c C C".into()), Mark::Problem, "shop: locale is");
    says(
        &changed(|shop| shop.extensions.clear()),
        Mark::Problem,
        "extension plpgsql is 1.0 on midna and absent on alp",
    );
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_told_with_its_remedy() {
    let mut config = config();
    config.nodes = config.nodes.iter().take(1).cloned().collect();
    config.nodes[0].port = 1;
    let report = check(&config).await;
    says(&report, Mark::Problem, "127.0.0.1:1 does not answer postgres: Connection refused");
}

#[test]
fn one_server_under_two_names_and_a_server_of_another_cluster_are_found() {
    let of = |cluster: &str, started: &str| Facts { cluster: Some(cluster.into()), started: started.into(), ..facts() };
    let found = |left: &Facts, right: &Facts| {
        let mut report = Report::default();
        let (a, b) = (node("midna", 5501), node("alp", 5502));
        between(&mut report, &[(&a, left), (&b, right)]);
        report.findings.iter().map(|finding| finding.found.clone()).collect::<Vec<_>>().join("; ")
    };
    assert!(found(&of("x", "1"), &of("x", "2")).contains("are the same"), "a copy has the identifier of its source");
    assert_eq!(found(&of("x", "1"), &of("x", "1")), "midna and alp are the same server");
    assert_eq!(found(&of("x", "1"), &of("y", "2")), "the cluster in the lineage is x on midna and y on alp");
}

#[test]
fn roles_that_are_not_the_same_on_both_are_found_and_no_password_is_shown() {
    let role = |verifier: &str| facts::Role { login: true, superuser: false, verifier: Some(verifier.into()) };
    let with = |roles: &[(&str, &str)]| Facts {
        roles: roles.iter().map(|(name, verifier)| ((*name).into(), role(verifier))).collect(),
        ..facts()
    };
    let (a, b) = (node("midna", 5501), node("alp", 5502));
    let (left, right) = (with(&[("app", "one"), ("same", "s"), ("here", "h")]), with(&[("app", "two"), ("same", "s")]));
    let mut report = Report::default();
    between(&mut report, &[(&a, &left), (&b, &right)]);
    let text = report.text(crate::show::Paint::none());
    assert!(text.contains("! nodes: role app has another stored password on alp than on midna"), "{text}");
    assert!(text.contains("\\password app") && text.contains("lockstep recover alp"), "{text}");
    assert!(text.contains("x nodes: role here is not on alp"), "{text}");
    assert!(!text.contains("one") && !text.contains("two") && !text.contains("same "), "{text}");
}
